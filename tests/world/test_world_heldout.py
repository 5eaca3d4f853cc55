"""Held-out concepts: never seen in pretraining, never shared between splits, told apart with ease."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccvd_cli.measure.streams import TOY
from ccvd_cli.prompts import named
from ccvd_cli.world import heldout
from ccvd_cli.world.captions import random_clip
from ccvd_cli.world.colour import oklab
from ccvd_cli.world.corpus import MATERIAL, undrawn
from ccvd_cli.world.heldout import SPARED
from ccvd_cli.world.motions import HELDOUT_MOTIONS, MOTIONS
from ccvd_cli.world.render import COLOURS
from ccvd_cli.world.scenes import PLACES
from ccvd_cli.world.shapes import NOUNS
from ccvd_cli.world.styles import STYLES


def lab(index: int) -> np.ndarray:
    """A subject's two colours in OKLab, (2, 3)."""
    actor = heldout.subject(index).actor
    return oklab(np.asarray([actor.colour, actor.second]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100_000))
def test_an_index_says_everything(index: int) -> None:
    subject = heldout.subject(index)
    heldout._block.cache_clear()
    assert heldout.subject(index) == subject
    assert subject.index == index and subject.noun in NOUNS
    assert subject.noun in subject.description


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100_000))
def test_a_subject_is_none_of_pretraining(index: int) -> None:
    actor = heldout.subject(index).actor
    assert actor.texture != "plain" and actor.accessory and actor.second
    named_colours = np.asarray(list(COLOURS.values()))
    palette = oklab(np.concatenate([named_colours, named_colours * 0.5]))
    assert np.linalg.norm(lab(index)[:, None] - palette, axis=-1).min() > 0.1
    assert np.linalg.norm(lab(index)[0] - lab(index)[1]) > 0.2


def test_pretraining_sees_nothing_held_out() -> None:
    rng = np.random.default_rng(0)
    for clip, caption in (random_clip(rng) for _ in range(400)):
        assert clip.style is None and clip.motion in MOTIONS
        assert not any(word in caption for word in (*HELDOUT_MOTIONS, *STYLES))
        for actor in clip.actors:
            assert actor.accessory is None and actor.second is None and actor.colour in COLOURS.values()


def test_no_stranger_of_pretraining_looks_like_a_subject() -> None:
    """Same noun and texture happen; both colours near as well do not, or a learner could lean on the base's memory."""
    assert {i for toy in TOY.values() for i in heldout.indices(toy.split, toy.subjects)} <= set(range(SPARED))
    subjects = [heldout.subject(i).actor for i in range(SPARED)]
    parts = [part for part in MATERIAL if part.mix.strangers]
    clips = [clip for part in parts for clip, _ in undrawn(part.count, part.seed, part.mix)]
    strangers = [a for c in clips for a in c.actors if a.second]
    assert len(strangers) > sum(part.count * part.mix.strangers for part in parts) / 2
    for ours in subjects:
        same = [a for a in strangers if (a.noun, a.texture) == (ours.noun, ours.texture)]
        colours = oklab(np.asarray([[a.colour, a.second] for a in same]))
        mine = oklab(np.asarray([ours.colour, ours.second]))
        assert np.linalg.norm(colours - mine, axis=-1).max(1).min() > 0.05


def test_ten_of_a_split_differ_in_noun_and_colours() -> None:
    for split in ("dev", "test"):
        ten = heldout.indices(split, 10)
        assert {heldout.subject(i).noun for i in ten} == set(NOUNS)
        for k, i in enumerate(ten):
            for j in ten[:k]:
                assert np.linalg.norm(lab(i) - lab(j), axis=-1).max() > 0.12


def test_a_hundred_and_fifty_differ_in_noun_or_look() -> None:
    actors = [heldout.subject(i).actor for i in range(150)]
    assert len({(a.noun, a.texture, a.accessory) for a in actors}) == 150


@given(st.integers(1, 200))
def test_splits_share_no_subject(n: int) -> None:
    dev, test = heldout.indices("dev", n), heldout.indices("test", n)
    assert len(set(dev)) == len(set(test)) == n and not set(dev) & set(test)
    assert {heldout.subject(i).split for i in dev[:30]} == {"dev"}
    assert {heldout.subject(i).split for i in test[:30]} == {"test"}


def test_splits_share_no_motion_and_no_style() -> None:
    for splits, whole in ((heldout.MOTION_SPLITS, HELDOUT_MOTIONS), (heldout.STYLE_SPLITS, STYLES)):
        assert not set(splits["dev"]) & set(splits["test"])
        assert set(splits["dev"]) | set(splits["test"]) == set(whole)
    assert not set(HELDOUT_MOTIONS) & set(MOTIONS)
    assert [len(heldout.MOTION_SPLITS[s]) for s in ("dev", "test")] == [5, 10]
    assert [len(heldout.STYLE_SPLITS[s]) for s in ("dev", "test")] == [3, 5]


def test_photos_show_the_subject_in_different_scenes() -> None:
    for index in (0, 7, 12):
        photos = heldout.subject_images(index, 6)
        assert photos.shape == (6, 64, 64, 3) and photos.dtype == np.uint8
        assert np.array_equal(photos, heldout.subject_images(index, 6))
        assert not np.array_equal(photos, heldout.subject_images(index, 6, seed=1))
        for colour in (heldout.subject(index).actor.colour, heldout.subject(index).actor.second):
            near = np.abs(photos - 255 * np.asarray(colour)).max(-1) < 6
            assert (near.sum((1, 2)) > 20).all()
        corners = photos[:, 0, 0].astype(int)
        assert len({tuple(c // 8) for c in corners}) >= 4


@pytest.mark.parametrize("name", HELDOUT_MOTIONS)
def test_motion_clips_are_by_different_actors(name: str) -> None:
    clips = heldout.motion_clips(name, 2)
    assert clips.shape == (2, 16, 64, 64, 3) and np.array_equal(clips, heldout.motion_clips(name, 2))
    truth = heldout.motion_truth(name, 8)
    assert {clip.motion for clip in truth} == {name}
    assert len({clip.actors[0].noun for clip in truth}) == len({clip.scene for clip in truth}) == 8


def test_masks_are_where_the_subject_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same photos of somebody in other colours, only what is masked differs, and nearly all of that does."""
    images, masks, who = heldout.subject_images(3, 4), heldout.subject_masks(3, 4), heldout.subject(3)
    assert masks.shape == images.shape[:3] and masks.dtype == np.uint8
    painted = replace(who.actor, colour=(1, 0, 1), second=(0, 1, 0), accessory_colour=(1, 1, 0))
    monkeypatch.setattr(heldout, "subject", lambda i: replace(who, actor=painted))
    changed = (heldout.subject_images(3, 4) != images).any(-1)
    assert not changed[masks == 0].any()
    assert changed[masks == 255].mean() > 0.6  # outlines, eyes and shoes stay as they are
    assert (masks == 255).mean() > 0.03


def test_style_pictures_are_of_different_things() -> None:
    assert heldout.style_images("sepia", 3).shape == (3, 64, 64, 3)
    assert len({clip.actors[0].noun for clip in heldout.style_truth("sepia", 5)}) == 5


def test_prompts_say_what_they_show() -> None:
    for prompt in heldout.subject_prompts(3, "V1", 9):
        assert named(prompt.text) == ["V1"] and f"a <V1> {heldout.subject(3).noun} " in prompt.text
        assert prompt.shows.actors == (heldout.subject(3).actor,)
        assert prompt.shows.motion in prompt.text and PLACES[prompt.shows.scene] in prompt.text
    for prompt in heldout.motion_prompts("circling", "V3", 9):
        assert named(prompt.text) == ["V3"] and "performing <V3>" in prompt.text
        assert prompt.shows.motion == "circling" and "circling" not in prompt.text
    for prompt in heldout.style_prompts("sepia", "V7", 9):
        assert named(prompt.text) == ["V7"] and prompt.text.endswith(" in <V7> style")
        assert prompt.shows.style == "sepia" and prompt.shows.motion in prompt.text


def test_a_hundred_prompts_use_every_word_equally() -> None:
    prompts = heldout.ordinary_prompts(100)
    assert len({prompt.text for prompt in prompts}) == 100
    assert prompts == heldout.ordinary_prompts(100) != heldout.ordinary_prompts(100, seed=1)
    for names, of in ((NOUNS, lambda c: c.actors[0].noun), (MOTIONS, lambda c: c.motion)):
        counts = [sum(of(prompt.shows) == name for prompt in prompts) for name in names]
        assert max(counts) - min(counts) <= 1


def test_what_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="-1"):
        heldout.subject(-1)
    with pytest.raises(KeyError, match="jumping"):
        heldout.motion_clips("jumping")
    with pytest.raises(KeyError, match="cubism"):
        heldout.style_images("cubism")
