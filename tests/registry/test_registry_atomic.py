"""A concept appears whole or not at all, whatever happens in between and whoever else is writing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from registry_material import concept

from ccvd_registry import BlobStore, IllegalName, NameTaken, Registry, RegistryBusy
from ccvd_registry.writing import Writer

_PROCESSES = multiprocessing.get_context("spawn")


class Injected(Exception):
    pass


def _files(registry: Registry) -> list[Path]:
    return list(registry.blobs.root.rglob("*.*"))


@pytest.mark.parametrize("puts", [0, 1, 2])
def test_a_failure_between_two_blobs_leaves_no_row(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, puts: int
) -> None:
    _fail_in_put(monkeypatch, after=puts)
    with pytest.raises(Injected):
        registry.add(concept("V1"))
    assert registry.list() == []
    assert len(_files(registry)) == puts

    monkeypatch.undo()
    assert registry.add(concept("V1")).task == 1
    registry.get("V1").verify()


@pytest.mark.parametrize("error", [Injected, KeyboardInterrupt])
def test_a_failure_between_blobs_and_commit_leaves_no_row(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    save = Writer.save_concept

    def save_then_fail(self: Writer, *args: Any) -> None:
        save(self, *args)
        raise error

    monkeypatch.setattr(Writer, "save_concept", save_then_fail)
    with pytest.raises(error):
        registry.add(concept("V1"))
    assert registry.list() == []
    assert registry.next_name() == "V1"

    monkeypatch.undo()
    assert registry.collect() > 0
    assert _files(registry) == []
    assert registry.add(concept("V1")).task == 1


def test_several_concepts_are_added_in_order_and_at_once(registry: Registry) -> None:
    registry.add(concept("V1"))
    registry.add_all([concept("rex"), concept("Ann")])
    views = registry.find(["rex", "Ann"])
    assert [(view.name, view.task) for view in views] == [("rex", 2), ("Ann", 3)]
    assert registry.list() == [registry.get("V1"), *views]
    for view in views:
        view.verify()


@pytest.mark.parametrize("puts", [2, 4])
def test_a_failure_in_one_of_several_concepts_leaves_none(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, puts: int
) -> None:
    registry.add(concept("V1"))
    _fail_in_put(monkeypatch, after=puts)
    with pytest.raises(Injected):
        registry.add_all([concept("V2"), concept("V3")])
    monkeypatch.undo()
    assert [view.name for view in registry.list()] == ["V1"]
    assert registry.next_name() == "V2"
    assert registry.collect() > 0


@pytest.mark.parametrize(
    ("names", "error"),
    [(("V2", "v1"), NameTaken), (("V2", "v2"), NameTaken), (("V2", "2V"), IllegalName)],
)
def test_a_bad_name_among_several_leaves_none(
    registry: Registry, names: tuple[str, ...], error: type[Exception]
) -> None:
    registry.add(concept("V1"))
    with pytest.raises(error):
        registry.add_all([concept(name) for name in names])
    assert [view.name for view in registry.list()] == ["V1"]


def test_a_failed_removal_keeps_the_concept(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.add(concept("V1"))

    def fail(self: Writer, name: str) -> None:
        raise Injected

    monkeypatch.setattr(Writer, "delete_concept", fail)
    with pytest.raises(Injected):
        registry.remove("V1")
    registry.get("V1").verify()


def test_blobs_left_by_an_interrupted_removal_are_collected_by_the_next(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(concept("V1"))
    registry.add(concept("V2"))

    def fail(self: BlobStore, referenced: set[str]) -> int:
        raise Injected

    monkeypatch.setattr(BlobStore, "collect", fail)
    with pytest.raises(Injected):
        registry.remove("V1")
    monkeypatch.undo()
    assert [view.name for view in registry.list()] == ["V2"]
    assert len(_files(registry)) == 6
    registry.remove("V2")
    assert _files(registry) == []


@pytest.mark.parametrize("moment", ["in a blob", "before commit"])
@pytest.mark.parametrize("first", [True, False], ids=["new home", "old home"])
def test_a_killed_process_leaves_a_usable_registry(registry: Registry, moment: str, first: bool) -> None:
    if not first:
        registry.add(concept("V1"))
        registry.close()
    process = _PROCESSES.Process(target=_add_and_die, args=(registry.home, moment))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL

    assert [view.name for view in registry.list()] == ([] if first else ["V1"])
    assert registry.add(concept("V2")).task == (1 if first else 2)
    assert registry.collect() > 0
    assert len(_files(registry)) == (3 if first else 6)
    for view in registry.list():
        view.verify()


def test_processes_that_create_and_add_at_once_all_succeed(registry: Registry) -> None:
    names = [["a1", "a2", "a3", "a4"], ["b1", "b2", "b3", "b4"], ["c1", "c2", "c3", "c4"]]
    start = _PROCESSES.Barrier(len(names))
    processes = [_PROCESSES.Process(target=_add_all, args=(registry.home, some, start)) for some in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * len(names)

    views = registry.list()
    assert [view.task for view in views] == list(range(1, 13))
    assert {view.name for view in views} == {name for some in names for name in some}
    for view in views:
        view.verify()


def test_collecting_waits_for_an_addition_in_progress(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its blobs have no row yet, and look like garbage."""
    registry.add(concept("V1"))
    save = Writer.save_concept
    saved, collecting = threading.Event(), threading.Event()

    def save_slowly(self: Writer, *args: Any) -> None:
        save(self, *args)
        saved.set()
        collecting.wait(10)
        threading.Event().wait(0.1)  # long enough for a collector that does not wait

    monkeypatch.setattr(Writer, "save_concept", save_slowly)
    adding = threading.Thread(target=registry.add, args=[concept("V2")])
    adding.start()
    saved.wait(10)
    collecting.set()
    with Registry(registry.home) as other:
        assert other.collect() == 0
    adding.join()
    registry.get("V2").verify()


def test_a_writer_that_waited_too_long_says_so(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.add(concept("V1"))
    monkeypatch.setattr("ccvd_registry.writing.BUSY_SECONDS", 0.05)
    with registry._transaction(), Registry(registry.home) as other:
        assert len(other.list()) == 1  # readers do not wait
        with pytest.raises(RegistryBusy, match="another process"):
            other.add(concept("V2"))


def _fail_in_put(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    put = BlobStore.put
    done: list[str] = []

    def put_then_fail(self: BlobStore, data: bytes) -> str:
        if len(done) == after:
            raise Injected
        done.append(put(self, data))
        return done[-1]

    monkeypatch.setattr(BlobStore, "put", put_then_fail)


def _add_all(home: Path, names: list[str], start: Any) -> None:
    start.wait(timeout=60)
    with Registry(home) as registry:
        for name in names:
            registry.add(concept(name))


def _add_and_die(home: Path, moment: str) -> None:
    def die(*args: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "in a blob":
        os.fsync = die  # type: ignore[assignment]
    else:
        save = Writer.save_concept
        Writer.save_concept = lambda *args: die(save(*args))  # type: ignore[method-assign]
    Registry(home).add(concept("killed"))


@pytest.mark.parametrize("way", ["collect", "remove"])
def test_nobody_writes_while_blobs_are_collected(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Else a blob that another process has just written for its new concept would be taken for garbage."""
    registry.add(concept("V1"))
    monkeypatch.setattr("ccvd_registry.writing.BUSY_SECONDS", 0.05)
    collect, tried = BlobStore.collect, []

    def meanwhile(self: BlobStore, referenced: set[str]) -> int:
        with Registry(registry.home) as other, pytest.raises(RegistryBusy):
            other.add(concept("V2"))
        tried.append(1)
        return collect(self, referenced)

    monkeypatch.setattr(BlobStore, "collect", meanwhile)
    registry.collect() if way == "collect" else registry.remove("V1")
    assert tried == [1]
