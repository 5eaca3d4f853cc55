"""Concepts in files of their own: out of one registry and into another."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
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
from ccvd_cli.prompts import is_noun
from ccvd_cli.settings import RECIPES
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
    assert set(card_in(exported[0])["base"]) == {"name", "fingerprint"}


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
    for file in exported:
        file.unlink()
    refused = ccvd("export", "V2", "V1", "--out", "shared")  # all of them or none
    assert refused.code == 1 and "not what was stored" in refused.err
    assert not any(file.exists() for file in exported)


def test_one_concept_may_have_a_file_of_any_name(ccvd: Ccvd, exported: list[Path], cwd: Path) -> None:
    run = ccvd("export", "V1", "--out", "rex.safetensors")
    assert (
        run.out == "rex.safetensors\n" and (cwd / "rex.safetensors").read_bytes() == exported[0].read_bytes()
    )
    refused = ccvd("export", "V1", "V2", "--out", "both.safetensors")
    assert refused.code == 2 and "Name a folder" in refused.err and not (cwd / "both.safetensors").exists()


def test_honest_concepts_go_out_whatever_their_photos_are_called(
    ccvd: Ccvd, exported: list[Path], ccvd_home: Path, tiny: Path, tmp_path: Path
) -> None:
    """Screenshots of a Mac have a narrow space in their names; and a long lesson has many losses."""
    data = [
        {"file": "Shot 9.41\u202fAM <1>.png", "sha256": "a" * 64, "mask": "m.png", "mask_sha256": "b" * 64}
    ]
    odd = changed(exported[0], Path("odd.safetensors"), name="odd", data=data, loss_curve=[1 / 3] * 100_000)
    assert ccvd("import", odd).code == 0
    again = ccvd("export", "odd", "--out", "again.safetensors")
    assert again.code == 0 and card_in(Path("again.safetensors")) == card_in(odd)
    assert ccvd("import", "again.safetensors", "--base", tiny, "--home", tmp_path / "other").code == 0
    assert "\u202f" not in ccvd("show", "odd").out


def test_what_another_version_learned_is_told(ccvd: Ccvd, teach: Callable[..., None], cwd: Path) -> None:
    teach("V1")  # of whose recipe little is kept
    refused = ccvd("export", "V1")
    assert refused.code == 1 and "cannot be exported" in refused.err and list(cwd.iterdir()) == []


def test_names_that_are_taken_are_not_given_twice(ccvd: Ccvd, exported: list[Path], ccvd_home: Path) -> None:
    before = everything(ccvd_home)
    taken = ccvd("import", exported[1])
    assert taken.code == 2 and "V3" in taken.err and "Loading" not in taken.err
    for arguments in (
        [exported[0], "--name", ""],
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
    base = {"name": "somebody/model", "fingerprint": "0" * 64}
    far = changed(exported[0], Path("far.safetensors"), base=base)
    refused = ccvd("import", far, "--home", tmp_path / "other")
    assert refused.code == 2 and "--base" in refused.err and "Loading" not in refused.err
    wrong = ccvd("import", far, "--base", "mini", "--home", tmp_path / "other")
    assert (
        wrong.code == 2
        and "other weights" in wrong.err
        and "Loading" not in wrong.err
        and not (tmp_path / "other").exists()
    )


FULL = RECIPES["mini"]["motion"].model_dump(mode="json")


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
        ({"embedding/path": half(5000, 4)}, {}, "longer than 1000"),
        ({"embedding/path": half(16, 4)}, {"kind": "subject"}, "of no subject"),
        ({"prototype/image_mean": half(7)}, {}, "(7,)"),
        ({"a\x1b[2J": half(2)}, {}, "\\x1b[2J"),
        ({"a" * 100_000: half(2)}, {}, "aaa ..."),
        ({f"adapter/{k}": half(0) for k in range(10_001)}, {}, "tensors"),
        ({}, {"kind": "dance"}, "kind"),
        ({}, {"name": "../V1"}, "name"),
        ({}, {"class_noun": "dog\x1b[2J"}, "no noun"),
        ({}, {"class_noun": "<V2>"}, "no noun"),
        ({}, {"class_noun": " "}, "no noun"),
        ({}, {"format": 2}, "format"),
        ({}, {"recipe": {"adapter_steps": 1, "unheard_of": 1}}, "recipe"),
        ({}, {"started": "2025-01-02T03:04:05"}, "started"),
        ({}, {"loss_curve": [1e999]}, "loss_curve"),
        ({}, {"data": [{"file": "0.jpg", "sha256": "short"}]}, "sha256"),
        ({}, {"started": "0001-01-01T00:00:00+14:00"}, "started"),
        ({}, {"data": [{"file": "../0.jpg", "sha256": "a" * 64}]}, "no file's name"),
        ({}, {"how": {"beside": ["V\n2"]}}, "how.beside.0"),
        ({}, {"how": {"beside": 5}}, "how.beside"),
        ({}, {"how": {"x" * 100_000: 5}}, "xxx ..."),
        ({}, {"format": None}, "format"),
        ({}, {"recipe": FULL | {"seed": 2**70}}, "seed"),
        ({}, {"recipe": FULL | {"only_sites": "a{99999999999999999999}"}}, "only_sites"),
        ({}, {"recipe": FULL | {"only_sites": "[a-z]" * 200}}, "only_sites"),
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
        (".", "directory"),
    ):
        refused = ccvd("import", name)
        assert refused.code == 2 and said in refused.err


def test_room_is_not_made_for_what_is_only_claimed(
    ccvd: Ccvd, exported: list[Path], tiny: Path, tmp_path: Path
) -> None:
    site = next(name for name in load_file(exported[0]) if name.endswith("/down.bias"))
    bad = changed(
        exported[0], Path("bad.safetensors"), {site: half(40_000_000)}
    )  # times the layer's width, twice
    refused = ccvd("import", bad, "--base", tiny, "--home", tmp_path / "other")
    assert refused.code == 2 and "down.weight" in refused.err
    assert "size mismatch" not in refused.err  # as torch says it, afterwards


def test_a_file_says_nothing_to_the_terminal(ccvd: Ccvd, cwd: Path) -> None:
    card = CARD | {"class_noun": "\x1b[2J"}
    save_file(SOUND | {"\x1b[2J": half(2)}, cwd / "bad\x1b[2J.safetensors", {"ccvd": json.dumps(card)})
    for words in (("import",), ("--debug", "import")):
        refused = ccvd(*words, "bad\x1b[2J.safetensors")
        assert refused.code == 2 and "\x1b[2J" not in refused.err
        assert ("Traceback" in refused.err) == (words[0] == "--debug")


def test_headers_that_no_concept_has_are_not_read(cwd: Path) -> None:
    (cwd / "long.safetensors").write_bytes((10**8).to_bytes(8, "little") + b"{}")
    with pytest.raises(UsageError, match="100,000,000 of a header"):
        read(cwd / "long.safetensors")


CARD = {
    **{
        "format": 1,
        "name": "V1",
        "kind": "motion",
        "class_noun": "dog",
        "recipe": FULL,
        "how": {},
        "data": [],
    },
    **{
        "base": {"name": "mini", "fingerprint": "f" * 64},
        "loss_curve": [1.0],
        "started": "2025-01-02T03:04:05Z",
    },
}
SOUND = {
    **{"adapter/a/down.bias": half(2), "embedding/tokens": half(2, 2), "embedding/path": half(3, 4)},
    **{"prototype/text": half(2, 2), "prototype/image": half(2, 2), "prototype/image_mean": half(2)},
}


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_file_does_more_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "some.safetensors"
    sound = save(SOUND, {"ccvd": json.dumps(CARD)})
    path.write_bytes(sound)
    assert read(path)[0].name == "V1"
    bad = bytearray(sound[: data.draw(st.integers(0, len(sound)))] if data.draw(st.booleans()) else sound)
    for _ in range(data.draw(st.integers(1, 4)) if bad else 0):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(bad))
    try:
        card, parts = read(path)
    except UsageError:
        return
    assert card.kind == "motion" and set(parts) == {"adapter", "embedding", "prototype"}


@settings(max_examples=200, deadline=None)
@given(
    field=st.sampled_from(sorted(CARD)),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(max_size=8), of, max_size=3),
    ),
)
def test_no_card_does_more_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "carded.safetensors"
    save_file(SOUND, path, {"ccvd": json.dumps(CARD | {field: value})})
    with suppress(UsageError):
        card, _ = read(path)
        assert 0 <= card.as_stored()["seed"] < 2**63 and is_noun(card.class_noun)
