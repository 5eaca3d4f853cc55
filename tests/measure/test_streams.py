"""Streams of tasks: the world's, and those of files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from ccvd_cli.errors import UsageError
from ccvd_cli.measure.streams import material, open_stream, questions
from ccvd_cli.settings import SAMPLING
from ccvd_cli.world import heldout

HEAD = "order,name,kind,class_noun,images,videos\n"


def test_the_worlds_streams_hold_all_kinds_of_the_test_split() -> None:
    whole, ten = open_stream("toy35"), open_stream("toy10")
    assert Counter(t.kind for t in whole.tasks) == {"subject": 20, "motion": 10, "style": 5}
    assert ten.tasks == whole.tasks[:10] and whole.toy
    assert Counter(t.kind for t in ten.tasks) == {"subject": 6, "motion": 2, "style": 2}
    assert len({t.name for t in whole.tasks}) == 35
    for kind, count in (("subject", 5), ("motion", 4), ("style", 5)):
        task = next(t for t in ten.tasks if t.kind == kind)
        assert len(material(task, SAMPLING["mini"])) == count
        (asked, truth) = questions(task, "mini", 1)[0]
        assert truth and f"<{task.name}>" in asked.prompt and "<" not in asked.plain


def test_settings_are_chosen_on_concepts_of_another_split() -> None:
    dev, whole = open_stream("dev"), open_stream("toy35")
    assert Counter(t.kind for t in dev.tasks) == {"subject": 3, "motion": 1, "style": 1} and dev.toy
    assert not {t.name for t in dev.tasks} & {t.name for t in whole.tasks}
    assert not set(dev.subjects) & set(whole.subjects)
    for stream in (dev, whole):  # judges know all who are to be told apart
        asked = {heldout.index_of(t.name) for t in stream.tasks if t.kind == "subject"}
        assert asked <= set(stream.subjects)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("photos", "clips"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"")
    return tmp_path


def test_files_are_read_relative_to_themselves(folder: Path) -> None:
    csv = folder / "tasks.csv"
    csv.write_text(HEAD + "7,V1,subject,dog,photos,\n9,V3,motion,tai chi,photos,clips\n")
    stream = open_stream(str(csv))
    assert [(t.order, t.folder) for t in stream.tasks] == [(1, folder / "photos"), (2, folder / "clips")]
    assert stream.name == "tasks" and not stream.toy
    rows = [{"kind": "subject", "name": "V1", "class_noun": "dog", "folder": "photos"}]
    (folder / "a.json").write_text(json.dumps({"tasks": rows}))
    (folder / "b.yaml").write_text("- {kind: subject, name: V1, class_noun: dog, folder: photos}\n")
    a, b = (open_stream(str(folder / name)).tasks for name in ("a.json", "b.yaml"))
    assert a == b == stream.tasks[:1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no task"),
        ("1,V1,subject,dog,photos,\n2,v1,subject,cat,photos,\n", "V1 and v1 2 times"),
        ("1,V1,person,dog,photos,\n", "unknown kind 'person'"),
        ("1,V1,subject,dog,nowhere,\n2,V2,motion,x,photos,gone\n", "V1 ('.*nowhere'), V2 ('.*gone')"),
        ("1,V1,motion,dog,photos,\n", "V1 has no folder"),
        ("1,1 dog,subject,dog,photos,\n", "'1 dog' is no name"),
        ("1,V1,subject,dog <3,photos,\n", "'dog <3' is no noun"),
        (f"1,V1,subject,dog,{'n' * 300},\n", "nothing to learn V1"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, text: str, says: str) -> None:
    (folder / "tasks.csv").write_text(HEAD + text)
    with pytest.raises(UsageError, match=says.replace("(", r"\(").replace(")", r"\)")):
        open_stream(str(folder / "tasks.csv"))
    with pytest.raises(UsageError, match="no such stream"):
        open_stream("toy11")


def test_missing_tasks_can_be_left_out(folder: Path) -> None:
    (folder / "tasks.csv").write_text(HEAD + "1,V1,subject,dog,nowhere,\n2,V2,subject,cat,photos,\n")
    (task,) = open_stream(str(folder / "tasks.csv"), skip_missing=True).tasks
    assert (task.order, task.name) == (1, "V2")


@pytest.mark.parametrize(
    "text", ["!!timestamp abc", "- !!bool foo", "[" * 5000, "- {kind: [subject], name: V1}"]
)
def test_yaml_of_another_mind_is_told(folder: Path, text: str) -> None:
    (folder / "tasks.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"cannot be understood|kind is no text"):
        open_stream(str(folder / "tasks.yaml"))
