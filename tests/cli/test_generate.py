"""Generating from the command line, on a tiny base: clips, sidecars, and making the same frames again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_material import QUICK, Ccvd

from ccvd_cli.engine import bases, media_out

FEW = ("--steps", "2", "--frames", "3", "--height", "32", "--width", "32")


SIDECAR = {
    **{
        "prompt": "a dog",
        "seed": 1,
        "settings": {},
        "concepts": [],
        "device": "cpu",
        "dtype": "float32",
        "scale": 1,
    },
    "base": {"name": "tiny", "family": "mini", "fingerprint": "f", "location": "/nowhere"},
    **{"files": ["a.mp4"], "created": "2026-01-01T00:00:00Z", "versions": {}},
}
BROKEN: dict[str, dict[str, object]] = {
    "tiny": {"scale": 0},
    "seed": {"seed": 2**70},
    "guided": {"settings": {"guidance_scale": float("inf")}},
    "nobody": {"prompt": "a <V1> dog"},
}


@pytest.fixture
def taught(learned: Callable[..., None], tiny: Path, photos: Path, clips: Path) -> Path:
    """A registry with the subject V1 and the motion V2, both of the tiny base."""
    learned(
        ("learn-subject", "--images", photos, "--class-noun", "dog", "--base", tiny, *QUICK),
        ("learn-motion", "--videos", clips, "--frames", 4, "--base", tiny, *QUICK),
    )
    return tiny


def test_concepts_compose_and_a_sidecar_gives_the_same_frames(ccvd: Ccvd, taught: Path, cwd: Path) -> None:
    prompt = "a <V1> dog performing <V2> on the beach"
    first = ccvd("generate", prompt, "--out", "a.png", "--seed", 7, *FEW, "--scheduler", "ddim")
    assert first.code == 0, first.err
    assert first.out.split() == ["a_000.png", "a_001.png", "a_002.png"]
    assert ccvd("list", "generations").out.split()[-1] == str(cwd / "a_*.png")
    told = json.loads((cwd / "a.png.json").read_text())
    assert (told["prompt"], told["seed"], told["scale"], told["device"]) == (prompt, 7, 4, "cpu")
    assert (told["settings"]["scheduler"], told["settings"]["frames"]) == ("ddim", 3)
    assert [concept["name"] for concept in told["concepts"]] == ["V1", "V2"]
    assert told["base"]["location"] == str(taught) and {"ccvd", "torch", "diffusers"} <= set(told["versions"])

    again = ccvd("generate", "--from", "a.png.json", "--out", "b.png")
    assert again.code == 0, again.err
    for a, b in zip(first.out.split(), again.out.split(), strict=True):
        assert (cwd / a).read_bytes() == (cwd / b).read_bytes()
    assert ccvd("generate", "a red dog", "--base", taught, "--out", "d.png", *FEW).code == 0
    plain = json.loads((cwd / "d.png.json").read_text())["settings"]
    assert (told["settings"]["guidance_scale"], plain["guidance_scale"]) == (2.0, 5.0)  # mini's defaults
    other = ccvd("generate", "--from", "a.png", "--out", "c.png", "--seed", 8)  # the clip's own path will do
    assert other.code == 0
    assert (cwd / "c_000.png").read_bytes() != (cwd / "a_000.png").read_bytes()


def test_count_takes_the_next_seeds_and_the_registry_remembers(ccvd: Ccvd, tiny: Path, cwd: Path) -> None:
    run = ccvd(
        "generate", "a red dog", "--base", tiny, "--seed", 5, "--count", 2, *FEW, "--json", "--scale", 2
    )
    assert run.code == 0, run.err
    made = json.loads(run.out)
    assert [clip["seed"] for clip in made] == [5, 6]
    assert [clip["files"] for clip in made] == [["ccvd-a-red-dog-5_000.mp4"], ["ccvd-a-red-dog-5_001.mp4"]]
    assert all((cwd / clip["sidecar"]).is_file() for clip in made)
    listed = json.loads(ccvd("list", "generations", "--json").out)
    assert [(clip["seed"], clip["prompt"], clip["base"]) for clip in listed] == [
        (6, "a red dog", "tiny"),
        (5, "a red dog", "tiny"),
    ]


def test_a_random_seed_is_said(ccvd: Ccvd, tiny: Path, cwd: Path) -> None:
    run = ccvd("generate", "a dog", "--base", tiny, *FEW)
    seed = json.loads(next(cwd.glob("*.json")).read_text())["seed"]
    assert f"with seed {seed}." in run.err
    assert run.out == f"ccvd-a-dog-{seed}.mp4\n"


def test_a_concept_learned_anew_is_not_the_sidecars(
    ccvd: Ccvd, taught: Path, photos: Path, cwd: Path
) -> None:
    assert ccvd("generate", "a <V1> dog", "--out", "a.gif", "--seed", 1, *FEW).code == 0
    assert ccvd("remove", "V1", "--yes").code == 0
    gone = ccvd("generate", "--from", "a.gif.json")
    assert gone.code == 2 and "'V1' of this sidecar is not in the registry" in gone.err
    shared = ("--base", taught, *QUICK, "--no-preview", "--seed", 9)
    assert ccvd("learn-subject", "--images", photos, "--name", "V1", *shared).code == 0
    changed = ccvd("generate", "--from", "a.gif.json")
    assert changed.code == 2 and "it has changed" in changed.err


def test_another_base_is_refused(ccvd: Ccvd, taught: Path, tmp_path: Path, cwd: Path) -> None:
    from tiny_models import build_mini

    other = build_mini(tmp_path / "other", seed=1)
    run = ccvd("generate", "a <V1> dog", "--base", other, *FEW)
    assert run.code == 2 and "not the one of V1" in run.err and "Loading" not in run.err
    assert list(cwd.iterdir()) == []


def test_a_tampered_tensor_file_is_noticed(ccvd: Ccvd, taught: Path, cwd: Path, ccvd_home: Path) -> None:
    for blob in ccvd_home.rglob("*.safetensors"):
        blob.chmod(0o600)
        blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    run = ccvd("generate", "a <V1> dog", *FEW)
    assert run.code == 1 and "is not what was stored" in run.err
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no prompt"),
        (("",), "The prompt is empty"),
        (("a <V8> dog",), "no concept 'V8'"),
        (("a <V8> dog",), "V1"),  # the nearest
        (("a <V1 dog",), "single '<'"),
        (("a <> dog",), "'<>'"),
        (("a <V1> and a <V3>",), "V3 on big"),
        (("a dog performing <S7>",), "'performing <S7>' in the prompt: S7 is a style, not a motion"),
        (("a dog performing <S7>",), "Say 'in <S7> style'"),
        (("a <V1> dog in <M2> style",), "'in <M2> style' in the prompt: M2 is a motion, not a style"),
        (("a <V1> dog in <M2> style",), "Say 'performing <M2>'"),
        (("a dog", "--steps", 0), "--steps 0"),
        (("a dog", "--frames", 0), "--frames 0"),
        (("a dog", "--guidance-scale", "inf"), "--guidance-scale inf"),
        (("a dog", "--count", 0), "'--count'"),
        (("a dog", "--scheduler", "euler"), "'euler'"),
        (("a dog", "--subject-schedule", "0.4,1"), "--subject-schedule 0.4,1: '0.4' says not until when"),
        (("a dog", "--out", "clip"), "No suffix"),
        (("a dog", "--out", "clip.mov"), "'.mov'"),
        (("a dog", "--base", "nobase"), "nobase"),
        (("a dog", "--from", "x.json"), "Both"),
        (("--from", "x.json"), "Cannot read 'x.json'"),
        (("--from", "broken.json"), "not a clip's sidecar"),
        (("--from", "other.json"), "not a clip's sidecar"),
        (("--from", "tiny.json"), "scale: Input should be greater than or equal to 1"),
        (("--from", "seed.json"), "seed: Input should be less than"),
        (("--from", "guided.json"), "guidance_scale: Input should be a finite number"),
        (("--from", "nobody.json"), "its prompt names V1, and its concepts do not"),
        (("a dog", "--count", 0), "not '0'"),
        (("a dog", "--out", "taken.mp4"), "'taken.mp4.json' is a folder"),
        (("a dog", "--out", f"{'n' * 254}.mp4"), "File name too long"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    ccvd: Ccvd,
    teach: Callable[..., None],
    tiny: Path,
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    said: str,
) -> None:
    teach("V1")
    teach("V3", base="big")
    teach("M2", "motion")
    teach("S7", "style")
    (cwd / "broken.json").write_text("{")
    (cwd / "other.json").write_text('{"prompt": "a dog"}')
    (cwd / "taken.mp4.json").mkdir()
    for name, change in BROKEN.items():
        (cwd / f"{name}.json").write_text(json.dumps(SIDECAR | change))
    before = sorted(cwd.iterdir())
    monkeypatch.setattr(bases, "open_base", None)  # must not be reached
    base = () if "--base" in arguments else ("--base", tiny)
    run = ccvd("generate", *arguments, *base)
    assert run.code == 2 and run.out == ""
    lines = run.err.splitlines()
    assert [line.split(":")[0] for line in lines] in (["error", "hint"], ["error"])
    assert said in run.err
    assert sorted(cwd.iterdir()) == before


def test_fewer_frames_leave_none_of_an_earlier_clip(ccvd: Ccvd, tiny: Path, cwd: Path) -> None:
    shared = ("generate", "a dog", "--base", tiny, *FEW, "--out", "s.png")
    assert ccvd(*shared).code == 0 and len(list(cwd.glob("s_*.png"))) == 3
    (cwd / "s_007.png").write_text("mine")
    assert ccvd(*shared, "--frames", 2).code == 0
    assert sorted(p.name for p in cwd.glob("s_*.png")) == ["s_000.png", "s_001.png", "s_007.png"]


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "No space left on device"), 1), (KeyboardInterrupt(), 130)]
)
def test_a_clip_that_is_not_written_leaves_the_one_before_with_its_sidecar(
    ccvd: Ccvd, tiny: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    line = ("generate", "a dog", "--base", tiny, "--steps", 1, "--out", "c.png")
    assert ccvd(*line, "--seed", 1, "--frames", 3).code == 0
    before = {path.name: path.read_bytes() for path in cwd.iterdir()}
    assert len(before) == 4

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(media_out, "_save_frames", fails)
    assert ccvd(*line, "--seed", 2, "--frames", 2).code == code
    assert {path.name: path.read_bytes() for path in cwd.iterdir()} == before


def test_a_name_in_another_encoding_is_written_and_told(ccvd: Ccvd, tiny: Path, cwd: Path) -> None:
    name = os.fsdecode(b"caf\xe9.gif")
    run = ccvd("generate", "a dog", "--base", tiny, *FEW, "--out", name)
    assert run.code == 0, run.err
    assert (cwd / name).is_file() and json.loads((cwd / f"{name}.json").read_text())["files"]
    (listed,) = json.loads(ccvd("list", "generations", "--json").out)
    assert listed["output"].endswith("caf\\udce9.gif")
    assert ccvd("generate", "--from", name, "--out", "again.gif").code == 0
