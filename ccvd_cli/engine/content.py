"""Styles that are guided apart: what a prompt shows, and how it is drawn.

A style that is learned from a few pictures has learned what they show as well: guided together with the rest of a prompt, it replaces the
things that the prompt names, and a subject's adapters and a style's melt into something that is neither. So a prompt is asked twice
(`sample.StyleApart`): without its styles, and in its styles with nouns in the place of its subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..apart import content, in_regions
from ..prompts import plainly
from ..settings import SampleSettings
from .concept import Learner


class Asked(NamedTuple):
    """Prompts, who may take part in them, and how they are sampled; `aside`: whose adapters leave the empty prompt's answer alone.

    Of a style, most is what its adapters change in any picture: only against an answer without them is it seen. housed: regions that are led,
    each within the window of its number, which is all its own (path_following.py).
    """

    prompts: Sequence[str]
    learners: Sequence[Learner]
    settings: SampleSettings
    aside: frozenset[str] = frozenset()
    housed: frozenset[int] = frozenset()

    @property
    def unprompted(self) -> list[Learner]:
        """Whoever acts on the empty prompt too."""
        return [x for x in self.learners if x.name not in self.aside]

    def empty_as(self, other: Asked) -> bool:
        """Whether the empty prompt has the same answer."""
        return [x.name for x in self.unprompted] == [x.name for x in other.unprompted]


def asked_apart(asked: Asked) -> list[Asked]:
    """The content, and the same in its styles; or only what is asked for, where these are not guided apart (`apart.content`)."""
    prompts, learners, settings = asked.prompts, asked.learners, asked.settings
    styles = [x for x in learners if x.kind == "style"]
    found = content(prompts, [x.name for x in styles], settings)
    if found is None:
        return [asked]
    without = [x for x in learners if x not in styles]
    said, told = found
    shown = asked._replace(prompts=said, learners=without, settings=told)
    return [shown, _in_styles(asked, styles)]


def _in_styles(asked: Asked, styles: Sequence[Learner]) -> Asked:
    """Nouns in the place of subjects; and every region is in the styles that the prompts name."""
    nouns = {x.name: (x.kind, x.class_noun) for x in asked.learners if x.kind == "subject"}
    regions = []
    for region in asked.settings.regions:
        lacking = [f"in <{x.name}> style" for x in styles if x.name not in region.names]
        regions.append(" ".join([plainly(region.prompt, nouns), *lacking]))
    return asked._replace(
        prompts=[plainly(prompt, nouns) for prompt in asked.prompts],
        learners=[x for x in asked.learners if x.name not in nouns],
        settings=in_regions(asked.settings, regions),
        aside=frozenset(x.name for x in styles),
    )
