"""Styles that are guided apart from what prompts say else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_adapters import trained
from test_aggregate import concept
from test_voices import laid_out

from ccvd_cli.engine.adapters import ByPart, attached
from ccvd_cli.engine.aggregate import Share, fold, speaking
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.compose import generate, generate_batch, taking_part
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
    empty, prompted, bare, styled = torch.randn(4, 1, 3, 2, 4, 4)
    together = ClassifierFree(scale + style)
    whole = together(torch.cat([empty, prompted][-together.copies :]))
    apart = StyleApart(scale, style, same=True)(torch.cat([empty, prompted, prompted]))
    assert torch.allclose(apart, whole, rtol=1e-4, atol=1e-4)
    found = StyleApart(scale, style, same=False)(torch.cat([empty, prompted, bare, styled]))
    content = empty + scale * (prompted - empty)
    assert torch.allclose(found, content + style * (styled - bare), rtol=1e-4, atol=1e-4)


def test_each_part_of_a_batch_has_its_own_adapter() -> None:
    one, other = trained(6, 4), trained(6, 4)
    h = torch.randn(12, 5, 6)
    found = ByPart([one, None, other])(h)
    assert torch.allclose(found[:4], one(h[:4]), atol=1e-6) and torch.allclose(
        found[8:], other(h[8:]), atol=1e-6
    )
    assert not found[4:8].any()


KINDS = {"V1": "subject", "V2": "subject", "V3": "motion", "V7": "style", "V8": "style"}


def asked_of(base: Base, *prompts: str, regions: tuple[str, ...] = (), **how: object) -> list[Asked]:
    learners = [
        concept(base, name, kind) for name, kind in KINDS.items() if any(f"<{name}>" in p for p in prompts)
    ]
    placed = tuple(parse(f"{region} @ 0,0,0.5,1") for region in regions)
    return asked_apart(Asked(prompts, learners, CLIP.model_copy(update={"regions": placed, **how})))


def test_content_is_what_is_said_besides_the_style(unet: Base) -> None:
    prompt = "a <V1> dog performing <V3> on the beach in <V7> style"
    content, styled = asked_of(unet, prompt)
    assert content.prompts == ["a <V1> dog performing <V3> on the beach"]
    assert styled.prompts == ["a dog performing <V3> on the beach in <V7> style"]
    assert [x.name for x in content.learners] == [x.name for x in content.unprompted] == ["V1", "V3"]
    assert [x.name for x in styled.learners] == ["V3", "V7"]
    assert [x.name for x in styled.unprompted] == ["V3"]  # a style is seen against an answer without it
    both, _ = asked_of(unet, "a dog in <V7> style in <V8> style")
    assert both.prompts == ["a dog"] and both.learners == []


@pytest.mark.parametrize(
    ("prompts", "how"),
    [
        (["in <V7> style"], {}),  # there is nothing else
        (["a dog"], {}),
        (["a dog in <V7> style", "a dog"], {}),
        (["a <V7> painting of a dog"], {}),
        (["a dog in <V7> and <V8> style"], {}),
        (["a dog in <V7> style"], {"style_guidance": 0.0}),
        (["a dog in <V7> style"], {"aggregation": "mean"}),
        (["a dog in <V7> style"], {"relevance_threshold": 0.1}),
        (["a <V1> dog in <V7> style"], {"regions": ("a red dog",)}),  # a region has to name somebody
        (["a <V1> dog in <V7> style"], {"regions": ("in <V7> style",)}),
        (
            ["a <V1> dog in <V7> style and a <V2> cat"],
            {"regions": ("a <V1> dog in <V7> style", "a <V2> cat")},
        ),
        (
            ["a <V1> dog in <V7> style and a <V2> cat in <V8> style"],
            {"regions": ("a <V1> dog in <V7> style", "a <V2> cat in <V8> style")},
        ),
    ],
)
def test_elsewhere_styles_are_part_of_the_prompt(
    unet: Base, prompts: list[str], how: dict[str, object]
) -> None:
    (whole,) = asked_of(unet, *prompts, **how)  # type: ignore[arg-type]
    assert list(whole.prompts) == prompts and whole.unprompted == whole.learners


def test_regions_are_told_their_content(unet: Base) -> None:
    for said in (["a <V1> dog in <V7> style", "a <V2> cat in <V7> style"], ["a <V1> dog", "a <V2> cat"]):
        content, styled = asked_of(unet, "a <V1> dog and a <V2> cat in <V7> style", regions=tuple(said))
        assert [r.prompt for r in content.settings.regions] == ["a <V1> dog", "a <V2> cat"]
        # The noun of an untrained concept is "dog".
        assert [r.prompt for r in styled.settings.regions] == [
            "a dog in <V7> style",
            "a dog cat in <V7> style",
        ]
        assert [x.name for x in content.learners] == ["V1", "V2"]
        assert [x.name for x in styled.learners] == ["V7"]


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


def test_it_is_the_sum_of_its_passes(base: Base) -> None:
    """Each with its own prompt and adapters, one after the other."""
    subject, motion, style = concept(base, "V1"), concept(base, "V3", "motion"), concept(base, "V7", "style")
    shape = (1, *base.latent_shape(CLIP.frames, CLIP.height, CLIP.width))
    passes = []
    for prompt, who, adapted in (
        ("", [subject, motion], [subject, motion]),
        ("a <V1> dog performing <V3>", [subject, motion], [subject, motion]),
        ("", [motion], [motion]),
        ("a dog performing <V3> in <V7> style", [motion, style], [motion, style]),
    ):
        states = base.encode_text([prompt], [x.token_vectors() for x in who])
        shares = [Share(x.name, x.kind, "named", torch.ones(base.text_layers)) for x in who]
        with attached(base.denoiser, speaking(base, [prompt], who, [shares if prompt else []])):
            text = base.tell(states, torch.arange(CLIP.frames)[None])
        passes.append((text, fold(base, adapted, shares)))

    def estimate(latents: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        answers = []
        for text, adapters in passes:
            with attached(base.denoiser, adapters):
                answers.append(base.predict(latents, t[None], text))
        empty, content, bare, styled = answers
        return empty + 3.0 * (content - empty) + 1.5 * (styled - bare)

    expected = (base.decode_video(sample(base, estimate, shape, CLIP)) + 1) / 2
    found = generate(base, "a <V1> dog performing <V3> in <V7> style", [subject, motion, style], CLIP)
    assert torch.allclose(found, expected[0], atol=1e-3)


def test_one_region_over_the_whole_frame_is_that_prompt(base: Base) -> None:
    learners = [concept(base, "V1"), concept(base, "V3", "motion"), concept(base, "V7", "style")]
    prompt = "a <V1> dog performing <V3> in <V7> style"
    alone = generate(base, prompt, learners, CLIP)
    for estimate_of in ("frame", "box"):
        how = {"regions": (parse(f"{prompt} @ 0,0,1,1"),), "estimate_of": estimate_of}
        placed = generate(base, prompt, learners, CLIP.model_copy(update=how))
        assert torch.allclose(placed, alone, atol=1e-3)


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


def test_a_schedule_holds_adapters_back_in_every_part(unet: Base) -> None:
    learners = [concept(unet, "V1"), concept(unet, "V7", "style")]
    held = generate(unet, PROMPT, learners, CLIP.model_copy(update={"subject_schedule": "0"}))
    bare = [replace(learner, adapters={}) for learner in learners]
    assert torch.allclose(held, generate(unet, PROMPT, bare, CLIP), atol=1e-4)


def test_pictures_and_frames_in_windows_are_in_a_style_too(base: Base) -> None:
    learners = [concept(base, "V1"), concept(base, "V7", "style")]
    for how in ({"frames": 1}, {"width": 64, "windows": True}):
        asked = CLIP.model_copy(update=how)
        apart = generate(base, PROMPT, learners, asked)
        together = generate(base, PROMPT, learners, asked.model_copy(update={"style_guidance": 0.0}))
        assert torch.isfinite(apart).all() and not torch.allclose(apart, together, atol=1e-3)
