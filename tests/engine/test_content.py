"""Styles that are guided apart from what prompts say else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_adapters import trained
from test_aggregate import concept
from test_voices import laid_out

from ccvd_cli.engine.adapters import ByPart, attached
from ccvd_cli.engine.aggregate import candidates, fold, speaking, weigh
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.compose import generate, generate_batch, taking_part
from ccvd_cli.engine.concept import Learner
from ccvd_cli.engine.content import Asked, asked_apart
from ccvd_cli.engine.regions import RegionGuidance, Voices
from ccvd_cli.engine.sample import ClassifierFree, StyleApart, sample
from ccvd_cli.regions import parse
from ccvd_cli.settings import SampleSettings

CLIP = SampleSettings(steps=2, frames=5, height=32, width=32, guidance_scale=3.0, style_guidance=1.5)
PROMPT = "a <V1> dog in <V7> style"
LEFT = parse("a <V1> dog in <V7> style @ 0,0,0.5,1")

scales = st.floats(0, 10)


@settings(max_examples=50, deadline=None)
@given(scales, scales)
def test_guidances_add_up(scale: float, style: float) -> None:
    empty, prompted = torch.randn(2, 1, 3, 2, 4, 4)
    together = ClassifierFree(scale + style)
    whole = together(torch.cat([empty, prompted][-together.copies :]))
    assert torch.allclose(
        StyleApart(scale, style)(torch.cat([empty, prompted, prompted])), whole, rtol=1e-4, atol=1e-4
    )
    content = StyleApart(scale, 0.0)(torch.cat([empty, prompted, torch.randn_like(empty)]))
    assert torch.allclose(content, empty + scale * (prompted - empty), rtol=1e-4, atol=1e-4)


def test_each_part_of_a_batch_has_its_own_adapter() -> None:
    one, other = trained(6, 4), trained(6, 4)
    h = torch.randn(12, 5, 6)
    found = ByPart([one, None, other])(h)
    assert torch.allclose(found[:4], one(h[:4]), atol=1e-6) and torch.allclose(
        found[8:], other(h[8:]), atol=1e-6
    )
    assert not found[4:8].any()


def asked_of(base: Base, prompts: list[str], kinds: dict[str, str], **how: object) -> list[list[str]]:
    learners = [concept(base, name, kind) for name, kind in kinds.items()]
    return [
        list(asked.prompts) for asked in asked_apart(Asked(prompts, learners, CLIP.model_copy(update=how)))
    ]


def test_content_is_what_is_said_besides_the_style(unet: Base) -> None:
    kinds = {"V1": "subject", "V3": "motion", "V7": "style"}
    prompt = "a <V1> dog performing <V3> on the beach in <V7> style"
    content, styled = asked_of(unet, [prompt], kinds)
    assert content == ["a <V1> dog performing <V3> on the beach"]
    assert styled == ["a dog performing <V3> on the beach in <V7> style"]
    assert asked_of(unet, ["in <V7> style"], kinds) == [["in <V7> style"]]  # there is nothing else
    assert asked_of(unet, ["a dog"], kinds) == [["a dog"]]
    assert asked_of(unet, [prompt, "a dog"], kinds) == [[prompt, "a dog"]]
    for how in ({"style_guidance": 0.0}, {"aggregation": "mean"}, {"relevance_threshold": 0.1}):
        assert asked_of(unet, [prompt], kinds, **how) == [[prompt]]


def test_regions_are_told_their_content(unet: Base) -> None:
    learners = [concept(unet, "V1"), concept(unet, "V7", "style")]

    def apart(*regions: str) -> list[Asked]:
        placed = tuple(parse(f"{region} @ 0,0,0.5,1") for region in regions)
        return asked_apart(Asked([PROMPT], learners, CLIP.model_copy(update={"regions": placed})))

    for said in ("a <V1> dog in <V7> style", "a <V1> dog"):
        content, styled = apart(said)
        assert [r.prompt for r in content.settings.regions] == ["a <V1> dog"]
        assert [r.prompt for r in styled.settings.regions] == ["a dog in <V7> style"]
        assert [x.name for x in content.learners] == ["V1"] and [x.name for x in styled.learners] == ["V7"]
    assert len(apart("a red dog in <V7> style")) == 1  # a region has to name somebody


@pytest.mark.parametrize("regions", [(), (LEFT,)])
@pytest.mark.parametrize("estimate_of", ["frame", "box"])
def test_next_to_no_style_is_the_clip_without_it(
    base: Base, regions: tuple[object, ...], estimate_of: str
) -> None:
    dog, ink = concept(base, "V1"), concept(base, "V7", "style")
    how = CLIP.model_copy(update={"regions": regions, "estimate_of": estimate_of})
    hardly = generate(base, PROMPT, [dog, ink], how.model_copy(update={"style_guidance": 1e-6}))
    plain = tuple(r.model_copy(update={"prompt": "a <V1> dog"}) for r in regions)  # type: ignore[attr-defined]
    without = generate(base, "a <V1> dog", [dog], how.model_copy(update={"regions": plain}))
    assert torch.allclose(hardly, without, atol=1e-4)
    apart = generate(base, PROMPT, [dog, ink], how)
    together = generate(base, PROMPT, [dog, ink], how.model_copy(update={"style_guidance": 0.0}))
    for one, other in ((apart, without), (apart, together), (together, without)):
        assert torch.isfinite(one).all() and not torch.allclose(one, other, atol=1e-3)


def test_it_is_the_sum_of_three_passes(base: Base) -> None:
    """Each with its own prompt and adapters, one after the other: the empty prompt and the content have the subject's alone."""
    learners = [concept(base, "V1"), concept(base, "V3", "motion"), concept(base, "V7", "style")]
    whole = "a <V1> dog performing <V3> in <V7> style"
    parts = [
        ("a <V1> dog performing <V3>", learners[:2]),
        ("a dog performing <V3> in <V7> style", learners[1:]),
    ]
    shape = (1, *base.latent_shape(CLIP.frames, CLIP.height, CLIP.width))
    moments = torch.arange(CLIP.frames)[None]
    passes = []
    for prompt, who in parts:
        states = base.encode_text([prompt], [x.token_vectors() for x in who])
        shares = weigh(base, [prompt], states, candidates(who), CLIP)
        passes.append((said(base, prompt, states, who, shares, moments), fold(base, who, shares)))
    empty = said(base, "", base.encode_text([""]), [], [], moments), passes[0][1]

    def estimate(latents: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        answers = []
        for text, adapters in (empty, *passes):
            with attached(base.denoiser, adapters):
                answers.append(base.predict(latents, t[None], text))
        nothing, shown, styled = answers
        return nothing + 3.0 * (shown - nothing) + 1.5 * (styled - nothing)

    expected = (base.decode_video(sample(base, estimate, shape, CLIP)) + 1) / 2
    assert torch.allclose(generate(base, whole, learners, CLIP), expected[0], atol=1e-3)


def said(
    base: Base, prompt: str, states: torch.Tensor, who: list[Learner], shares: list, moments: torch.Tensor
) -> torch.Tensor:
    with attached(base.denoiser, speaking(base, [prompt], who, [shares])):
        return base.tell(states, moments)


def test_prompts_of_a_batch_are_each_guided_apart(unet: Base) -> None:
    learners = [concept(unet, "V7", "style")]
    prompts = ["a dog in <V7> style", "a cat in <V7> style"]
    first, _ = generate_batch(unet, prompts, learners, CLIP)
    only = generate(unet, prompts[0], learners, CLIP.model_copy(update={"aggregation": "off"}))
    assert torch.allclose(first, only, atol=1e-3)  # one style weighs 1 in any case


def test_who_takes_part_in_the_content_is_told_too(base: Base) -> None:
    learners = [concept(base, "V1"), concept(base, "V7", "style")]
    rows = [
        (prompt, [(s.name, round(s.mean, 3)) for s in shares])
        for prompt, shares in taking_part(base, PROMPT, learners, CLIP)
    ]
    assert rows == [("", []), ("a <V1> dog", [("V1", 1.0)]), ("a dog in <V7> style", [("V7", 1.0)])]


def test_what_regions_add_to_the_empty_prompt() -> None:
    answers = torch.randn(3, 2, 1, 4, 4)
    found = []
    for added in (False, True):
        voices = Voices(laid_out((LEFT,), (2, 1, 4, 4)), torch.zeros(1, 1, 1, 1), torch.zeros(1, 1), [{}, {}])
        voices.attention.append(torch.tensor([0.2]))
        found.append(RegionGuidance(voices, 3.0, added=added)(answers))
    assert torch.allclose(found[0] - answers[:1], found[1], atol=1e-6)
