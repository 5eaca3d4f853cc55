"""Several concepts in one prompt: regions given and chosen, who takes part, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cli_material import QUICK, Ccvd
from PIL import Image

from ccvd_registry import BaseFacts, NewConcept, Registry

FEW = ("--steps", "2", "--frames", "3", "--height", "32", "--width", "32", "--seed", "1")
BOTH = "a <V1> dog and a <V2> cat"
LEFT, RIGHT = "a <V1> dog @ 0,0,0.5,1", "a <V2> cat @ 0.5,0,1,1"


@pytest.fixture
def taught(learned: Callable[..., None], tiny: Path, photos: Path, clips: Path) -> Path:
    """The subjects V1 and V2 and the motion V3, all of the tiny base."""
    learned(
        *(
            ("learn-subject", "--images", photos, "--class-noun", noun, "--base", tiny, *QUICK)
            for noun in ("dog", "cat")
        ),
        ("learn-motion", "--videos", clips, "--frames", 4, "--base", tiny, *QUICK),
    )
    return tiny


def frames(cwd: Path, stem: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(cwd.glob(f"{stem}_*.png"))]


def test_regions_are_obeyed_recorded_and_made_again(ccvd: Ccvd, taught: Path, cwd: Path) -> None:
    run = ccvd("generate", BOTH, "--out", "a.png", "--region", LEFT, "--region", RIGHT, "--explain", *FEW)
    assert run.code == 0, run.err
    told = json.loads((cwd / "a.png.json").read_text())
    assert [r["prompt"] for r in told["settings"]["regions"]] == ["a <V1> dog", "a <V2> cat"]
    parts = [(s["prompt"], s["concept"], s["weight"], s["why"]) for s in told["shares"]]
    assert parts == [("a <V1> dog", "V1", 1.0, "named"), ("a <V2> cat", "V2", 1.0, "named")]
    assert "V1 (subject): weight 1.00, named, in 'a <V1> dog'" in run.err
    assert ccvd("generate", "--from", "a.png.json", "--out", "b.png").code == 0
    assert frames(cwd, "b") == frames(cwd, "a") and len(frames(cwd, "a")) == 3
    for k, switch in enumerate(("--no-region-attention", "--no-noise-guidance")):
        assert ccvd("generate", "--from", "a.png.json", "--out", f"c{k}.png", switch).code == 0
        assert frames(cwd, f"c{k}") != frames(cwd, "a")
    usual = told["settings"]["estimate_of"]
    for k, of in enumerate(("frame", "box")):
        again = ("generate", "--from", "a.png.json", "--out", f"d{k}.png", "--estimate-of", of)
        assert ccvd(*again).code == 0
        assert (frames(cwd, f"d{k}") == frames(cwd, "a")) == (of == usual)


def test_a_frame_of_the_bases_own_size_is_widened_for_several_subjects(
    ccvd: Ccvd, taught: Path, cwd: Path
) -> None:
    asked = ("generate", BOTH, "--base", "mini", "--preview-regions", "p.png")
    run = ccvd(*asked)
    assert run.code == 0 and "--width 112, so that each has as much room as one alone" in run.err, run.err
    assert "--region 'a <V1> dog @ 0,0,0.571428571,1'" in run.err
    wide = Image.open(cwd / "p.png").size
    for kept in (("--no-windows",), ("--width", "64")):
        run = ccvd(*asked, *kept)
        assert run.code == 0 and "--width" not in run.err and "@ 0,0.1,0.5,1'" in run.err
        square = Image.open(cwd / "p.png").size
        assert square[0] == square[1] and wide[0] * 64 == wide[1] * 112
    assert ccvd(*asked, "--width", "112").code == 0 and Image.open(cwd / "p.png").size == wide


def test_own_boxes_in_a_small_frame_are_told_of_a_wider_one(ccvd: Ccvd, taught: Path, cwd: Path) -> None:
    asked = (
        "generate",
        BOTH,
        "--base",
        "mini",
        "--region",
        LEFT,
        "--region",
        RIGHT,
        "--preview-regions",
        "p.png",
    )
    said = "2 subjects share a frame of 64x64: --width 112 --windows gives each as much room"
    assert said in ccvd(*asked).err
    for more in (("--width", 112, "--windows"), ("--no-windows",), ("--width", 64)):
        run = ccvd(*asked, *more)
        assert run.code == 0 and "share a frame" not in run.err
    twice = ("generate", "a <V1> dog", "--base", "mini", "--region", LEFT, "--region", LEFT)
    refused = ccvd(*twice, "--preview-regions", "p.png")
    assert refused.code == 2 and "2 regions, but only 1 concept" in refused.err
    assert "share a frame" not in refused.err
    one = ccvd("generate", "a <V1> dog", "--base", "mini", "--region", LEFT, "--preview-regions", "p.png")
    assert one.code == 0 and "share a frame" not in one.err


def test_who_is_named_twice_is_not_put_into_the_others_box(ccvd: Ccvd, taught: Path, cwd: Path) -> None:
    run = ccvd("generate", f"{BOTH}, the <V1> dog jumping", "--out", "a.gif", *FEW)
    assert run.code == 0 and "a <V2> cat, the <V1> dog jumping' names several subjects" in run.err, run.err
    assert "--region '" not in run.err
    assert json.loads((cwd / "a.gif.json").read_text())["settings"]["regions"] == []


def test_two_subjects_stand_side_by_side_unless_told_not_to(
    ccvd: Ccvd, taught: Path, photos: Path, cwd: Path
) -> None:
    run = ccvd("generate", f"{BOTH} performing <V3>", "--out", "a.gif", *FEW)
    assert run.code == 0, run.err
    assert "--region 'a <V1> dog performing <V3> @ 0,0.1,0.5,1'" in run.err
    told = json.loads((cwd / "a.gif.json").read_text())
    assert [r["prompt"] for r in told["settings"]["regions"]] == [
        "a <V1> dog performing <V3>",
        "a <V2> cat performing <V3>",
    ]
    run = ccvd("generate", BOTH, "--out", "b.gif", "--no-auto-regions", *FEW)
    assert run.code == 0 and "--region" not in run.err
    told = json.loads((cwd / "b.gif.json").read_text())
    assert told["settings"]["regions"] == []
    assert sorted(s["concept"] for s in told["shares"]) == ["V1", "V2"]
    assert sum(s["weight"] for s in told["shares"]) == pytest.approx(1, abs=1e-3)
    for noun in ("bird", "car", "boat"):
        assert (
            ccvd("learn-subject", "--images", photos, "--class-noun", noun, "--base", taught, *QUICK).code
            == 0
        )
    five = f"{BOTH}, a <V4> bird, a <V5> car and a <V6> boat"
    run = ccvd("generate", five, "--preview-regions", "boxes.png", *FEW)
    assert run.code == 2 and "5 subjects are too many to stand side by side" in run.err
    assert "name two to 4 subjects" in run.err and not (cwd / "boxes.png").exists()
    alone = ccvd("generate", "a <V1> dog performing <V3>", "--out", "c.gif", *FEW)
    assert alone.code == 0 and "--region" not in alone.err


def test_concepts_that_are_not_named_join_when_asked_to(ccvd: Ccvd, taught: Path, cwd: Path) -> None:
    def shares(*options: object) -> dict[str, str]:
        run = ccvd("generate", "a <V1> dog", "--out", "a.gif", *FEW, *options)
        assert run.code == 0, run.err
        told = json.loads((cwd / "a.gif.json").read_text())
        assert {c["name"] for c in told["concepts"]} == {s["concept"] for s in told["shares"]}
        return {s["concept"]: s["why"] for s in told["shares"]}

    assert shares() == shares("--aggregation", "off") == {"V1": "named"}
    everybody = {"V1": "named", "V2": "relevant", "V3": "relevant"}
    assert shares("--aggregation", "mean") == everybody
    assert shares("--relevance-threshold", -1) == everybody
    assert shares("--relevance-threshold", 1) == {"V1": "named"}
    assert shares("--aggregation", "relevance", "--top-k", 9) == everybody
    assert ccvd("generate", "--from", "a.gif.json", "--out", "b.gif").code == 0
    assert (cwd / "a.gif").read_bytes() == (cwd / "b.gif").read_bytes()


def test_boxes_are_drawn_without_a_model(
    ccvd: Ccvd, taught: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccvd_cli.engine.bases.open_base", None)  # it would be called in vain
    moving = "a <V1> dog @ 0: 0,0,0.5,1 ; 2: 0.5,0,1,1"
    run = ccvd("generate", "a <V1> dog", "--region", moving, "--preview-regions", "boxes.png", *FEW)
    assert run.code == 0, run.err
    assert run.out == "boxes.png\n" and sorted(p.name for p in cwd.iterdir()) == ["boxes.png"]
    picture = Image.open(cwd / "boxes.png")
    told = ccvd("generate", BOTH, "--preview-regions", "new/boxes.png", "--json", *FEW)
    assert (
        told.code == 0 and len(json.loads(told.out)["regions"]) == 2 and (cwd / "new" / "boxes.png").is_file()
    )
    assert picture.size == (512, 512) and len(picture.getcolors(100_000) or []) > 3


def test_a_file_of_regions(ccvd: Ccvd, taught: Path, cwd: Path) -> None:
    (cwd / "r.yaml").write_text("- prompt: a <V1> dog\n  box: [0, 0, 0.5, 1]\n")
    run = ccvd("generate", "on the beach", "--regions", "r.yaml", "--out", "a.gif", *FEW)
    assert run.code == 0, run.err
    told = json.loads((cwd / "a.gif.json").read_text())
    assert [c["name"] for c in told["concepts"]] == ["V1"]


def test_what_is_refused_leaves_nothing(ccvd: Ccvd, taught: Path, cwd: Path) -> None:
    for options, says in (
        (("--region", "<V1> @ 0,0,1.5,1"), "the box 0,0,1.5,1 is outside the frame"),
        (("--region", "<V1> @ 0.5,0,0.5,1"), "the box 0.5,0,0.5,1 is empty"),
        (("--region", "<V8> @ 0,0,0.5,1"), "V8"),
        (("--region", "<V1> @ 0,0,0.5,1", "--region", "<V1> @ 0.5,0,1,1"), "There are 2 regions"),
        (("--region", "<V1> @ 0,0,0.01,1"), "The box 0,0,0.01,1 is too small"),
        (("--region", "<V1> @ 9: 0,0,0.5,1"), "the clip's last frame is 2"),
        (("--regions", "none.yaml"), "Cannot read 'none.yaml'"),
        (("--preview-regions", "boxes.jpg", "--region", LEFT), "not a .png file"),
        (("--preview-regions", "boxes.png", "--no-auto-regions"), "no regions to draw: --no-auto-regions"),
        (("--preview-regions", "boxes.png"), "name two to 4 subjects in the prompt, each once"),
        (("--height", 33), "Height 33 is not a multiple of"),
        (("--relevance-threshold", 3), "--relevance-threshold 3"),
        (("--top-k", 0), "--top-k 0"),
        (("--top-k", 2), "--top-k 2: with --aggregation named relevance chooses nobody"),
        (
            ("--aggregation", "off", "--relevance-threshold", 0.2),
            "--relevance-threshold 0.2: with --aggregation off",
        ),
    ):
        run = ccvd("generate", "a <V1> dog", "--out", "a.gif", *FEW, *options)
        assert run.code == 2, (options, run.err)
        assert says in run.err and "Traceback" not in run.err and not list(cwd.iterdir())
        assert "Loading base" not in run.err


def test_a_sidecar_has_its_own_regions(ccvd: Ccvd, taught: Path, cwd: Path) -> None:
    assert ccvd("generate", BOTH, "--out", "a.gif", *FEW).code == 0
    run = ccvd("generate", "--from", "a.gif", "--region", LEFT)
    assert run.code == 2 and "Both regions and --from" in run.err
    assert ccvd("generate", "--from", "a.gif", "--out", "b.gif", "--no-auto-regions").code == 0
    assert json.loads((cwd / "b.gif.json").read_text())["settings"]["regions"] == []
    assert ccvd("generate", "--from", "b.gif", "--out", "c.gif", "--aggregation", "mean").code == 0
    assert {c["name"] for c in json.loads((cwd / "c.gif.json").read_text())["concepts"]} == {"V1", "V2", "V3"}
    told = json.loads((cwd / "a.gif.json").read_text())
    told["settings"]["regions"][0]["keyframes"][0]["frame"] = 9
    (cwd / "a.gif.json").write_text(json.dumps(told))
    late = ccvd("generate", "--from", "a.gif", "--out", "d.gif")
    assert late.code == 2 and "the clip's last frame is 2" in late.err and not (cwd / "d.gif").exists()


def test_a_sidecar_of_the_first_format_weighed_all_alike(ccvd: Ccvd, taught: Path, cwd: Path) -> None:
    assert ccvd("generate", BOTH, "--out", "a.gif", "--no-auto-regions", *FEW).code == 0
    told = json.loads((cwd / "a.gif.json").read_text())
    for new in (
        "aggregation",
        "relevance_threshold",
        "top_k",
        "regions",
        "region_attention",
        "noise_guidance",
        "estimate_of",
    ):
        del told["settings"][new]
    del told["shares"]
    (cwd / "old.gif.json").write_text(json.dumps({**told, "format": 1}))
    assert ccvd("generate", "--from", "old.gif.json", "--out", "b.gif").code == 0
    again = json.loads((cwd / "b.gif.json").read_text())
    assert [s["weight"] for s in again["shares"]] == [0.5, 0.5]


def test_only_the_files_that_are_needed_are_opened(
    ccvd: Ccvd, taught: Path, cwd: Path, ccvd_home: Path
) -> None:
    """Of a thousand concepts it would take minutes: who is not named costs nothing, or a prototype where relevance is asked for."""
    with Registry(ccvd_home) as registry:
        known = registry.get("V2")
        base = BaseFacts(known.base, known.base_family, known.base_fingerprint, known.base_location)
        registry.add(
            NewConcept(
                name="V9",
                kind="subject",
                class_noun="cat",
                base=base,
                seed=0,
                recipe={},
                data=[],
                loss_curve=[],
                adapter=b"nobody may open this",
                embedding=b"nor this",
                prototype=known.prototype_path.read_bytes(),
                sites=1,
                parameters=1,
                started=datetime.now(timezone.utc),
            )
        )
    asked = ("generate", "a <V1> dog", *FEW, "--out", "a.gif")
    assert ccvd(*asked).code == 0
    alone = ccvd(*asked, "--relevance-threshold", 1)  # everybody is asked, and nobody is so near
    assert alone.code == 0, alone.err
    joined = ccvd(*asked, "--aggregation", "relevance", "--top-k", 9)
    assert joined.code == 1 and "Concept V9 cannot be read" in joined.err and "Traceback" not in joined.err
