"""Regions in the engine: who is heard where, and what the denoiser is left with afterwards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_aggregate import concept

from ccvd_cli.engine import regions as engine
from ccvd_cli.engine.attention import LayerTextAttention
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.regions import Layout, RegionGuidance, Voices, cells_of
from ccvd_cli.engine.sample import generate, generate_batch
from ccvd_cli.regions import Region, parse
from ccvd_cli.settings import SampleSettings

CLIP = SampleSettings(steps=2, frames=4, height=32, width=32, guidance_scale=3.0)
LEFT, RIGHT = parse("a <V1> dog @ 0,0,0.5,1"), parse("a <V2> cat @ 0.5,0,1,1")
CPU = torch.device("cpu")

fraction = st.floats(0, 1)


@settings(max_examples=200, deadline=None)
@given(fraction, fraction, fraction, fraction, st.integers(1, 64), st.integers(1, 64))
def test_every_box_has_a_cell_and_none_that_it_does_not_touch(
    a: float, b: float, c: float, d: float, height: int, width: int
) -> None:
    (x0, x1), (y0, y1) = sorted((a, b)), sorted((c, d))
    rows, columns = cells_of((x0, y0, x1, y1), height, width)
    for cells, low, high, count in ((rows, y0, y1, height), (columns, x0, x1, width)):
        assert 0 <= cells.start < cells.stop <= count
        assert cells.start + 1 > low * count - 1e-3 and cells.stop - 1 < high * count + 1e-3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(fraction, fraction, fraction, fraction), min_size=1, max_size=4))
def test_voices_share_every_pixel(corners: list[tuple[float, float, float, float]]) -> None:
    regions = [
        Region(
            prompt="<V1>",
            box=(min(a, b) * 0.9, min(c, d) * 0.9, max(a, b) * 0.9 + 0.1, max(c, d) * 0.9 + 0.1),
        )  # type: ignore[call-arg]
        for a, b, c, d in corners
    ]
    layout = Layout(regions, (4, 3, 8, 16), CPU)
    for cells in (8 * 16, 4 * 8, 2 * 4):
        shares = layout.shares(cells)
        assert shares.shape == (1 + len(regions), 3, cells)
        assert torch.allclose(shares.sum(0), torch.ones(3, cells)) and (shares >= 0).all()
        assert (shares[1:].flatten(1).sum(1) > 0).all()


def test_a_moving_box_moves_and_overlaps_are_shared() -> None:
    moving = parse("<V1> @ 0: 0,0,0.5,1 ; 3: 0.5,0,1,1")
    layout = Layout([moving, parse("<V2> @ 0,0,1,0.5")], (4, 4, 4, 4), CPU)
    shares = layout.shares(16).unflatten(-1, (4, 4))
    assert torch.equal(shares[1, 0, 3], torch.tensor([1.0, 1, 0, 0]))
    assert torch.equal(shares[1, 3, 3], torch.tensor([0.0, 0, 1, 1]))
    assert torch.equal(shares[1, 0, 0], torch.tensor([0.5, 0.5, 0, 0]))
    assert torch.equal(shares[0, 0, 3], torch.tensor([0.0, 0, 1, 1]))


def generated(
    base: Base, learners: list, prompt: str = "a <V1> dog and a <V2> cat", **how: object
) -> torch.Tensor:
    return generate(base, prompt, learners, CLIP.model_copy(update=how))


def test_switches_and_boxes_change_the_clip_and_nothing_stays_behind(base: Base) -> None:
    learners = [concept(base, "V1"), concept(base, "V2")]
    plain = generated(base, learners)
    both = {"regions": (LEFT, RIGHT)}
    clips = [
        plain,
        generated(base, learners, **both),
        generated(base, learners, **both, region_attention=False),
        generated(base, learners, **both, noise_guidance=False),
        generated(base, learners, regions=(parse("a <V1> dog @ 0.5,0,1,1"), parse("a <V2> cat @ 0,0,0.5,1"))),
    ]
    for i, one in enumerate(clips):
        assert torch.isfinite(one).all()
        assert not any(torch.allclose(one, other, atol=1e-4) for other in clips[:i])
    assert torch.equal(generated(base, learners), plain)
    for site in base.sites_of("spatial"):
        assert type(base.denoiser.get_submodule(site.name).processor) is LayerTextAttention


def test_one_region_over_the_whole_frame_is_that_prompt(base: Base) -> None:
    """All that another prompt could say is drowned out: only where the region is, is anybody heard."""
    dog = [concept(base, "V1")]
    whole = parse("a <V1> dog @ 0,0,1,1")
    alone = generated(base, dog, "a <V1> dog")
    region = generated(base, dog, "a <V1> dog", regions=(whole,), noise_guidance=False)
    assert torch.allclose(region, alone, atol=1e-3)
    guided = generated(base, dog, "a <V1> dog", regions=(whole,))
    assert torch.allclose(guided, alone, atol=1e-3)  # its estimate is the prompt's, and nothing is neglected


def test_adapters_of_a_region_act_in_the_region_only(base: Base) -> None:
    """With what text says made equal everywhere, what an adapter adds is found inside its box."""
    site = next(s for s in base.sites_of("spatial"))
    learners = [concept(base, "V1")]
    heard = engine.Layout((LEFT,), base.latent_shape(4, 32, 32), CPU)
    share = [aggregate_share(learners[0])]
    from ccvd_cli.engine.aggregate import fold

    wides = fold(base, learners, share)
    voices = Voices(heard, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1), [{}, wides], guided=True)
    adapter = engine.RegionalAdapter(voices, site)
    cells = heard.height * heard.width
    h = torch.randn(voices.rows * 4, cells, site.width)
    out = adapter(h).unflatten(0, (voices.rows, 4))
    expected = wides[site](h).unflatten(0, (voices.rows, 4))
    inside = heard.masks(heard.height, heard.width)[0].flatten(1).bool()  # (F, N)
    for row in (engine.EMPTY, engine.PROMPT):
        assert torch.allclose(out[row][inside], expected[row][inside], atol=1e-5)
        assert not out[row][~inside].any()
    assert torch.allclose(
        out[engine.FIRST], expected[engine.FIRST], atol=1e-5
    )  # its own estimate is of the whole frame


def aggregate_share(learner):  # type: ignore[no-untyped-def]
    from ccvd_cli.engine.aggregate import Share

    return Share(learner.name, learner.kind, "named", torch.ones(len(learner.tokens)))


def test_a_style_that_no_region_names_acts_in_all_of_them(base: Base) -> None:
    learners = [concept(base, "V1"), concept(base, "V2", "style")]
    regions = (parse("a <V1> dog @ 0,0,0.5,1"),)
    prompt = "a <V1> dog in <V2> style"
    styled = generated(base, learners, prompt, regions=regions)
    quiet = concept(base, "V2", "style")
    quiet.tokens, quiet.text_prototypes, quiet.adapters = learners[1].tokens, learners[1].text_prototypes, {}
    unstyled = generated(base, [learners[0], quiet], prompt, regions=regions)
    change = (styled - unstyled).abs().amax((0, 1))
    assert change[:, :16].mean() > 1e-3 and change[:, 16:].mean() > 1e-3


def test_what_is_neglected_weighs_more_within_bounds() -> None:
    layout = Layout((LEFT, RIGHT), (4, 1, 4, 4), CPU)
    voices = Voices(layout, torch.zeros(2, 1, 1, 1), torch.zeros(2, 1), [{}, {}, {}])
    voices.attention += [torch.tensor([0.1, 0.3]), torch.tensor([0.3, 0.5])]  # means .2, .4
    assert torch.allclose(voices.neglect(), torch.tensor([4 / 3, 2 / 3]))
    assert voices.attention == []
    voices.attention.append(torch.tensor([1e-9, 1.0]))
    assert torch.allclose(voices.neglect(), torch.tensor([2.0, 0.5]))


def test_guidance_mixes_estimates_inside_and_leaves_the_outside() -> None:
    """E* = alpha E + (1 - alpha) E_k where one box is, with E_k = empty + g omega_k (own - empty)."""
    layout = Layout((parse("<V1> @ 0,0,0.5,1"),), (2, 1, 4, 4), CPU)
    voices = Voices(layout, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1), [{}, {}])
    voices.attention.append(torch.tensor([0.2]))
    empty, told, own = torch.randn(3, 2, 1, 4, 4)
    found = RegionGuidance(voices, 3.0)(torch.stack([empty, told, own]))
    whole, inside = empty + 3 * (told - empty), empty + 3 * (own - empty)
    assert found.shape == (1, 2, 1, 4, 4)
    assert torch.allclose(found[0, ..., 2:], whole[..., 2:], atol=1e-5)
    assert torch.allclose(found[0, ..., :2], (0.1 * whole + 0.9 * inside)[..., :2], atol=1e-5)


def test_regions_belong_to_one_prompt(base: Base) -> None:
    with pytest.raises(ValueError):
        generate_batch(
            base, ["a <V1> dog", "a cat"], [concept(base, "V1")], CLIP.model_copy(update={"regions": (LEFT,)})
        )
