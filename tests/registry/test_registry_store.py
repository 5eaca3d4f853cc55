from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from registry_material import MINI, concept
from safetensors.numpy import load_file

from ccvd_registry import (
    BaseFacts,
    BlobCorrupt,
    BlobMissing,
    ConceptNotFound,
    ConceptReplaced,
    HomeNotWritable,
    IllegalName,
    NameTaken,
    Registry,
    RegistryCorrupt,
    RequestError,
)
from ccvd_registry.errors import explain

OTHER = BaseFacts(name="zeroscope", family="unet3d", fingerprint="e" * 64, location="/models/zeroscope")


def test_a_concept_comes_back_as_it_went_in(registry: Registry) -> None:
    new = concept("V1", class_noun="dog")
    before = datetime.now(timezone.utc)
    stored = registry.add(new)

    assert registry.get("V1") == stored == registry.list()[0]
    assert (stored.name, stored.kind, stored.class_noun, stored.task) == ("V1", "subject", "dog", 1)
    assert (stored.base, stored.base_family) == ("mini", "mini")
    assert (stored.base_fingerprint, stored.base_location) == (MINI.fingerprint, MINI.location)
    assert stored.bytes == len(new.adapter) + len(new.embedding) + len(new.prototype)
    assert (stored.recipe, stored.seed, stored.data) == (new.recipe, new.seed, new.data)
    assert stored.how == new.how == {"height": 64, "width": 64}
    assert (stored.loss_curve, stored.sites, stored.parameters) == (new.loss_curve, 16, 1234)
    assert stored.started == new.started
    assert before <= stored.created <= datetime.now(timezone.utc)
    assert stored.created.utcoffset() == timedelta(0)
    assert stored.adapter_path.read_bytes() == new.adapter
    assert stored.embedding_path.read_bytes() == new.embedding
    assert list(load_file(stored.prototype_path)) == ["prototype.weight"]
    stored.verify()


def test_dates_keep_their_moment_whatever_the_time_zone(registry: Registry) -> None:
    noon_in_tokyo = datetime(2025, 6, 1, 12, tzinfo=timezone(timedelta(hours=9)))
    assert registry.add(concept("V1", started=noon_in_tokyo)).started == noon_in_tokyo


def test_a_new_concept_is_checked_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="'sound'"):
        concept("V1", kind="sound")
    with pytest.raises(ValueError, match="time zone"):
        concept("V1", started=datetime(2025, 1, 1))


def test_concepts_are_listed_in_the_order_of_learning_and_by_kind_and_base(registry: Registry) -> None:
    registry.add(concept("zoe"))
    registry.add(concept("V3", kind="motion", class_noun="surfing"))
    registry.add(concept("abe", base=OTHER))

    assert [(view.name, view.task) for view in registry.list()] == [("zoe", 1), ("V3", 2), ("abe", 3)]
    assert [view.name for view in registry.list(kind="subject")] == ["zoe", "abe"]
    assert [view.name for view in registry.list(base="zeroscope")] == ["abe"]
    assert [view.name for view in registry.list(base=MINI.fingerprint)] == ["zoe", "V3"]
    assert [view.name for view in registry.list(kind="motion", base="zeroscope")] == []


def test_a_prompt_finds_its_concepts_in_its_own_order(registry: Registry) -> None:
    for name in ("V1", "V2", "V3"):
        registry.add(concept(name))
    assert [view.name for view in registry.find(["V3", "V1"])] == ["V3", "V1"]
    assert registry.find([]) == []


def test_an_unknown_concept_is_an_error_with_the_nearest_names(registry: Registry) -> None:
    for name in ("tai-chi", "rex", "V1"):
        registry.add(concept(name))
    with pytest.raises(ConceptNotFound, match="'taichi'") as caught:
        registry.find(["V1", "taichi"])
    assert caught.value.nearest == ["tai-chi"]
    assert "tai-chi" in caught.value.hint
    with pytest.raises(ConceptNotFound) as caught:
        registry.get("v1")  # another spelling is not the concept, but it is the best guess
    assert caught.value.nearest == ["V1"]


@pytest.mark.parametrize("name", ["", "1st", "a b", "V1\n", "../V1", "x" * 33])
def test_an_illegal_name_is_refused_before_anything_is_made(registry: Registry, name: str) -> None:
    with pytest.raises(IllegalName):
        registry.check_name(name)
    with pytest.raises(IllegalName):
        registry.add(concept(name))
    assert not registry.home.exists()


@pytest.mark.parametrize("name", ["V1", "v1"])
def test_a_taken_name_is_refused_whatever_its_case(registry: Registry, name: str) -> None:
    registry.add(concept("V1"))
    with pytest.raises(NameTaken, match="taken") as caught:
        registry.check_name(name)
    assert "V2" in caught.value.hint
    with pytest.raises(NameTaken):
        registry.add(concept(name))
    assert [view.name for view in registry.list()] == ["V1"]
    assert RequestError.exit_code == caught.value.exit_code == 2


def test_a_removed_concepts_number_and_order_are_not_given_again(registry: Registry) -> None:
    assert registry.next_name() == "V1"
    registry.add(concept("V1"))
    registry.add(concept("V2"))
    registry.remove("V2")
    assert registry.next_name() == "V3"
    assert registry.next_name(besides=["V3", "rex"]) == "V4"
    registry.check_name("V2")  # but whoever asks for it by name may have it
    assert registry.add(concept("V2")).task == 3


def test_removing_frees_only_what_nobody_else_refers_to(registry: Registry) -> None:
    first = registry.add(concept("V1", tensor_seed=1))
    second = registry.add(concept("V2", tensor_seed=2, embedding=first.embedding_path.read_bytes()))

    assert registry.remove("V1") == first.bytes - first.embedding_path.stat().st_size
    assert [view.name for view in registry.list()] == ["V2"]
    second.verify()
    with pytest.raises(BlobMissing):
        _ = first.adapter_path

    assert registry.remove("V2") == second.bytes
    assert not list(registry.blobs.root.rglob("*.*"))
    with closing(sqlite3.connect(registry.database)) as database:
        for part in ("concept", "adapter", "embedding", "prototype"):
            assert database.execute(f"SELECT count(*) FROM {part}").fetchone() == (0,)


def test_removing_an_unknown_concept_changes_nothing(registry: Registry) -> None:
    registry.add(concept("V1"))
    with pytest.raises(ConceptNotFound):
        registry.remove("V2")
    registry.get("V1").verify()


@pytest.mark.parametrize("part", ["adapter", "embedding", "prototype"])
def test_a_tampered_tensor_file_is_noticed(registry: Registry, part: str) -> None:
    stored = registry.add(concept("V1"))
    stored.verify()
    getattr(stored, f"{part}_path").write_bytes(b"something else")
    with pytest.raises(BlobCorrupt, match=stored.digests[part]):
        stored.verify()


def test_a_base_is_known_by_its_fingerprint(registry: Registry) -> None:
    registry.add(concept("V1"))
    registry.add(concept("V3", base=replace(MINI, location="/elsewhere/mini")))
    assert registry.get("V1").base_location == "/elsewhere/mini"
    registry.add(concept("V2", base=OTHER))
    assert registry.get("V2").base == "zeroscope"


def test_generations_are_remembered_with_the_digests_they_used(registry: Registry) -> None:
    stored, other = registry.add(concept("V1")), registry.add(concept("V2"))
    for seed in range(3):
        registry.record_generation(
            prompt="a <V1> dog",
            seed=seed,
            settings={"steps": 25},
            concepts=[stored, other],
            base=MINI,
            output=Path("dog.mp4"),
        )
    registry.remove("V1")

    latest, earlier = registry.generations(limit=2)
    assert (latest.seed, earlier.seed) == (2, 1)
    assert (latest.prompt, latest.settings, latest.base) == ("a <V1> dog", {"steps": 25}, "mini")
    assert latest.output == "dog.mp4"
    assert latest.concepts == [{"name": "V1", **stored.digests}, {"name": "V2", **other.digests}]
    assert latest.created.utcoffset() == timedelta(0)


def test_reading_a_missing_home_creates_nothing(registry: Registry, tmp_path: Path) -> None:
    assert registry.list() == []
    assert registry.generations() == []
    assert registry.next_name() == "V1"
    assert registry.collect() == 0
    registry.check_name("V1")
    registry.check_writable()
    for ask in (registry.get, registry.remove):
        with pytest.raises(ConceptNotFound):
            ask("V1")
    assert not list(tmp_path.iterdir())


def test_a_home_may_have_any_name(tmp_path: Path) -> None:
    with Registry(tmp_path / "my #1 home? 100%") as registry:
        registry.add(concept("V1"))
        registry.get("V1").verify()


def test_a_registry_can_be_used_after_it_was_closed(registry: Registry) -> None:
    registry.add(concept("V1"))
    registry.close()
    registry.add(concept("V2"))
    assert len(registry.list()) == 2


def test_a_file_in_the_place_of_the_home_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    registry = Registry(tmp_path / "file" / "home")
    with pytest.raises(HomeNotWritable, match="not a folder"):
        registry.check_writable()
    with pytest.raises(HomeNotWritable):
        registry.add(concept("V1"))


def test_a_folder_without_write_permission_is_an_error(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "access", lambda *question: False)
    with pytest.raises(HomeNotWritable, match="no permission") as caught:
        registry.check_writable()
    assert "--home" in caught.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["registry.db", "blobs"])
def test_a_part_of_a_home_without_write_permission_is_an_error(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    registry.add(concept("V1"))
    registry.check_writable()
    monkeypatch.setattr(os, "access", lambda path, how: Path(path).name != part)
    with pytest.raises(HomeNotWritable, match=part):
        registry.check_writable()


def test_a_folder_that_cannot_even_be_looked_into_is_an_error(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", closed)
    for ask in (registry.list, registry.check_writable):
        with pytest.raises(HomeNotWritable, match="Permission denied"):
            ask()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_home_can_be_read_and_not_written(registry: Registry) -> None:
    registry.add(concept("V1"))
    registry.close()
    registry.home.chmod(0o555)
    try:
        assert [view.name for view in registry.list()] == ["V1"]
        with pytest.raises(HomeNotWritable):
            registry.check_writable()
        with pytest.raises(HomeNotWritable):
            registry.add(concept("V2"))
    finally:
        registry.home.chmod(0o755)


@pytest.mark.parametrize(
    ("column", "value"),
    [("name", "../../x"), ("kind", "weird"), ("created", "yesterday")],
)
def test_what_somebody_else_wrote_into_the_database_is_checked(
    registry: Registry, column: str, value: str
) -> None:
    """Names become folders, and words of a prompt."""
    registry.add(concept("V1"))
    with closing(sqlite3.connect(registry.database)) as connection, connection:
        connection.execute(f"UPDATE concept SET {column} = ?", (value,))
    with pytest.raises(RegistryCorrupt, match=value):
        registry.list()


def test_evaluations_say_after_how_many_tasks(registry: Registry) -> None:
    registry.add(concept("V1"))
    first, later = {"mean": 0.8, "count": 4}, {"mean": 0.7, "count": 4}
    before = datetime.now(timezone.utc)
    registry.record_evaluation("V1", how={"clip": "ViT-B/32"}, scores={"clip_i": first})
    registry.add_all([concept("V2"), concept("V3")])
    registry.record_evaluation("V1", how={"clip": "ViT-B/32"}, scores={"clip_i": later})
    registry.record_evaluation("V3", how={}, scores={})
    found = registry.evaluations("V1")
    assert [(e.concept, e.after) for e in found] == [("V1", 1), ("V1", 3)]
    assert [e.scores["clip_i"]["mean"] for e in found] == [0.8, 0.7]
    assert found[0].how == {"clip": "ViT-B/32"} and before <= found[0].created <= found[1].created
    assert [e.concept for e in registry.evaluations()] == ["V1", "V1", "V3"]
    with pytest.raises(ConceptNotFound, match="V9"):
        registry.record_evaluation("V9", how={}, scores={})
    measured = registry.get("V3")
    registry.remove("V3")
    registry.add(concept("V3", tensor_seed=1))
    with pytest.raises(ConceptReplaced, match="V3"):
        registry.record_evaluation("V3", how={}, scores={}, adapter=measured.adapter_digest)
    registry.record_evaluation("V3", how={}, scores={}, adapter=registry.get("V3").adapter_digest)
    registry.remove("V1")
    assert [e.concept for e in registry.evaluations()] == ["V3"]


def test_an_empty_registry_has_no_evaluations(registry: Registry) -> None:
    assert registry.evaluations() == [] and not registry.home.exists()


@pytest.mark.parametrize("said", ["database or disk is full", "disk I/O error"])
def test_what_sqlite_says_of_a_disk_is_of_the_home(registry: Registry, said: str) -> None:
    """So a learner waits for it, as for any other home that cannot be written to."""
    found = explain(sqlite3.OperationalError(said), registry.database)
    assert isinstance(found, HomeNotWritable) and "free space" in found.hint
