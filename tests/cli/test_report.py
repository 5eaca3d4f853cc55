"""`ccvd report`: what the page holds, what it refuses, and that a browser can use it."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_material import Ccvd
from PIL import Image

from ccvd_cli.measure.report import benchmark
from ccvd_cli.measure.report.gather import sources
from ccvd_cli.measure.report.media import Budget
from ccvd_cli.measure.report.svg import curves
from ccvd_registry import Registry

HOSTILE = "<script>alert(1)</script>"


def _animated(path: Path, shade: int = 0) -> Path:
    frames = [Image.new("RGB", (16, 12), (shade, 40 * i, 90)) for i in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    return path


def _result(folder: Path, method: str, order: int, scores: dict[str, float], prompt: str = HOSTILE) -> None:
    seed = folder / "toy" / method / "seed0"
    (seed / "clips").mkdir(parents=True, exist_ok=True)
    _animated(seed / "clips" / "x.gif")
    found: dict[str, Any] = {
        **{"format": 1, "stream": "toy", "method": method, "seed": 0, "task": {"order": order}},
        "scores": {
            name: {"clip_t": {"mean": v, "low": v, "high": v, "count": 1}} for name, v in scores.items()
        },
        "clips": [{"concept": "a", "prompt": prompt, "seed": 0, "file": "clips/x.gif", "scores": {}}],
    }
    (seed / f"{order:02}-a.json").write_text(json.dumps(found))


@pytest.fixture
def filled(teach: Callable[..., None], ccvd_home: Path, cwd: Path) -> None:
    """Two concepts with scores, a kept clip with a hostile prompt, and a benchmark of two methods."""
    teach("V1", noun=HOSTILE)
    teach("V2", kind="motion", noun="jumping")
    with Registry(ccvd_home) as registry:
        for name, mean in (("V1", 0.9), ("V2", 0.1)):
            score = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "count": 4}
            registry.record_evaluation(name, how={}, scores={"clip_t": score})
    kept = cwd / "evaluation" / "V1"
    kept.mkdir(parents=True)
    _animated(kept / "a.gif")
    row = {"batch": "b", "prompt": HOSTILE, "seed": 0, "clip": "a.gif", "scores": {}}
    (kept / "scores.jsonl").write_text(json.dumps(row) + "\nnot a row\n")
    for method in ("ccvd", "other"):
        _result(cwd / "results", method, 1, {"a": 0.8})
        _result(cwd / "results", method, 2, {"a": 0.5, "b": 0.7})


def test_an_empty_registry_says_what_to_do(ccvd: Ccvd, ccvd_home: Path) -> None:
    assert ccvd("report").code == 0
    assert "ccvd learn-subject" in Path("report.html").read_text()


def test_what_others_wrote_is_escaped(ccvd: Ccvd, filled: None) -> None:
    assert ccvd("report", "--benchmark", "results").code == 0
    page = Path("report.html").read_text()
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)" in page


def test_what_does_not_fit_is_left_out_and_said(ccvd: Ccvd, filled: None) -> None:
    run = ccvd("report", "--budget", "0", "--json")
    assert json.loads(run.out)["left_out"] == 1
    page = Path("report.html").read_text()
    assert "data:image/gif" not in page
    assert "did not fit: 1" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "."), "is a folder"),
        (("--benchmark", "nowhere"), "holds no results"),
        (("--references", "V9=."), "V9"),
        (("--references", "V1=nowhere"), "no folder 'nowhere'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(
    ccvd: Ccvd, filled: None, arguments: tuple[str, ...], said: str
) -> None:
    run = ccvd("report", *arguments)
    assert run.code == 2
    assert said in run.err
    assert not Path("report.html").exists()


def test_only_files_that_were_learned_from_are_shown(tmp_path: Path) -> None:
    for i in range(2):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{i}.png")
    digest = hashlib.sha256((tmp_path / "1.png").read_bytes()).hexdigest()
    assert len(sources([{"file": "renamed.png", "sha256": digest}], tmp_path, Budget(10**6))) == 1


def test_forgetting_is_over_concepts_that_were_scored_again(tmp_path: Path) -> None:
    _result(tmp_path, "m", 1, {"a": 0.6})
    _result(tmp_path, "m", 2, {"a": 0.8, "b": 0.7})
    _result(tmp_path, "m", 3, {"a": 0.5, "b": 0.7})
    (method,) = benchmark.methods(benchmark.read(tmp_path))
    assert method.lost["clip_t"] == pytest.approx((0.05, 0.15))
    assert method.last["clip_t"] == pytest.approx(0.6)
    assert method.curves["clip_t"] == [(1, 0.6), (2, 0.75), (3, 0.6)]


def test_curves_are_escaped_and_leave_out_what_is_not_finite() -> None:
    drawn = curves({HOSTILE: [(0, 1.0), (1, math.nan), (2, 1.0)]}, '"')
    assert "<script" not in drawn
    assert "nan" not in drawn
    assert drawn.count("<circle") == 2
    assert curves({"a": []}, "nothing") == ""


@pytest.fixture
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def test_a_browser_shows_and_sorts_it(ccvd: Ccvd, filled: None, browser: Any) -> None:
    assert ccvd("report", "--benchmark", "results").code == 0
    browser.get(Path("report.html").absolute().as_uri())
    widths = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
    assert len(widths) == 3
    assert min(widths) > 0

    def first() -> str:
        return browser.execute_script(
            "return document.querySelector('.sortable').tBodies[0].rows[0].cells[0].textContent"
        )

    head = browser.find_elements("css selector", ".sortable th[aria-sort]")[2]
    head.find_element("tag name", "button").click()
    assert (head.get_attribute("aria-sort"), first()) == ("ascending", "V2")
    head.find_element("tag name", "button").send_keys("\ue007")  # Enter
    assert (head.get_attribute("aria-sort"), first()) == ("descending", "V1")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
