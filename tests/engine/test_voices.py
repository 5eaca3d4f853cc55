"""Regions in the engine: who is heard where, and what the denoiser is left with afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_aggregate import concept

from ccvd_cli.engine import aggregate, compose
from ccvd_cli.engine import regions as engine
from ccvd_cli.engine.aggregate import Share, fold, relevance, relevance_weights
from ccvd_cli.engine.attention import LayerTextAttention, attention_map
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.compose import generate, generate_batch, taking_part
from ccvd_cli.engine.concept import Learner
from ccvd_cli.engine.regions import Layout, RegionGuidance, Turn, Voices, boxes_of, covered
from ccvd_cli.regions import Region, parse
from ccvd_cli.settings import SampleSettings

CLIP = SampleSettings(steps=2, frames=5, height=32, width=32, guidance_scale=3.0)
LEFT, RIGHT = parse("a <V1> dog @ 0,0,0.5,1"), parse("a <V2> cat @ 0.5,0,1,1")
CPU = torch.device("cpu")

fraction = st.floats(0, 1, width=32, allow_subnormal=False)


@settings(max_examples=200, deadline=None)
@given(fraction, fraction, fraction, fraction, st.integers(1, 64), st.integers(1, 64))
def test_every_box_has_a_cell_and_none_that_it_does_not_touch(
    a: float, b: float, c: float, d: float, height: int, width: int
) -> None:
    (x0, x1), (y0, y1) = sorted((a, b)), sorted((c, d))
    cells = covered(torch.tensor([x0, y0, x1, y1]), height, width)
    assert cells.shape == (height, width) and cells.any() == (x1 > x0 and y1 > y0)  # but for an empty one
    if not cells.any():
        return
    for across, low, high, count in ((cells.any(1), y0, y1, height), (cells.any(0), x0, x1, width)):
        first, last = across.nonzero()[[0, -1], 0].tolist()
        assert first + 1 > low * count - 1e-3 and last < high * count + 1e-3
    assert cells.sum() == cells.any(1).sum() * cells.any(0).sum()


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
    layout = laid_out(regions, (4, 3, 8, 16))
    for cells in (8 * 16, 4 * 8, 2 * 4):
        shares = layout.shares(cells)
        assert shares.shape == (1 + len(regions), 3, cells)
        assert torch.allclose(shares.sum(0), torch.ones(3, cells)) and (shares >= 0).all()
        assert (shares[1:].flatten(1).sum(1) > 0).all()


def test_a_moving_box_moves_and_overlaps_are_shared() -> None:
    moving = parse("<V1> @ 0: 0,0,0.5,1 ; 3: 0.5,0,1,1")
    layout = laid_out([moving, parse("<V2> @ 0,0,1,0.5")], (4, 4, 4, 4))
    shares = layout.shares(16).unflatten(-1, (4, 4))
    assert torch.equal(shares[1, 0, 3], torch.tensor([1.0, 1, 0, 0]))
    assert torch.equal(shares[1, 3, 3], torch.tensor([0.0, 0, 1, 1]))
    assert torch.equal(shares[1, 0, 0], torch.tensor([0.5, 0.5, 0, 0]))
    assert torch.equal(shares[0, 0, 3], torch.tensor([0.0, 0, 1, 1]))


def laid_out(regions: Sequence[Region], shape: tuple[int, int, int, int]) -> Layout:
    """In latents of this shape (C, F, h, w)."""
    return Layout(boxes_of(regions, shape[1]), *shape[2:], CPU)


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
        generated(base, learners, **both, estimate_of="box"),
        generated(base, learners, regions=(parse("a <V1> dog @ 0.5,0,1,1"), parse("a <V2> cat @ 0,0,0.5,1"))),
    ]
    for i, one in enumerate(clips):
        assert torch.isfinite(one).all()
        assert not any(torch.allclose(one, other, atol=1e-4) for other in clips[:i])
    assert torch.equal(generated(base, learners), plain)
    for site in base.sites_of("spatial"):
        assert type(base.denoiser.get_submodule(site.name).processor) is LayerTextAttention


def test_one_region_over_the_whole_frame_is_that_prompt(base: Base) -> None:
    """Whatever else is said is drowned out: only where the region is, is anybody heard. Of a box that is the whole frame it is not told."""
    dog = [concept(base, "V1")]
    alone = generated(base, dog, "a <V1> dog")
    for how in ({"noise_guidance": False}, {}, {"estimate_of": "box"}):
        region = generated(base, dog, "a cat", regions=(parse("a <V1> dog @ 0,0,1,1"),), **how)
        assert torch.allclose(region, alone, atol=1e-3)
    # Without attention a tenth of the estimate is still the prompt's own.
    apart = generated(base, dog, "a cat", regions=(parse("a <V1> dog @ 0,0,1,1"),), region_attention=False)
    assert not torch.allclose(apart, alone, atol=1e-3)


def test_outside_its_box_an_estimate_of_the_box_hears_the_empty_prompt(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []
    real = engine.spoken
    monkeypatch.setattr(compose, "spoken", lambda b, turn, a: heard.append(turn.voices) or real(b, turn, a))
    for of in ("frame", "box"):
        generated(base, [concept(base, "V1")], regions=(LEFT,), frames=1, estimate_of=of)
    frame, box = heard
    assert frame.elsewhere is None
    silence = base.encode_text([""])
    assert torch.equal(box.elsewhere.reshape(silence.shape), silence)


def test_regions_are_told_their_boxes_where_the_base_tells_those(base: Base) -> None:
    text, boxes = torch.randn(2, base.text_layers, 3, 5, base.text_width), torch.rand(2, 3, 4)
    told = base.situate(text, boxes)
    if base.family != "mini":
        assert told is text
        return
    assert told.shape == text.shape
    changed = boxes.clone()
    changed[1, 2] = torch.tensor([0.0, 0.0, 0.1, 0.1])
    differs = (base.situate(text, changed) - told).abs().flatten(3).amax((1, 3)) > 1e-4
    assert differs.tolist() == [[False] * 3, [False, False, True]]
    untold = base.situate(text[:, :, 0], boxes)  # of a picture, which has no moment
    assert torch.allclose(untold[:, :, 1], base.situate(text[:, :, :1], boxes)[:, :, 1])


def voiced(
    base: Base, *regions: Region, guided: bool = True, elsewhere: torch.Tensor | None = None
) -> Voices:
    """Each region has a concept of its own; nobody else takes part."""
    learners = [concept(base, name) for r in regions for name in r.names]
    learners += [concept(base, f"M{k}", "motion") for k in range(len(regions))]
    adapters = [
        fold(base, learners, [alone(learners[k]), alone(learners[len(regions) + k])])
        for k in range(len(regions))
    ]
    layout = laid_out(regions, base.latent_shape(5, 32, 32))
    frames = [] if base.family == "wan" else [layout.frames]  # which read their own there
    text = torch.randn(len(regions), base.text_layers, *frames, 24, base.text_width)
    concepts = torch.zeros(len(regions), 24)
    for k in range(len(regions)):
        concepts[k, 2 + k : 4 + 2 * k] = 1
    return Voices(layout, text, concepts, [{}, *adapters], guided=guided, elsewhere=elsewhere)


def alone(learner: Learner) -> Share:
    return Share(learner.name, learner.kind, "named", torch.ones(len(learner.tokens)))


@pytest.mark.parametrize("of_box", [False, True])
def test_adapters_of_a_region_act_in_the_region_only(base: Base, of_box: bool) -> None:
    silence = torch.zeros(1, base.text_layers, 24, base.text_width) if of_box else None
    voices = voiced(base, LEFT, parse("a <V2> cat @ 0.5,0,1,0.5"), elsewhere=silence)
    masks = voices.layout.masks(voices.layout.height, voices.layout.width).flatten(2).bool()  # (K, F, N)
    for site in (base.sites_of("spatial")[0], base.sites_of("temporal")[0]):
        adapter = engine.RegionalAdapter(Turn(voices), site)
        inside = masks.transpose(1, 2) if site.by_cell else masks  # as rows are: (N, F) or (F, N)
        each = (voices.rows, *inside.shape[1:], site.width)
        h = torch.randn(each).flatten(1, 2) if base.family == "wan" else torch.randn(each).flatten(0, 1)
        out = adapter(h).view(each)
        own = [voices.adapters[k][site](h).view(each) for k in (1, 2)]
        for row in (engine.EMPTY, engine.PROMPT):
            for k in (0, 1):
                assert torch.allclose(out[row][inside[k]], own[k][row][inside[k]], atol=1e-5)
            assert not out[row][~inside.any(0)].any()
        for k in (0, 1):  # a region's own estimate is of the whole frame, or of its box
            row, acts = engine.FIRST + k, own[k][engine.FIRST + k]
            acts = acts * inside[k][..., None] if of_box else acts
            assert torch.allclose(out[row], acts, atol=1e-5)


def test_pixels_listen_to_their_own_region_and_attention_is_read_at_its_concept(base: Base) -> None:
    voices = voiced(base, LEFT, parse("a <V2> cat @ 0.5,0,1,1"))
    site = base.sites_of("spatial")[0]
    attn, frames = base.denoiser.get_submodule(site.name), voices.layout.frames
    cells = voices.layout.height * voices.layout.width
    each = (voices.rows, frames, cells, site.width)
    hidden = torch.randn(each).flatten(1, 2) if base.family == "wan" else torch.randn(each).flatten(0, 1)
    text = torch.cat([torch.randn_like(voices.text[:2]), voices.text])
    plain = attn.processor
    assert isinstance(plain, LayerTextAttention)
    out = engine.RegionAttention(plain, Turn(voices))(attn, hidden, text).view(each)
    usual = plain(attn, hidden, text).view(each)
    asked = hidden.view(each)[engine.PROMPT]
    masks = voices.layout.masks(voices.layout.height, voices.layout.width).flatten(2).bool()
    for k in (0, 1):
        told = plain(attn, asked, voices.text[k : k + 1])
        assert torch.allclose(out[engine.PROMPT][masks[k]], told[masks[k]], atol=1e-5)
    for row in (engine.EMPTY, engine.FIRST, engine.FIRST + 1):
        assert torch.equal(out[row], usual[row])
    voices.elsewhere = text[:1]
    boxed = engine.RegionAttention(plain, Turn(voices))(attn, hidden, text).view(each)
    assert torch.equal(boxed[: engine.FIRST], out[: engine.FIRST])
    for k in (0, 1):
        row = engine.FIRST + k
        silent = plain(attn, hidden.view(each)[row], text[:1])
        assert torch.equal(boxed[row][masks[k]], usual[row][masks[k]])
        assert torch.allclose(boxed[row][~masks[k]], silent[~masks[k]], atol=1e-5)
    found, again = voices.attention
    assert torch.equal(again, found)  # what is read within a box does not depend on what is heard elsewhere
    for k in (0, 1):
        rows = hidden.view(each)[engine.FIRST + k]
        weights = attention_map(attn, rows, plain.slice(voices.text[k : k + 1])).view(frames, cells, -1)
        heard = weights[..., 2 + k : 4 + 2 * k].mean(-1)[masks[k]].mean()
        assert torch.allclose(found[k], heard, atol=1e-6)


def test_who_takes_part_where(base: Base) -> None:
    """Styles and motions that no region names act in all of them; a subject without a region acts outside of all."""
    learners = [concept(base, n) for n in ("V1", "V2")]
    learners += [concept(base, "V3", "motion"), concept(base, "V4", "style")]
    settings = CLIP.model_copy(update={"regions": (LEFT,)})
    prompt = "a <V1> dog and a <V2> cat performing <V3> in <V4> style"
    rows = [(row, {s.name for s in shares}) for row, shares in taking_part(base, prompt, learners, settings)]
    assert rows == [("", set()), (prompt, {"V2", "V3", "V4"}), ("a <V1> dog", {"V1", "V3", "V4"})]
    styled = tuple(parse(f"a <{n}> dog in <V4> style @ 0,0,1,1") for n in ("V1", "V2"))
    for said, outside in ((prompt, {"V3", "V4"}), ("a <V1> dog and a <V2> cat performing <V3>", {"V3"})):
        _, (_, shares), *own = taking_part(base, said, learners, CLIP.model_copy(update={"regions": styled}))
        assert {
            s.name for s in shares
        } == outside  # a style of all regions acts outside them if the clip has it
        assert all("V4" in {s.name for s in within} for _, within in own)
    for regions in ((parse("a dog @ 0,0,1,1"),), (parse("a <V9> dog @ 0,0,1,1"),)):
        with pytest.raises(ValueError, match="names"):
            taking_part(base, prompt, learners, CLIP.model_copy(update={"regions": regions}))


@pytest.mark.parametrize(
    "how", [{"aggregation": "relevance"}, {"aggregation": "mean"}, {"relevance_threshold": -1.0}]
)
def test_who_joins_has_a_share_everywhere_and_nowhere_all(
    base: Base, how: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """V5, which nobody named, is heard in both boxes beside whom they are of, and outside as much as if nobody had a box."""
    monkeypatch.setattr(aggregate, "NEGLIGIBLE", 0.0)  # however little it is relevant
    learners = [concept(base, n) for n in ("V1", "V2", "V5")]
    prompt = "a <V1> dog and a <V2> cat"
    settings = CLIP.model_copy(update=how)
    (_, everybody), *_ = taking_part(base, prompt, learners, settings)[1:]
    rows = taking_part(base, prompt, learners, settings.model_copy(update={"regions": (LEFT, RIGHT)}))[1:]
    (_, outside), (_, left), (_, right) = rows
    (alone,) = outside
    assert alone.name == "V5" and torch.allclose(
        alone.weights, next(s.weights for s in everybody if s.name == "V5")
    )
    for own, shares in (("V1", left), ("V2", right)):
        assert {s.name for s in shares} == {own, "V5"}
        assert torch.allclose(sum(s.weights for s in shares), torch.ones(base.text_layers))


def test_what_is_neglected_weighs_more_within_bounds() -> None:
    layout = laid_out((LEFT, RIGHT), (4, 1, 4, 4))
    voices = Voices(layout, torch.zeros(2, 1, 1, 1), torch.zeros(2, 1), [{}, {}, {}])
    voices.attention += [torch.tensor([0.1, 0.3]), torch.tensor([0.3, 0.5])]  # means .2, .4
    assert torch.allclose(voices.region_weights(), torch.tensor([4 / 3, 2 / 3]))
    assert voices.attention == []
    voices.attention.append(torch.tensor([1e-9, 1.0]))
    assert torch.allclose(voices.region_weights(), torch.tensor([2.0, 0.5]))


def test_guidance_mixes_estimates_inside_and_leaves_the_outside() -> None:
    """E* = alpha E + (1 - alpha) E_k where one box is, with E_k = empty + g omega_k (own - empty)."""
    layout = laid_out((parse("<V1> @ 0,0,0.5,1"),), (2, 1, 4, 4))
    voices = Voices(layout, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1), [{}, {}])
    voices.attention.append(torch.tensor([0.2]))
    empty, told, own = torch.randn(3, 2, 1, 4, 4)
    found = RegionGuidance(voices, 3.0)(torch.stack([empty, told, own]))
    whole, inside = empty + 3 * (told - empty), empty + 3 * (own - empty)
    assert found.shape == (1, 2, 1, 4, 4)
    assert torch.allclose(found[0, ..., 2:], whole[..., 2:], atol=1e-5)
    assert torch.allclose(found[0, ..., :2], (0.1 * whole + 0.9 * inside)[..., :2], atol=1e-5)


def test_each_box_is_guided_by_its_own_estimate_and_overlaps_by_both() -> None:
    boxes = parse("<V1> @ 0,0,0.75,1"), parse("<V2> @ 0.25,0,1,1")
    voices = Voices(laid_out(boxes, (2, 1, 4, 4)), torch.zeros(2, 1, 1, 1), torch.zeros(2, 1), [{}, {}, {}])
    voices.attention.append(torch.tensor([0.1, 0.3]))
    one, two = 1.5, 0.5  # (1 / a) / mean(1 / a)
    empty, told, *own = torch.randn(4, 2, 1, 4, 4)
    found = RegionGuidance(voices, 3.0)(torch.stack([empty, told, *own]))[0]
    whole = empty + 3 * (told - empty)
    first, second = empty + 3 * one * (own[0] - empty), empty + 3 * two * (own[1] - empty)
    both = (one * first + two * second) / (one + two)
    for columns, inside in ((slice(0, 1), first), (slice(1, 3), both), (slice(3, 4), second)):
        assert torch.allclose(found[..., columns], (0.1 * whole + 0.9 * inside)[..., columns], atol=1e-5)


def test_regions_belong_to_one_prompt(base: Base) -> None:
    with pytest.raises(ValueError, match="a cat"):
        generate_batch(
            base, ["a <V1> dog", "a cat"], [concept(base, "V1")], CLIP.model_copy(update={"regions": (LEFT,)})
        )


def test_where_boxes_overlap_each_has_all_of_its_own_estimate(base: Base) -> None:
    """In the prompt's row they share; in its own a region is heard in full wherever its box is, and nowhere else."""
    silence = torch.randn(1, base.text_layers, 24, base.text_width)
    boxes = parse("a <V1> dog @ 0,0,0.75,1"), parse("a <V2> cat @ 0.25,0,1,1")
    voices = voiced(base, *boxes, elsewhere=silence)
    masks = voices.layout.masks(voices.layout.height, voices.layout.width).flatten(2).bool()
    assert (masks[0] & masks[1]).any()
    site, frames = base.sites_of("spatial")[0], voices.layout.frames
    h = torch.randn(voices.rows * frames, masks.shape[2], site.width)
    acted = engine.RegionalAdapter(Turn(voices), site)(h).unflatten(0, (voices.rows, -1))
    attn = base.denoiser.get_submodule(site.name)
    text = torch.cat([torch.randn_like(voices.text[:2]), voices.text])
    heard = engine.RegionAttention(attn.processor, Turn(voices))(attn, h, text)
    heard, usual = (x.unflatten(0, (voices.rows, -1)) for x in (heard, attn.processor(attn, h, text)))
    for k in (0, 1):
        row, wide = engine.FIRST + k, voices.adapters[1 + k][site]
        own = wide(h).unflatten(0, (voices.rows, -1))[row]
        assert torch.allclose(acted[row][masks[k]], own[masks[k]], atol=1e-5)
        assert torch.allclose(heard[row][masks[k]], usual[row][masks[k]], atol=1e-5)
        assert not acted[row][~masks[k]].any()


def test_attention_is_read_at_the_regions_own_name(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    cast: list[Voices] = []
    real = engine.spoken
    monkeypatch.setattr(compose, "spoken", lambda b, turn, a: cast.append(turn.voices) or real(b, turn, a))
    generated(base, [concept(base, "V1"), concept(base, "V2")], regions=(LEFT, RIGHT), frames=1)
    at = 1 if base.family == "wan" else 2  # behind CLIP's start token
    assert [row.nonzero().flatten().tolist() for row in cast[0].concepts] == [[at], [at]]  # "a <V1> dog"


def test_in_a_region_its_own_prompt_and_the_clips_say_how_much(unet: Base) -> None:
    learners = [concept(unet, n) for n in ("V1", "V2")]
    both = "a <V1> dog and a <V2> cat"
    prompt = f"in the snow {both}"  # what comes before them changes how they are read
    region = parse(f"{both} @ 0,0,0.5,1")
    *_, (_, shares) = taking_part(unet, prompt, learners, CLIP.model_copy(update={"regions": (region,)}))
    prototypes = torch.stack([x.text_prototypes for x in learners])

    def asked(text: str) -> torch.Tensor:
        states = unet.encode_text([text], [x.token_vectors() for x in learners])
        return relevance(states, unet.words([text]), prototypes)

    expected = relevance_weights((asked(both) + asked(prompt)) / 2)
    assert torch.allclose(torch.stack([s.weights for s in shares]), expected, atol=1e-5)
    assert not torch.allclose(expected, relevance_weights(asked(both)), atol=1e-5)
