"""`ccvd report`: what the page holds, what it refuses, and that a browser can use it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_material import QUICK, Ccvd
from PIL import Image
from report_material import animated, result

from ccvd_registry import BaseFacts, Registry

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def filled(teach: Callable[..., None], ccvd_home: Path, cwd: Path) -> None:
    """Two concepts with scores, a kept clip with a hostile prompt, and a benchmark of two methods."""
    teach("V1", noun=HOSTILE)
    teach("V2", kind="motion", noun="jumping")
    with Registry(ccvd_home) as registry:
        for name, mean in (("V1", 0.9), ("V2", 0.1)):
            score = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "count": 4}
            judged = {"mean": 0.5, "low": 0.1, "high": 0.9, "count": 4, "judge": 0.985}
            registry.record_evaluation(name, how={}, scores={"clip_t": score, "identity": judged})
    _keep(cwd, "V1", 1)
    for method in ("ccvd", "other"):
        result(cwd / "results", method, 1, {"a": 0.8}, prompt=HOSTILE)
        result(cwd / "results", method, 2, {"a": 0.5, "b": 0.7}, prompt=HOSTILE, judges={"identity": 0.97})


def digests(name: str) -> dict[str, str]:
    """Of what the fixture `teach` puts into the registry."""
    parts = ("adapter", "embedding", "prototype")
    return {part: hashlib.sha256(f"{part} of {name}".encode()).hexdigest() for part in parts}


def _keep(cwd: Path, name: str, count: int, side: int = 16) -> None:
    """Clips as evaluations leave them, one of another concept that had this name, and a line that is none."""
    kept = cwd / "evaluation" / name
    told = {"batch": "b", "scores": {}}
    rows = [
        {**told, "prompt": HOSTILE, "seed": i, "clip": f"{i}.gif", "concepts": [digests(name)]}
        for i in range(count)
    ]
    for k, whose in enumerate(({}, {"concepts": []}, {"concepts": [digests("another")]}, {"concepts": 3})):
        animated(kept / f"stranger{k}.gif")
        rows.insert(0, {**told, "prompt": "a stranger", "seed": 0, "clip": f"stranger{k}.gif", **whose})
    for i in range(count):
        animated(kept / f"{i}.gif", ord(name[-1]) + 100 * i, side)
    (kept / "scores.jsonl").write_text("\n".join([*map(json.dumps, rows), "not a row"]))


def _page() -> str:
    return Path("report.html").read_text()


def test_an_empty_registry_says_what_to_do(ccvd: Ccvd, ccvd_home: Path) -> None:
    assert ccvd("report").code == 0
    assert "ccvd learn-subject" in _page()


def test_it_can_be_opened_at_once(ccvd: Ccvd, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert ccvd("report").code == 0 and not opened
    assert ccvd("report", "--open", "--out", "a b.html").code == 0
    assert opened == [(cwd / "a b.html").as_uri()]


def test_what_others_wrote_is_escaped(ccvd: Ccvd, filled: None) -> None:
    assert ccvd("report", "--benchmark", "results").code == 0
    assert HOSTILE not in _page()
    assert "&lt;script&gt;alert(1)" in _page()


def test_clips_of_another_who_had_the_name_are_not_shown(ccvd: Ccvd, filled: None) -> None:
    assert ccvd("report").code == 0
    assert "a stranger" not in _page() and _page().count("data-clip") > 0


def test_nothing_of_the_page_comes_from_elsewhere(ccvd: Ccvd, filled: None) -> None:
    assert ccvd("report", "--benchmark", "results").code == 0
    assert set(re.findall(r'(?:href|src)="([^#"]{5})', _page())) == {"data:"}


def test_how_good_judges_are_and_how_sure_means_are_is_shown(ccvd: Ccvd, filled: None) -> None:
    assert ccvd("report", "--benchmark", "results").code == 0
    assert "IDENTITY 97.0%" in _page()
    assert "0.800 to 1.000" in _page()  # V1
    assert _page().count("judge 98.5%") == 2 * 2  # on both cards, and in the table
    assert "-0.671 to 1.000" in _page()  # the benchmark's, of two concepts


def test_what_does_not_fit_is_left_out_and_said(ccvd: Ccvd, filled: None) -> None:
    run = ccvd("report", "--budget", "0", "--json")
    assert json.loads(run.out)["left_out"] == 1
    assert "data:image/gif" not in _page()
    assert "did not fit: 1 of the concepts" in _page()
    run = ccvd("report", "--budget", "inf")
    assert run.code == 2 and "--budget" in run.err


def test_a_prompt_is_headed_as_most_methods_word_it(ccvd: Ccvd, cwd: Path) -> None:
    for method, prompt in (("a", "a sks"), ("b", "a <V1> dog"), ("c", "a <V1> dog")):
        result(cwd / "bench", method, 1, {"V1": 0.5}, prompt=prompt)
    assert ccvd("report", "--benchmark", "bench").code == 0
    page = (cwd / "report.html").read_text()
    assert "<h4>a &lt;V1&gt; dog <small>" in page and "<b>a</b> a sks</figcaption>" in page


def test_concepts_and_benchmark_share_the_budget(ccvd: Ccvd, cwd: Path, teach: Callable[..., None]) -> None:
    for name in ("V1", "V2"):
        teach(name)
        _keep(cwd, name, 2, side=40)
    for i, method in enumerate(("ccvd", "other")):
        result(cwd / "results", method, 1, {"a": 0.8}, clip=i)
    size = json.loads(ccvd("report", "--json").out)["bytes"]
    size -= json.loads(ccvd("report", "--budget", 0, "--json").out)["bytes"]  # four clips
    tight = ("--budget", size * 0.8 / 1e6)
    assert ccvd("report", "--benchmark", "results", *tight).code == 0
    assert "of the benchmark" not in _page()
    shown = re.findall(r"<article.*?data-clip.*?</article>", _page(), re.DOTALL)
    assert len(shown) == 2  # each concept has one, before anybody has two
    assert _page().count("data-clip") == 4


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"clip_t": "high", "clip_i": {"mean": 0.5}}, "V1, after task 1: clip_t"),
        ({"clip_t": {"low": 1}, "clip_i": {"mean": 0.5, "low": "x", "high": 1}}, "clip_t"),
        (["clip_t"], "scores"),
    ],
)
def test_stored_scores_that_are_none_are_named(
    ccvd: Ccvd, teach: Callable[..., None], ccvd_home: Path, scores: Any, said: str
) -> None:
    teach("V1")
    with Registry(ccvd_home) as registry:
        registry.record_evaluation("V1", how={}, scores=scores)
    run = ccvd("report")
    assert run.code == 0, run.err
    assert said in run.err and said in _page() and run.err.count(said) == 1
    assert ("0.500" in _page()) == isinstance(scores, dict)


def test_what_was_just_learned_is_shown(ccvd: Ccvd, tiny: Path, photos: Path) -> None:
    line = ("learn-subject", "--images", photos, "--base", tiny, "--steps", 1, "--token-steps", 1)
    assert ccvd(*line).code == 0
    assert ccvd("report").code == 0
    assert "No clips to show" not in _page() and _page().count("data:video/mp4") == 1
    (made,) = json.loads(ccvd("list", "generations", "--json").out)
    assert made["output"].endswith("V1-preview.mp4")
    again = ccvd("generate", "--from", "V1-preview.mp4.json", "--out", "again.mp4")
    assert again.code == 0, again.err
    assert Path("again.mp4").read_bytes() == Path("V1-preview.mp4").read_bytes()


def test_one_other_evaluation_hides_no_curve(ccvd: Ccvd, teach: Callable[..., None], ccvd_home: Path) -> None:
    for name, mean in (("V1", 0.9), ("V2", 0.6)):
        teach(name)
        with Registry(ccvd_home) as registry:
            registry.record_evaluation("V1", how={"seed": 0}, scores={"clip_t": {"mean": mean}})
    assert ccvd("report").code == 0
    before = _page()
    with Registry(ccvd_home) as registry:
        registry.record_evaluation("V1", how={"seed": 5}, scores={"clip_i": {"mean": 0.123}})
    assert ccvd("report").code == 0
    assert "0.123" in _page() and "0.123" not in before  # the latest is what the concept scores
    for shown in ("+0.300", "CLIP-T as further tasks were learned"):
        assert shown in before and shown in _page()


def test_scores_that_do_not_exist_leave_no_trace(
    ccvd: Ccvd, teach: Callable[..., None], ccvd_home: Path
) -> None:
    teach("V1")
    with Registry(ccvd_home) as registry:
        registry.record_evaluation(
            "V1", how={}, scores={"clip_t": {"mean": None}, "clip_i": {"mean": np.nan}}
        )
    assert ccvd("report").code == 0
    assert not re.search(r"\b(nan|None)\b", re.sub(r"<script.*", "", _page(), flags=re.DOTALL))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "."), "not an .html file"),
        (("--out", "report.txt"), "not an .html file"),
        (("--benchmark", "nowhere"), "holds no results"),
        (("--references", "V9=."), "V9"),
        (("--references", "V1=nowhere"), "there is no 'nowhere'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(
    ccvd: Ccvd, filled: None, arguments: tuple[str, ...], said: str
) -> None:
    run = ccvd("report", *arguments)
    assert run.code == 2
    assert said in run.err
    assert not Path("report.html").exists()


@pytest.fixture
def generated(
    ccvd: Ccvd, tiny: Path, photos: Path, filled: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip of a concept that was really learned, with a box that moves; and another current folder."""
    base = ("--base", tiny)
    learned = ccvd("learn-subject", "--images", photos, "--class-noun", "dog", *base, *QUICK, "--name", "rex")
    assert learned.code == 0, learned.err
    where = ("--region", "<rex> dog @ 0: 0,0,0.5,0.5 ; 3: 0.5,0.5,1,1")
    sampled = ("--steps", 2, "--frames", 4, "--out", "clips/a.mp4", "--seed", 5)
    run = ccvd("generate", "a <rex> dog", *where, *sampled)
    assert run.code == 0, run.err
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


def test_clips_are_found_from_another_folder_with_boxes_and_sources(
    ccvd: Ccvd, generated: None, photos: Path
) -> None:
    run = ccvd("report", "--references", f"rex={photos}")
    assert run.code == 0, run.err
    page = _page()
    assert page.count("data:video/mp4") == 2  # the preview, and what was generated
    boxes = re.findall(r'class="box c0" x="([\d.]+)" y="([\d.]+)"', page)
    assert [float(x) / 256 for x, _ in boxes] == pytest.approx([0, 1 / 3, 0.5], abs=0.01)
    assert page.count('aria-label="Learned from, ') == 2
    assert "named" in page.split("<h2>Relevance")[1]


def test_boxes_of_an_edited_clip_are_where_its_frames_were(
    ccvd: Ccvd, generated: None, tmp_path: Path
) -> None:
    """A GIF has the frames that were taken alone; keyframes count the old clip's."""
    animated(tmp_path / "old.gif", frames=12)
    where = ("--region", "<rex> dog @ 0: 0,0,0.5,0.5 ; 11: 0.5,0.5,1,1")
    few = ("--frames", 2, "--steps", 2, "--seed", 5, "--out", "new.gif")
    run = ccvd("edit", "--video", tmp_path / "old.gif", "a <rex> dog", *where, *few)
    assert run.code == 0, run.err
    assert ccvd("report").code == 0
    side = 16  # of the old clip's pictures
    lefts = [float(x) / side for x in re.findall(r'class="box c0" x="([\d.]+)"', _page())]
    taken = json.loads(Path("new.gif.json").read_text())["edit"]["taken"]
    assert len(taken) == 2
    assert all(any(x == pytest.approx(0.5 * k / 11, abs=0.01) for x in lefts) for k in taken)


# --- in a browser ------------------------------------------------------------------------------------


@pytest.fixture
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip(
            "no chromium and chromedriver on the PATH: Debian's chromium and chromium-driver bring them"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1000,3000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def _open(browser: Any) -> None:
    browser.get(Path("report.html").absolute().as_uri())


def _until(browser: Any, script: str) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 60).until(lambda b: b.execute_script(f"return {script}"))


def _severe(browser: Any) -> list[Any]:
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_a_browser_shows_and_sorts_it(ccvd: Ccvd, filled: None, browser: Any) -> None:
    assert ccvd("report", "--benchmark", "results").code == 0
    _open(browser)
    assert browser.execute_script(
        "return [...document.querySelectorAll('use')].every(u => document.querySelector(u.getAttribute('href')))"
    )
    assert _until(
        browser, "[...document.images].length == 3 && [...document.images].every(i => i.naturalWidth)"
    )

    def first() -> str:
        return browser.execute_script(
            "return document.querySelector('.sortable').tBodies[0].rows[0].cells[0].textContent"
        )

    head = browser.find_elements("css selector", ".sortable th[aria-sort]")[2]
    head.find_element("tag name", "button").click()
    assert (head.get_attribute("aria-sort"), first()) == ("ascending", "V2")
    head.find_element("tag name", "button").send_keys("\ue007")  # Enter
    assert (head.get_attribute("aria-sort"), first()) == ("descending", "V1")
    assert _severe(browser) == []


def test_what_moves_is_held_by_the_keyboard(ccvd: Ccvd, filled: None, browser: Any) -> None:
    assert ccvd("report").code == 0
    _open(browser)
    assert _until(browser, "document.images.length == 1")
    button = browser.find_element("css selector", ".clip button")
    button.send_keys("\ue007")
    assert _until(browser, "document.images.length == 0")
    assert button.get_attribute("aria-label").startswith("Play: ")
    browser.find_element("id", "pause").send_keys("\ue007")  # now: Play all
    assert _until(browser, "document.images.length == 1")


def test_who_wants_no_motion_has_none_until_asked(ccvd: Ccvd, filled: None, browser: Any) -> None:
    assert ccvd("report").code == 0
    reduced = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", reduced)
    _open(browser)
    assert _until(browser, "document.getElementById('pause').textContent == 'Play all'")
    assert browser.execute_script("return document.images.length") == 0
    browser.find_element("css selector", ".clip button").click()
    assert _until(browser, "document.images.length == 1")


def test_a_video_plays_where_it_is_seen(
    ccvd: Ccvd, filled: None, cwd: Path, clips: Path, browser: Any
) -> None:
    kept = cwd / "evaluation" / "V2"
    shutil.copytree(clips, kept)
    row = {"prompt": "a dog jumping", "seed": 0, "clip": "a.mp4", "concepts": [digests("V2")]}
    row |= {"batch": "b", "scores": {}}
    (kept / "scores.jsonl").write_text(json.dumps(row))
    assert ccvd("report").code == 0
    _open(browser)
    if not browser.execute_script(
        "return document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.64000A\"')"
    ):
        pytest.skip("this chromium has no H.264")
    assert _until(browser, "document.querySelector('video')?.videoWidth > 0")
    assert _until(browser, "document.querySelector('video').currentTime > 0")
    browser.find_element("css selector", ".clip[data-kind=video] button").send_keys("\ue007")
    assert _until(browser, "document.querySelector('video').paused")
    assert _severe(browser) == []


def test_what_is_out_of_sight_stands_still(ccvd: Ccvd, filled: None, browser: Any) -> None:
    assert ccvd("report", "--benchmark", "results").code == 0
    low = {"width": 600, "height": 200, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", low)
    _open(browser)
    clips = browser.find_elements("css selector", ".clip")
    assert len(clips) == 3
    browser.execute_script("arguments[0].scrollIntoView()", clips[-1])
    assert _until(browser, "document.querySelectorAll('.clip')[2].querySelector('img') !== null")
    browser.execute_script("arguments[0].scrollIntoView()", clips[0])
    assert _until(browser, "document.querySelectorAll('.clip')[2].querySelector('img') === null")
    assert _until(browser, "document.querySelectorAll('.clip')[0].querySelector('img') !== null")


def test_colours_are_remembered_and_the_content_can_be_skipped_to(
    ccvd: Ccvd, filled: None, browser: Any
) -> None:
    assert ccvd("report").code == 0
    _open(browser)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = _until(browser, ground)
    browser.find_element("id", "theme").click()
    dark = _until(browser, ground)
    assert dark != light
    _open(browser)
    assert _until(browser, ground) == dark
    browser.find_element("tag name", "body").send_keys("\ue004")  # Tab
    skip = browser.switch_to.active_element
    assert skip.get_attribute("class") == "skip" and skip.location["x"] >= 0
    skip.send_keys("\ue007")
    assert browser.switch_to.active_element.get_attribute("id") == "main"


def test_a_phone_scrolls_tables_not_the_page(ccvd: Ccvd, filled: None, browser: Any) -> None:
    assert ccvd("report", "--benchmark", "results").code == 0
    phone = {"width": 360, "height": 700, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    _open(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    assert browser.execute_script(
        "return [...document.querySelectorAll('.wide')].some(w => w.scrollWidth > w.clientWidth)"
    )


def test_a_clip_that_is_older_than_many_is_still_shown(
    ccvd: Ccvd, teach: Callable[..., None], ccvd_home: Path, cwd: Path
) -> None:
    """And one in frames by its first."""
    teach("V1")
    teach("V2")
    with Registry(ccvd_home) as registry:
        views = {name: registry.get(name) for name in ("V1", "V2")}
        base = BaseFacts("mini", "mini", "f" * 64, "/nowhere/mini")
        for k, name in enumerate(["V1", *["V2"] * 30]):
            _made(cwd / f"{k}.png", f"number {k} of <{name}>", views[name].digests, name)
            registry.record_generation(
                prompt=f"number {k}",
                seed=k,
                settings={},
                concepts=[views[name]],
                base=base,
                output=cwd / f"{k}.png",
            )
    assert ccvd("report").code == 0
    assert "number 0 of" in _page() and "number 30 of" in _page()


def _made(clip: Path, prompt: str, digests: dict[str, str], name: str) -> None:
    """The first frame of a clip, and its sidecar."""
    frame = clip.with_name(f"{clip.stem}_000.png")
    Image.new("RGB", (8, 8), (int(clip.stem) * 8, 0, 0)).save(frame)
    told = {
        **{"prompt": prompt, "seed": 0, "settings": {}, "device": "cpu", "dtype": "float32", "scale": 1},
        "concepts": [{"name": name, "kind": "subject", "class_noun": "dog", "digests": digests}],
        "base": {"name": "mini", "family": "mini", "fingerprint": "f", "location": "/nowhere"},
        **{"files": [frame.name], "created": "2026-01-01T00:00:00Z", "versions": {}},
    }
    clip.with_name(f"{clip.name}.json").write_text(json.dumps(told))
