"""Concepts in files of their own: out of one registry and into another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_material import QUICK, Ccvd
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save, save_file

from ccvd_cli.errors import UsageError
from ccvd_cli.exchange import read
from ccvd_registry import Registry

Told = dict[str, Any]


@pytest.fixture
def exported(ccvd: Ccvd, learned: Callable[..., None], photos: Path, clips: Path, tiny: Path) -> list[Path]:
    """A subject and a motion that leads, each in a file."""
    learned(
        ("learn-subject", "--images", photos, "--class-noun", "dog", "--base", tiny, *QUICK),
        ("learn-motion", "--videos", clips, "--class-noun", "waving", "--base", tiny, *QUICK),
    )
    run = ccvd("export", "V1", "V2", "--out", "shared")
    assert run.code == 0 and "ccvd import V1.safetensors V2.safetensors" in run.err
    return [Path(line) for line in run.out.split()]


def everything(home: Path) -> list[Told]:
    with Registry(home) as registry:
        return [
            {
                key: getattr(concept, key)
                for key in concept.__dataclass_fields__
                if key not in ("blobs", "created")
            }
            for concept in registry.list()
        ]


def changed(path: Path, out: Path, tensors: Told | None = None, **card: Any) -> Path:
    """The same file with some of its tensors or of its card changed; None takes one out."""
    held, told = load_file(path) | (tensors or {}), card_in(path) | card
    kept = {name: tensor for name, tensor in held.items() if tensor is not None}
    save_file(kept, out, {"ccvd": json.dumps({k: v for k, v in told.items() if v is not None})})
    return out


def card_in(path: Path) -> Told:
    head = path.read_bytes()
    header = json.loads(head[8 : 8 + int.from_bytes(head[:8], "little")])
    return dict(json.loads(header["__metadata__"]["ccvd"]))


def test_what_comes_in_is_what_went_out_bit_for_bit(
    ccvd: Ccvd, exported: list[Path], ccvd_home: Path, tiny: Path, tmp_path: Path
) -> None:
    other = tmp_path / "elsewhere"
    run = ccvd("import", *exported, "--base", tiny, "--home", other)
    assert (run.code, run.out) == (0, "V1\nV2\n") and "ccvd generate" in run.err
    assert everything(other) == everything(ccvd_home)
    # Now the base is known, and files need say no more than their names.
    again = ccvd("import", exported[0], "--name", "rex", "--home", other, "--json")
    assert [told["name"] for told in json.loads(again.out)] == ["rex"]
    names = [concept["name"] for concept in everything(other)]
    digests = [concept["adapter_digest"] for concept in everything(other)]
    assert names == ["V1", "V2", "rex"] and digests[0] == digests[2]
    assert ccvd("generate", "a <rex> dog", "--steps", "1", "--frames", "2", "--home", other).code == 0


def test_files_hold_nothing_of_the_machine(exported: list[Path], tiny: Path, photos: Path) -> None:
    for file in exported:
        assert str(tiny.parent).encode() not in file.read_bytes()
        assert str(photos.parent).encode() not in file.read_bytes()
    assert set(card_in(exported[0])["base"]) == {"name", "family", "fingerprint"}


def test_files_that_are_there_stay(ccvd: Ccvd, exported: list[Path]) -> None:
    exported[0].write_text("mine")
    refused = ccvd("export", "V2", "V1", "--out", "shared")
    assert refused.code == 2 and "V1.safetensors" in refused.err and exported[0].read_text() == "mine"
    over = ccvd("export", "V1", "--out", "shared", "--yes", "--json")
    (told,) = json.loads(over.out)
    assert Path(told["file"]) == exported[0] and told["bytes"] == exported[0].stat().st_size > 1000
    assert ccvd("export", "V9").code == 2


def test_what_was_tampered_with_does_not_go_out(ccvd: Ccvd, exported: list[Path], ccvd_home: Path) -> None:
    with Registry(ccvd_home) as registry:
        blob = registry.get("V1").adapter_path
    blob.write_bytes(blob.read_bytes()[:-2] + b"\1\1")
    exported[0].unlink()
    refused = ccvd("export", "V1", "--out", "shared")
    assert refused.code == 1 and "not what was stored" in refused.err and not exported[0].exists()


def test_names_that_are_taken_are_not_given_twice(ccvd: Ccvd, exported: list[Path], ccvd_home: Path) -> None:
    before = everything(ccvd_home)
    taken = ccvd("import", exported[1])
    assert taken.code == 2 and "--name V3" in taken.err
    for arguments in (
        [*exported, "--name", "both"],
        [exported[0], "--name", "v2"],
        [exported[0], "--name", "a b"],
    ):
        assert ccvd("import", *arguments).code == 2
    twice = changed(exported[1], Path("twice.safetensors"), name="v7")
    once = changed(exported[0], Path("once.safetensors"), name="V7")
    refused = ccvd("import", once, twice)
    assert refused.code == 2 and "--name" in refused.err and everything(ccvd_home) == before


def test_a_file_does_not_say_what_is_to_be_fetched(ccvd: Ccvd, exported: list[Path], tmp_path: Path) -> None:
    base = card_in(exported[0])["base"] | {"name": "somebody/model"}
    far = changed(exported[0], Path("far.safetensors"), base=base)
    refused = ccvd("import", far, "--home", tmp_path / "other")
    assert refused.code == 2 and "--base" in refused.err and "Loading" not in refused.err
    wrong = ccvd("import", far, "--base", "mini", "--home", tmp_path / "other")
    assert wrong.code == 2 and "other weights" in wrong.err and not (tmp_path / "other").exists()


def half(*shape: int, value: float = 0.5) -> Any:
    return np.full(shape, value, np.float16)


@pytest.mark.parametrize(
    ("tensors", "card", "said"),
    [
        ({"embedding/tokens": None}, {}, "embedding/tokens' is missing"),
        ({"prototype/more": half(2)}, {}, "prototype/more"),
        ({"loose": half(2)}, {}, "loose"),
        ({"embedding/tokens": half(3, 3)}, {}, "tokens (3, 3)"),
        ({"embedding/tokens": np.zeros((2, 2), np.float32)}, {}, "half precision"),
        ({"prototype/text": half(2, 2, value=float("nan"))}, {}, "not a number"),
        ({"adapter/nowhere/down.bias": half(4)}, {}, "nowhere"),
        ({"embedding/path": half(16, 4, value=2)}, {}, "path (16, 4)"),
        ({}, {"kind": "dance"}, "kind"),
        ({}, {"name": "../V1"}, "../V1"),
        ({}, {"class_noun": "dog\x1b[2J"}, "plain text"),
        ({}, {"class_noun": "<V2>"}, "plain text"),
        ({}, {"format": 2}, "format"),
        ({}, {"recipe": {"adapter_steps": 1, "unheard_of": 1}}, "recipe"),
        ({}, {"started": "2025-01-02T03:04:05"}, "started"),
        ({}, {"loss_curve": [1e999]}, "loss_curve"),
        ({}, {"data": [{"file": "0.jpg", "sha256": "short"}]}, "sha256"),
        ({}, {"how": {"beside": ["V\n2"]}}, "how"),
        ({}, {"how": {"beside": ["x" * 250] * 5000}}, "characters"),
        ({}, {"seed": None}, "seed"),
    ],
)
def test_what_is_no_concept_is_refused_and_nothing_is_stored(
    ccvd: Ccvd, exported: list[Path], tiny: Path, tmp_path: Path, tensors: Told, card: Told, said: str
) -> None:
    bad = changed(exported[1], Path("bad.safetensors"), tensors, **card)
    refused = ccvd("import", exported[0], bad, "--base", tiny, "--home", tmp_path / "other")
    assert refused.code == 2 and said in " ".join(refused.err.split()) and "Traceback" not in refused.err
    assert "\x1b[2J" not in refused.err and everything(tmp_path / "other") == []


def test_other_files_are_refused(ccvd: Ccvd, cwd: Path) -> None:
    (cwd / "text.safetensors").write_text("a text")
    save_file({"a": half(2)}, cwd / "other.safetensors")
    for name, said in (
        ("text.safetensors", "is no concept"),
        ("other.safetensors", "no card"),
        (".", "no file"),
    ):
        refused = ccvd("import", name)
        assert refused.code == 2 and said in refused.err


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_file_does_more_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    card = {"format": 1, "name": "V1", "kind": "subject", "class_noun": "dog"}
    sound = save({"embedding/tokens": half(2, 2), "adapter/a": half(2)}, {"ccvd": json.dumps(card)})
    cut = data.draw(st.integers(0, len(sound)))
    bad = bytearray(sound[:cut] if data.draw(st.booleans()) else sound)
    for _ in range(data.draw(st.integers(0, 4)) if bad else 0):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "some.safetensors"
    path.write_bytes(bytes(bad))
    with pytest.raises(UsageError):
        read(path)
