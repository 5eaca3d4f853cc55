"""Styles that have no name, and the word that stands for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccvd_cli.world.boxes import told_alone
from ccvd_cli.world.captions import Mix, random_clip
from ccvd_cli.world.manners import IN_STYLE, STYLE, is_heldout_style, manners, numbers, random_manner
from ccvd_cli.world.motions import is_way
from ccvd_cli.world.render import COLOURS, Actor, Clip, render
from ccvd_cli.world.styles import STYLES, drawn, filtered, is_manner, manner

SEEDS = st.integers(0, 2**31 - 1)
RED = Clip((Actor("dog", COLOURS["red"]),), "beach", seed=1)


@given(SEEDS)
def test_whatever_can_be_seen_of_a_manner_is_in_its_numbers(seed: int) -> None:
    plain = render(RED, 1).astype(np.float32) / 255
    mine = drawn(manner(seed))
    assert numbers(mine).shape == (STYLE,) and np.abs(numbers(mine)).max() < 2
    changes = {
        "ink": (0.5, 0.4, 0.3),
        "levels": 3 if mine.levels == 2 else 2,
        "colour": mine.colour + 0.3,
        "lines": 0.9 if mine.lines < 0.6 else 0.2,
        "corners": mine.corners + 0.2,
    }
    for field, value in changes.items():
        other = replace(mine, **{field: value})
        assert not np.allclose(mine(plain), other(plain), atol=0.01)
        assert not np.allclose(numbers(mine), numbers(other), atol=0.01)
    unseen = replace(mine, lines=0.0)
    assert np.array_equal(numbers(unseen), numbers(replace(unseen, line=(0.1, 0.9, 0.1), glow=0.7)))


def test_no_manner_is_a_held_out_style_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    assert not any(is_heldout_style(random_manner(rng)) for _ in range(30))
    nothing = drawn(manner(0))
    plain = replace(nothing, ink=(0, 0, 0), paper=(1, 1, 1), levels=0, colour=1, turned=0, lines=0, corners=0)
    sepia = replace(plain, ink=(0.04,) * 3, paper=(1.12, 0.86, 0.59), colour=0.0)
    negative = replace(plain, ink=(1, 1, 1), paper=(0, 0, 0), colour=-1)
    frames = render(RED, 2).astype(np.float32) / 255
    assert np.allclose(plain(frames), frames, atol=1e-5)
    assert np.allclose(sepia(frames), STYLES["sepia"](frames), atol=1e-5)
    assert np.allclose(negative(frames), STYLES["negative"](frames), atol=1e-5)
    for double in (plain, sepia, negative):
        monkeypatch.setattr("ccvd_cli.world.styles.drawn", lambda _, double=double: double)
        assert is_heldout_style(manner(0))


def test_named_styles_are_as_they_are_and_others_unknown() -> None:
    frames = render(RED, 2).astype(np.float32) / 255
    assert all(np.array_equal(filtered(frames, name), draw(frames)) for name, draw in STYLES.items())
    assert not any(is_manner(name) for name in (*STYLES, "", None))
    with pytest.raises(KeyError, match="cubism"):
        filtered(frames, "cubism")


def test_how_clips_are_drawn_is_told_and_said() -> None:
    rng = np.random.default_rng(1)
    clips = []
    for _ in range(60):
        clip, caption = random_clip(rng, Mix(together=0.5, strangers=0.5, ways=0.4, styled=1))
        assert is_manner(clip.style) and caption.endswith(IN_STYLE) and caption.count(IN_STYLE) == 1
        assert len(clip.actors) == 1 or not is_way(clip.motion)
        clips.append(clip)
    assert {is_way(clip.motion) for clip in clips} == {True, False}
    assert {len(clip.actors) for clip in clips} >= {1, 2}
    told = manners([*clips, RED, replace(RED, style="sepia")])
    assert told.shape == (62, 1, STYLE) and not told[60:].any()
    assert all(
        np.array_equal(row[0], numbers(drawn(clip.style or "")))
        for row, clip in zip(told, clips, strict=False)
    )
    alone = [told_alone(clip, 0, rng).endswith(IN_STYLE) for clip in clips]
    assert 0.3 < np.mean(alone) < 0.7
    assert not any(IN_STYLE in told_alone(RED, 0, rng) for _ in range(20))
