"""Listing, showing and removing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from cli_material import Ccvd

from ccvd_registry.errors import RegistryBusy
from ccvd_registry.writing import Writer


def test_an_empty_registry_lists_nothing_and_is_not_created(ccvd: Ccvd, ccvd_home: Path) -> None:
    plain = ccvd("list", "concepts")
    assert (plain.code, plain.out) == (0, "") and "learn-subject" in plain.err
    assert ccvd("list", "concepts", "--json").out == "[]\n"
    assert ccvd("list", "generations", "--json").out == "[]\n"
    for limit in ("0", str(2**63)):  # more than SQLite counts
        refused = ccvd("list", "generations", "--limit", limit)
        assert refused.code == 2 and "--limit" in refused.err
    for missing in (ccvd("show", "V1"), plain):
        assert str(ccvd_home) in missing.err.replace("\n", "")
    assert not ccvd_home.exists()
    ccvd_home.write_text("a file")
    refused = ccvd("list", "concepts")
    assert refused.code == 2 and "not a folder" in refused.err


def test_concepts_are_listed_in_the_order_of_learning(ccvd: Ccvd, teach: Callable[..., None]) -> None:
    teach("V2", kind="motion", noun="playing guitar")
    teach("V1")
    teach("V3", base="big")
    table = ccvd("list", "concepts").out.splitlines()
    assert table[0].split() == ["NAME", "KIND", "CLASS", "NOUN", "BASE", "TASK", "SIZE", "CREATED"]
    assert [line.split()[0] for line in table[1:]] == ["V2", "V1", "V3"]
    listed = json.loads(ccvd("list", "concepts", "--json").out)
    assert [set(concept) for concept in listed] == [
        {"name", "kind", "class_noun", "base", "task", "bytes", "created"}
    ] * 3
    assert [concept["task"] for concept in listed] == [1, 2, 3]
    assert datetime.fromisoformat(listed[0]["created"]).tzinfo is not None
    assert [c["name"] for c in json.loads(ccvd("list", "concepts", "--json", "--kind", "motion").out)] == [
        "V2"
    ]
    for base in ("big", "big".ljust(64, "0"), "/nowhere/small/../big"):  # its name, fingerprint or folder
        named = json.loads(ccvd("list", "concepts", "--json", "--base", base).out)
        assert [c["name"] for c in named] == ["V3"]
    assert json.loads(ccvd("list", "concepts", "--json", "--base", "/nowhere").out) == []
    assert "No concept on /nowhere in" in ccvd("list", "concepts", "--base", "/nowhere").err


def test_show_tells_what_a_concept_was_learned_from(ccvd: Ccvd, teach: Callable[..., None]) -> None:
    teach("V1")
    run = ccvd("show", "V1")
    assert run.code == 0
    assert "learned from  0.jpg" in run.out and "1.0000 at first, 0.5000 at last" in run.out
    assert set(json.loads(ccvd("show", "V1", "--json").out)) >= {"digests", "recipe", "data", "loss_curve"}
    missing = ccvd("show", "v1")
    assert missing.code == 2 and "Did you mean V1?" in missing.err


def test_remove_needs_consent_and_takes_all_or_none(
    ccvd: Ccvd, teach: Callable[..., None], ccvd_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach("V1")
    teach("V2")
    unsure = ccvd("remove", "V1")
    assert unsure.code == 2 and "--yes" in unsure.err
    assert ccvd("remove", "V1", "V9", "--yes").code == 2
    assert len(json.loads(ccvd("list", "concepts", "--json").out)) == 2
    real = Writer.delete_concept
    with monkeypatch.context() as patched:

        def busy(self: Writer, name: str) -> None:
            if name == "V2":
                raise RegistryBusy(ccvd_home)
            real(self, name)

        patched.setattr(Writer, "delete_concept", busy)
        assert ccvd("remove", "V1", "V2", "--yes").code == 1
    assert len(json.loads(ccvd("list", "concepts", "--json").out)) == 2
    run = ccvd("remove", "V1", "V2", "V1", "--yes")
    assert (run.code, run.out) == (0, "V1\nV2\n")
    assert not list(ccvd_home.rglob("*.safetensors"))


def test_home_may_stand_before_or_after_the_command(
    ccvd: Ccvd, teach: Callable[..., None], cwd: Path
) -> None:
    teach("V1")
    assert "V1" in ccvd("list", "concepts").out
    assert ccvd("--home", cwd, "list", "concepts").out == ""
    assert ccvd("list", "concepts", "--home", cwd).out == ""
