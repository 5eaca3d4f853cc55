"""The world draws what it says, the same every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccvd_cli.world.captions import random_clip
from ccvd_cli.world.motions import HELDOUT_MOTIONS, MOTIONS
from ccvd_cli.world.render import COLOURS, FRAMES, TEXTURES, Actor, Clip, boxes, render
from ccvd_cli.world.scenes import PLACES, SCENES, background
from ccvd_cli.world.shapes import ACCESSORIES, NOUNS
from ccvd_cli.world.styles import STYLES
from ccvd_cli.world.textures import textures

RED, GREEN = COLOURS["red"], COLOURS["green"]
seeds = st.integers(0, 2**31 - 1)


def painted(clip: Clip, frames: int = FRAMES) -> np.ndarray:
    """(frames, H, W): the pixels that show the first actor's own colour."""
    first = clip.actors[0]
    other = replace(clip, actors=(replace(first, colour=GREEN), *clip.actors[1:]))
    return (render(clip, frames) != render(other, frames)).any(-1)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_the_same_seed_draws_the_same(seed: int) -> None:
    one, two = (random_clip(np.random.default_rng(seed)) for _ in range(2))
    assert one == two
    assert np.array_equal(render(one[0], 4), render(two[0], 4))


def test_other_seeds_draw_other_clips() -> None:
    drawn = [random_clip(np.random.default_rng(seed)) for seed in range(20)]
    assert len({caption for _, caption in drawn}) > 15
    first, second = (render(replace(drawn[0][0], seed=seed), 1) for seed in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("texture", TEXTURES)
def test_every_noun_is_drawn_in_every_texture(noun: str, texture: str) -> None:
    clip = Clip((Actor(noun, RED, texture=texture),), "snow")
    assert 60 < painted(clip, 1).sum() < 1500
    if texture != "plain":
        plain = replace(clip, actors=(Actor(noun, RED),))
        assert not np.array_equal(render(clip, 1), render(plain, 1))


@pytest.mark.parametrize("accessory", ACCESSORIES)
@pytest.mark.parametrize("noun", NOUNS)
def test_every_accessory_is_seen_on_every_noun(noun: str, accessory: str) -> None:
    bare = Actor(noun, RED)
    worn = replace(bare, accessory=accessory, accessory_colour=(0.0, 1.0, 1.0))
    before, after = (render(Clip((who,), "room"), 1) for who in (bare, worn))
    assert (before != after).any(-1).sum() > 15


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_is_a_picture_of_its_own(scene: str) -> None:
    picture = background(scene, 64, np.random.default_rng(0))
    assert picture.shape == (64, 64, 3) and picture.dtype == np.float32
    assert picture.min() >= 0 and picture.max() <= 1
    others = [background(s, 64, np.random.default_rng(0)) for s in SCENES if s != scene]
    assert min(float(np.abs(picture - other).mean()) for other in others) > 0.03


@pytest.mark.parametrize("motion", MOTIONS | HELDOUT_MOTIONS)
@pytest.mark.parametrize("noun", ["dog", "rocket"])
def test_every_motion_moves_and_stays_in_the_frame(motion: str, noun: str) -> None:
    clip = Clip((Actor(noun, RED),), "street", motion, seed=3)
    frames = render(clip)
    assert frames.shape == (FRAMES, 64, 64, 3) and frames.dtype == np.uint8
    if motion == "standing still":
        assert (frames == frames[0]).all()
    else:
        assert (frames != frames[0]).any()
    x0, y0, x1, y1 = boxes(clip)[0].T
    inside = (np.minimum(x1, 1) - np.maximum(x0, 0)) * (np.minimum(y1, 1) - np.maximum(y0, 0))
    share = inside / ((x1 - x0) * (y1 - y0))
    assert share.min() > 0.5 and share.mean() > 0.8


def test_motions_differ_from_each_other() -> None:
    paths = [
        render(Clip((Actor("cat", RED),), "room", motion, seed=1)) for motion in MOTIONS | HELDOUT_MOTIONS
    ]
    for i, one in enumerate(paths):
        assert all((one != two).any() for two in paths[:i])


@pytest.mark.parametrize("style", STYLES)
def test_every_style_changes_the_picture(style: str) -> None:
    clip = Clip((Actor("boat", RED),), "beach", seed=1)
    plain, styled = render(clip, 2), render(replace(clip, style=style), 2)
    assert styled.shape == plain.shape
    assert np.abs(styled.astype(int) - plain).mean() > 10


@pytest.mark.parametrize("motion", ["standing still", "jumping", "moving left", "shrinking", "stretching"])
@pytest.mark.parametrize("noun", NOUNS)
def test_boxes_contain_the_actor(noun: str, motion: str) -> None:
    clip = Clip((Actor(noun, RED),), "forest", motion, seed=5)
    axis = (np.arange(64) + 0.5) / 64
    for mask, (x0, y0, x1, y1) in zip(painted(clip), boxes(clip)[0], strict=True):
        columns, rows = (axis > x0) & (axis < x1), (axis > y0) & (axis < y1)
        assert mask[np.ix_(rows, columns)].sum() > 0.95 * mask.sum()


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_captions_say_what_is_shown(seed: int) -> None:
    clip, caption = random_clip(np.random.default_rng(seed))
    said = caption.replace(",", "").split()
    assert [word for word in said if word in NOUNS] == [actor.noun for actor in clip.actors]
    colours = [name for name, rgb in COLOURS.items() for actor in clip.actors if actor.colour == rgb]
    assert {word for word in said if word in COLOURS} <= set(colours)
    assert {word for word in said if word in TEXTURES} <= {actor.texture for actor in clip.actors}
    assert [place for place in PLACES.values() if place in caption] in ([], [PLACES[clip.scene]])
    assert [m for m in MOTIONS if m in caption] == [clip.motion] or clip.motion == "standing still"


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_textures_are_pictures_and_deterministic(seed: int) -> None:
    one, two = (textures(np.random.default_rng(seed), 2, 32) for _ in range(2))
    assert one.shape == (2, 32, 32, 3) and one.dtype == np.float32
    assert one.min() >= 0 and one.max() <= 1
    assert np.array_equal(one, two)
    assert one.std() > 0.01


def test_an_unknown_word_is_an_error() -> None:
    with pytest.raises(KeyError):
        render(Clip((Actor("unicorn", RED),), "beach"))
    with pytest.raises(KeyError):
        render(Clip((Actor("dog", RED),), "mars"))
