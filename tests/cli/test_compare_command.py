"""`ccvd compare`: the same clip in several ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_material import Ccvd
from PIL import Image, ImageSequence

FEW = ("--steps", 2, "--frames", 3)


@pytest.fixture
def taught(learned: Callable[..., None], tiny: Path, photos: Path) -> Path:
    few = ("--steps", 8, "--token-steps", 2, "--batch-size", 1, "--lr", 0.1)
    line = ("learn-subject", "--images", photos, "--base", tiny, "--class-noun", "dog", *few)
    learned(line, (*line, "--name", "V2"))
    return tiny


def test_ways_are_shown_side_by_side(ccvd: Ccvd, taught: Path, cwd: Path) -> None:
    said = "a <V1> dog and a <V2> dog"
    ways = ("default", "no-regions", "base")
    line = ("compare", said, "--with", ",".join(ways), "--seed", 3, *FEW)
    run = ccvd(*line, "--out", "out/c.gif", "--json")
    assert run.code == 0, run.err
    told = json.loads(run.out)
    assert told["ways"] == list(ways) and told["seed"] == 3
    with Image.open(cwd / "out/c.gif") as film:
        frames = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(film)]
    assert len(frames) == 3 and (cwd / "out/c.png").exists()
    scale, side = 4, 64
    parts = [frames[-1][:, k * (side + 4) * scale :][:, : side * scale].astype(int) for k in range(len(ways))]
    assert frames[-1].shape[1] == (len(ways) * (side + 4) - 4) * scale
    for k in range(1, len(ways)):
        assert np.abs(parts[0] - parts[k]).mean() > 0.2, ways[k]
    alone = ccvd("generate", said, "--no-auto-regions", "--seed", 3, *FEW, "--out", "alone.gif")
    assert alone.code == 0
    with Image.open(cwd / "alone.gif") as film:
        frame = np.asarray(list(ImageSequence.Iterator(film))[-1].convert("RGB")).astype(int)
    assert np.abs(frame - parts[1]).mean() < np.abs(frame - parts[0]).mean()
    plain = ccvd("generate", "a dog and a dog", "--base", taught, "--seed", 3, *FEW, "--out", "plain.gif")
    assert plain.code == 0
    with Image.open(cwd / "plain.gif") as film:
        frame = np.asarray(list(ImageSequence.Iterator(film))[-1].convert("RGB")).astype(int)
    # By its own guidance; films that hold more colours hold each less well.
    assert np.abs(frame - parts[2]).mean() < 0.5 * np.abs(frame - parts[1]).mean()


def test_what_changes_nothing_of_windows_is_refused(ccvd: Ccvd, taught: Path) -> None:
    line = ("compare", "a <V1> dog and a <V2> dog", "--with", "default,no-noise-guidance", "--base", "mini")
    run = ccvd(*line)
    assert run.code == 2 and "fills a window, so nothing would differ" in run.err, run.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("--with", "default"), "cannot be compared"),
        (("--with", "default,nonsense"), "'nonsense'"),
        (("--with", "default,mean,default"), "twice"),
        (("--with", "default,no-regions"), "no regions"),
        (("--with", "default,base"), "no concepts"),
        (("--with", "default,off"), "no concepts that share a weight"),
        (("--with", "default,dynamic"), "no subject or style"),
        (("--with", "default,no-style-guidance"), "no style that is guided apart"),
        (("--with", "default,no-paths"), "no motion that leads along a path"),
        (("--with", "default,mean", "--aggregation", "mean"), "default,mean: both are the same clip"),
        (("--with", "default,mean", "--out", "c.png"), "c.png"),
        (("--with", "default,mean", "--out", "c.xyz"), ".xyz"),
    ],
)
def test_nonsense_is_told_first(ccvd: Ccvd, cwd: Path, line: tuple[str, ...], says: str) -> None:
    run = ccvd("compare", "a dog", *line)
    assert run.code == 2 and says in run.err
    assert not list(cwd.iterdir())


def test_regions_can_be_looked_at_first(ccvd: Ccvd, teach: Callable[..., None], cwd: Path) -> None:
    teach("V1")
    boxes = ("--region", "a <V1> dog @ 0,0,0.5,1", "--preview-regions", "boxes.png")
    run = ccvd("compare", "a <V1> dog", "--with", "default,no-regions", *boxes)
    assert run.code == 0, run.err
    assert [p.name for p in cwd.iterdir()] == ["boxes.png"]


def test_an_unknown_concept_is_told(ccvd: Ccvd, teach: Callable[..., None], cwd: Path) -> None:
    teach("V1")
    run = ccvd("compare", "a <V2> dog", "--with", "default,mean")
    assert run.code == 2 and "V2" in run.err and not list(cwd.iterdir())
