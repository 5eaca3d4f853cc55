"""Frames larger than the base's own: windows cover them, their estimates are blended, and each hears what it sees."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_aggregate import concept

from ccvd_cli.engine import compose
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.compose import generate, generate_batch
from ccvd_cli.engine.regions import boxes_of
from ccvd_cli.engine.sample import Start
from ccvd_cli.engine.windows import blended, through, windows
from ccvd_cli.regions import parse
from ccvd_cli.settings import SampleSettings

CPU = torch.device("cpu")
CLIP = SampleSettings(steps=2, frames=3, guidance_scale=3.0, windows=True)
NOW = torch.tensor(0)
side = st.integers(1, 40)


@settings(max_examples=200, deadline=None)
@given(side, side, side, side)
def test_windows_cover_all_and_their_shares_sum_to_one(height: int, width: int, tall: int, wide: int) -> None:
    found = windows(height, width, (tall, wide), CPU)
    total = torch.zeros(height, width)
    for window in found:
        part = window.of(total)
        assert part.shape == (min(height, tall), min(width, wide)) == window.share.shape
        assert (window.share > 0).all()
        part += window.share
    assert torch.allclose(total, torch.ones(height, width), atol=1e-5)
    assert (len(found) == 1) == (height <= tall and width <= wide)
    for one, other in pairwise(sorted({(w.columns.start, w.columns.stop) for w in found})):
        assert one[1] - other[0] >= wide // 4


def test_neighbours_share_a_quarter_and_take_over_little_by_little() -> None:
    left, right = windows(16, 28, (16, 16), CPU)
    assert (left.columns, right.columns) == (slice(0, 16), slice(12, 28))
    assert torch.allclose(left.share[0, 10:], torch.tensor([1, 1, 0.8, 0.6, 0.4, 0.2]))
    assert torch.allclose(left.share[:, 12:] + right.share[:, :4], torch.ones(16, 4))
    (one,) = windows(16, 28, None, CPU)
    assert one.box == (0, 0, 1, 1) and (one.share == 1).all()


def test_what_windows_agree_on_is_left_alone() -> None:
    latents = torch.randn(1, 2, 3, 8, 20)
    parts = [(window, lambda x, t: 3 * x) for window in windows(8, 20, (8, 8), CPU)]
    assert len(parts) == 3
    assert torch.allclose(blended(parts)(latents, NOW), 3 * latents, atol=1e-5)
    numbered = [(w, lambda x, t, k=k: torch.full_like(x, k)) for k, (w, _) in enumerate(parts)]
    found = blended(numbered)(latents, NOW)[0, 0, 0, 0]
    assert (found[:6] == 0).all() and (found[-6:] == 2).all() and (found.diff() >= 0).all()


def test_a_box_is_heard_where_half_of_it_is_seen_and_somewhere_always() -> None:
    views = windows(16, 28, (16, 16), CPU)
    regions = [
        parse("<V1> @ 0,0,0.5,1"),
        parse("<V2> @ 0.5,0,1,1"),
        parse("<V3> @ 0.25,0.25,0.75,0.75"),
        parse("<V4> @ 0,0,1,1"),
        parse("<V5> @ 0: 0,0,0.25,1 ; 1: 0.75,0,1,1"),
    ]
    left, right = through(views, boxes_of(regions, 2))
    assert torch.allclose(left[0, 0], torch.tensor([0, 0, 14 / 16, 1.0]))
    assert not left[1].any() and not right[0].any()
    assert torch.allclose(right[1, 1], torch.tensor([2 / 16, 0, 1, 1.0]))
    for half in (left, right):  # both see nine fourteenths of it
        assert (half[2] != 0).any() and torch.allclose(half[3], torch.tensor([0, 0, 1, 1.0]), atol=1e-6)
    assert left[4, 0].any() and not left[4, 1].any() and right[4, 1].any() and not right[4, 0].any()


def test_a_box_of_which_little_is_seen_is_not_heard() -> None:
    """0.4 of it, where another window sees all of it; half is enough."""
    views = windows(16, 28, (16, 16), CPU)
    boxes = [parse(f"<V1> @ {low / 28},0,{(low + 10) / 28},1") for low in (6, 7)]
    left, right = through(views, boxes_of(boxes, 1))
    assert left[:, 0].any(1).all()
    assert [bool(heard) for heard in right[:, 0].any(1)] == [False, True]


@pytest.mark.parametrize("size", [(16, 40), (16, 64), (32, 32)])
def test_a_box_over_the_whole_frame_is_heard_in_every_window(size: tuple[int, int]) -> None:
    views = windows(*size, (16, 16), CPU)
    for heard in through(views, boxes_of([parse("<V1> @ 0,0,1,1")], 2)):
        assert torch.allclose(heard, torch.tensor([0, 0, 1, 1.0]).expand(1, 2, 4), atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=4), st.integers(1, 40))
def test_every_box_is_heard(corners: list[tuple[float, float, float, float]], width: int) -> None:
    boxes = torch.tensor(
        [[[min(a, c), min(b, d), max(a, c) + 0.01, max(b, d) + 0.01]] for a, b, c, d in corners]
    )
    boxes = boxes / 1.01
    found = torch.stack(through(windows(8, width, (8, 8), CPU), boxes))
    assert ((found[..., 2:] > found[..., :2]).all(-1).any(0)).all()
    assert (found >= 0).all() and (found <= 1).all()


def wide(base: Base, **how: object) -> SampleSettings:
    """Twice as wide as the base's own frames: three windows, of which the outer ones hear one region each, and the middle one half of both."""
    height, width = base.own_size or (0, 0)
    regions = (parse("a <V1> dog @ 0,0,0.5,1"), parse("a <V2> cat @ 0.5,0,1,1"))
    return CLIP.model_copy(update={"height": height, "width": 2 * width, "regions": regions, **how})


def test_a_subject_in_a_window_is_drawn_as_it_is_alone(unet: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one step, where no other window reaches."""
    monkeypatch.setattr(compose, "_shown", lambda unet, latents: latents)
    learners, texts = [concept(unet, "V1"), concept(unet, "V2")], ["a <V1> dog", "a <V2> cat"]
    settings = wide(unet, steps=1)
    noise = torch.randn(1, *unet.latent_shape(3, settings.height, settings.width))
    own = noise.shape[-1] // 2
    alone = settings.model_copy(update={"width": settings.width // 2, "regions": ()})
    for how in ({}, {"region_attention": False}, {"noise_guidance": False}):
        told = settings.model_copy(update=how)
        (drawn,) = generate_batch(unet, [" and ".join(texts)], learners, told, start=Start(noise, 0))
        for k, half in enumerate((noise[..., :own], noise[..., own:])):
            (one,) = generate_batch(unet, [texts[k]], [learners[k]], alone, start=Start(half, 0))
            there, kept = (
                drawn[..., k * own : (k + 1) * own],
                slice(own // 2) if k == 0 else slice(own // 2, None),
            )
            near = torch.allclose(there[..., kept], one[..., kept], atol=1e-3)
            assert near == (
                "region_attention" not in how
            )  # else a tenth of the estimate is of the whole prompt


def test_what_windows_change_and_what_they_leave(unet: Base) -> None:
    learners, prompt = [concept(unet, "V1"), concept(unet, "V2")], "a <V1> dog and a <V2> cat"
    settings = wide(unet)
    clip = generate(unet, prompt, learners, settings)
    assert clip.shape == (3, 3, settings.height, settings.width)
    for how in (
        {"windows": False},
        {"regions": ()},
        {"regions": settings.regions[:1]},
        {"estimate_of": "box"},
    ):
        other = generate(unet, prompt, learners, settings.model_copy(update=how))
        assert torch.isfinite(other).all() and not torch.allclose(clip, other, atol=1e-3)
    small = wide(unet, width=settings.height)
    without = small.model_copy(update={"windows": False})
    assert torch.equal(*(generate(unet, prompt, learners, s) for s in (small, without)))
