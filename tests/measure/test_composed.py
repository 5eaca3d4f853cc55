"""What a stream's concepts are asked to do together."""

from __future__ import annotations

from collections import Counter

from ccvd_cli.measure.composed import composed
from ccvd_cli.measure.streams import open_stream


def test_a_longer_stream_is_asked_more_and_nobody_twice_in_one_way() -> None:
    ten, whole = (composed(open_stream(name).tasks, "mini") for name in ("toy10", "toy35"))
    assert Counter(c.kind for c in ten) == dict.fromkeys(
        ("two", "three", "subject+motion", "subject+style"), 2
    )
    assert Counter(c.kind for c in whole) == {"two": 7, "three": 6, "subject+motion": 7, "subject+style": 5}
    for kind in {c.kind for c in whole}:
        names = [name for c in whole if c.kind == kind for name in c.names]
        assert len(names) == len(set(names))


def test_every_subject_of_a_group_has_a_box_of_its_own() -> None:
    for c in composed(open_stream("toy35").tasks, "mini", toy=True):
        boxes = dict(c.asked.shown.boxes)
        assert list(boxes) == (list(c.names) if c.kind in ("two", "three") else [])
        assert len(set(boxes.values())) == len(boxes)
        assert all(f"<{name}>" in c.asked.prompt for name in c.names)


def test_what_the_toy_world_knows_is_kept_in_composed_prompts() -> None:
    found = {kind: [] for kind in ("subject+motion", "subject+style")}  # type: dict[str, list[bool]]
    for c in composed(open_stream("toy35").tasks, "mini", toy=True):
        if c.kind in found:
            shown = c.asked.shown.motion if c.kind == "subject+motion" else c.asked.shown.style
            found[c.kind].append(shown == c.names[1])
            assert f"<{c.names[0]}>" not in c.asked.plain
    assert all(map(all, found.values())) and all(found.values())
