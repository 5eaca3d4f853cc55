"""Styles that are guided apart: what a prompt shows, and how it is drawn.

A style that is learned from a few pictures has learned what they show as well: guided together with the rest of a prompt, it replaces the
things that the prompt names, and a subject's adapters and a style's melt into something that is neither. So a prompt is asked twice
(`sample.StyleApart`): without its styles, and in its styles with nouns in the place of its subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..prompts import plainly
from ..settings import SampleSettings
from .concept import Learner


class Asked(NamedTuple):
    """Prompts, who may take part in them, and how they are sampled."""

    prompts: Sequence[str]
    learners: Sequence[Learner]
    settings: SampleSettings


def asked_apart(asked: Asked) -> list[Asked]:
    """The content, and the same in the styles that all of the prompts name; or only what is asked for, where these are not guided apart.

    So it is if nobody wants it, if concepts may take part that no prompt names, or if without its style a prompt would say nothing, or a
    region name nobody.
    """
    prompts, learners, settings = asked
    styles = [x for x in learners if x.kind == "style" and all(f"<{x.name}>" in prompt for prompt in prompts)]
    if not styles or not settings.style_guidance or settings.open_to_others:
        return [asked]
    content = _without(asked, styles)
    said = [*content.prompts, *(region.prompt for region in content.settings.regions)]
    if not all(said) or not all(region.names for region in content.settings.regions):
        return [asked]
    return [content, _in_styles(_without(asked, [x for x in learners if x.kind == "subject"]), styles)]


def _without(asked: Asked, some: Sequence[Learner]) -> Asked:
    """The same as if some concepts had no name: nouns say what subjects are, and of styles nothing is said."""
    known = {x.name: (x.kind, x.class_noun if x.kind == "subject" else "") for x in some}
    learners = [x for x in asked.learners if x.name not in known]
    prompts = [plainly(prompt, known).strip() for prompt in asked.prompts]
    regions = [plainly(region.prompt, known).strip() for region in asked.settings.regions]
    return Asked(prompts, learners, _told_in_regions(asked.settings, regions))


def _in_styles(asked: Asked, styles: Sequence[Learner]) -> Asked:
    """Every region is in the styles that the prompts name."""
    regions = []
    for region in asked.settings.regions:
        lacking = [f"in <{x.name}> style" for x in styles if x.name not in region.names]
        regions.append(" ".join([region.prompt, *lacking]))
    return asked._replace(settings=_told_in_regions(asked.settings, regions))


def _told_in_regions(settings: SampleSettings, prompts: Sequence[str]) -> SampleSettings:
    regions = tuple(
        region.model_copy(update={"prompt": prompt})
        for region, prompt in zip(settings.regions, prompts, strict=True)
    )
    return settings.model_copy(update={"regions": regions})
