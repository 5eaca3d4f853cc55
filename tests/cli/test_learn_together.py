"""Several `--images`: concepts that are learned side by side, and kept all or none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_material import QUICK, Ccvd
from PIL import Image

from ccvd_cli.engine import bases, cotrain
from ccvd_registry import BlobStore


@pytest.fixture
def others(cwd: Path) -> Path:
    (cwd / "others").mkdir()
    noise = np.random.default_rng(1)
    for i in range(3):
        Image.fromarray(noise.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(cwd / f"others/{i}.png")
    return cwd / "others"


@pytest.fixture
def both(tiny: Path, photos: Path, others: Path) -> tuple[object, ...]:
    return ("learn-subject", "--images", photos, "--images", others, "--base", tiny, *QUICK)


def listed(ccvd: Ccvd) -> list[tuple[str, str, int]]:
    concepts = json.loads(ccvd("list", "concepts", "--json").out)
    return [(c["name"], c["class_noun"], c["task"]) for c in concepts]


def test_two_subjects_are_learned_together(ccvd: Ccvd, both: tuple[object, ...], cwd: Path) -> None:
    run = ccvd(*both, "--name", "rex", "--name", "tom", "--class-noun", "dog", "--class-noun", "cat")
    assert (run.code, run.out) == (0, "rex\ntom\n"), run.err
    assert "rex and tom are in the registry." in run.err
    assert "Learned subject tom on tiny" in run.err and "from 3 files" in run.err
    assert "Try: ccvd generate 'a <rex> dog and a <tom> cat on the beach'" in run.err
    assert (cwd / "rex-tom-preview.mp4").is_file()
    assert listed(ccvd) == [("rex", "dog", 1), ("tom", "cat", 2)]
    shown = json.loads(ccvd("show", "tom", "--json").out)
    assert [file["file"] for file in shown["data"]] == ["0.png", "1.png", "2.png"]
    assert shown["how"]["beside"] == ["rex"] and shown["how"]["height"] == shown["how"]["width"]
    assert "learned beside" in ccvd("show", "rex").out
    assert ccvd("generate", "a <rex> dog and a <tom> cat", "--steps", 1, "--frames", 2).code == 0


def test_names_and_nouns_may_be_left_out(ccvd: Ccvd, both: tuple[object, ...], teach: Callable) -> None:
    teach("V4")
    run = ccvd(*both, "--no-preview", "--json")
    assert run.code == 0, run.err
    assert [(c["name"], c["class_noun"], len(c["used"])) for c in json.loads(run.out)] == [
        ("V5", "", 2),
        ("V6", "", 3),
    ]


def test_a_name_taken_meanwhile_costs_no_training(
    ccvd: Ccvd, both: tuple[object, ...], teach: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cotrain.learn_subjects_together
    monkeypatch.setattr(cotrain, "learn_subjects_together", lambda *a, **k: teach("V1") or real(*a, **k))
    run = ccvd(*both, "--no-preview")
    assert (run.code, run.out) == (0, "V3\nV2\n"), run.err
    assert [name for name, *_ in listed(ccvd)] == ["V1", "V3", "V2"]


def test_all_or_nothing(
    ccvd: Ccvd, both: tuple[object, ...], cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, done = BlobStore.put, []

    def fails(self: BlobStore, data: bytes) -> str:
        if len(done) == 4:
            raise OSError(28, "No space left on device")
        done.append(put(self, data))
        return done[-1]

    monkeypatch.setattr(BlobStore, "put", fails)
    before = sorted(cwd.rglob("*"))
    run = ccvd(*both)
    assert run.code != 0 and "Traceback" not in run.err
    assert listed(ccvd) == [] and sorted(cwd.rglob("*")) == before


def test_previews_on_the_way_show_both(ccvd: Ccvd, both: tuple[object, ...], cwd: Path) -> None:
    run = ccvd(*both, "--steps", 3, "--token-steps", 0, "--preview", "p.gif", "--preview-every", 5)
    assert run.code == 0, run.err
    assert sorted(path.name for path in cwd.glob("*.gif")) == ["p-adapter-000005.gif", "p.gif"]


def test_each_subject_has_its_masks(
    ccvd: Ccvd, both: tuple[object, ...], cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, size, count in (("a", (50, 40), 2), ("b", (40, 40), 3)):
        (cwd / folder).mkdir()
        for i in range(count):
            Image.new("L", size, 255).save(cwd / folder / f"{i}.png")
    seen: list[int] = []
    real = cotrain.learn_subjects_together
    monkeypatch.setattr(
        cotrain,
        "learn_subjects_together",
        lambda base, subjects, **k: seen.extend(len(s.masks) for s in subjects) or real(base, subjects, **k),
    )
    assert ccvd(*both, "--no-preview", "--masks", "a", "--masks", "b").code == 0
    assert seen == [2, 3]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--name", "rex"), "1 --name (rex) for 2 folders"),
        (("--name", "a", "--name", "b", "--name", "c"), "3 --name (a, b, c) for 2 folders"),
        (("--class-noun", "dog"), "1 --class-noun (dog) for 2 folders"),
        (("--masks", "alpha"), "1 --masks (alpha) for 2 folders"),
        (("--name", "rex", "--name", "Rex"), "--name Rex is given twice"),
        (("--name", "rex", "--name", "V7"), "'V7' is taken"),
        (("--name", "rex", "--name", "1st"), "'1st'"),
        (("--class-noun", "dog", "--class-noun", "<cat>"), "--class-noun '<cat>'"),
        (("--images", "nowhere"), "'nowhere'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    ccvd: Ccvd,
    both: tuple[object, ...],
    teach: Callable,
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
    said: str,
) -> None:
    teach("V7")
    before = sorted(cwd.rglob("*"))
    monkeypatch.setattr(bases, "open_base", None)  # must not be reached
    run = ccvd(*both, *options)
    assert (run.code, run.out) == (2, "")
    error = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and said in error[0]
    assert sorted(cwd.rglob("*")) == before and [name for name, *_ in listed(ccvd)] == ["V7"]


def test_a_motion_has_one_name(ccvd: Ccvd, tiny: Path, clips: Path) -> None:
    run = ccvd("learn-motion", "--videos", clips, "--base", tiny, "--name", "a", "--name", "b")
    assert run.code == 2 and "2 --name (a, b) for one folder" in run.err
