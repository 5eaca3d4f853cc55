"""Who performs a motion is led along its path: a region of the prompt whose boxes are the path's (after TrailBlazer, arXiv 2401.00896).

What a motion's adapter beside the clock has to say is mostly where things are when; and it says so in the colours and shapes of its clips. A
base that was told boxes knows better: where a path leads, that adapter is silent, unless the motion is said elsewhere too. Those of the temporal
layers act as ever.
"""

from __future__ import annotations

from dataclasses import replace

from ..leading import leaders, led_regions
from ..row import fills_windows
from .bases.contract import Base
from .concept import Learner
from .content import Asked


def led(base: Base, asked: Asked) -> Asked:
    """What is asked for of one prompt, with boxes that follow paths (`leading.leaders`); the same where nobody is led.

    Without regions the whole prompt is one. In regions a path leads within their boxes. Where these are windows of their own, the rest of a
    window is its region's, too.
    """
    (prompt,), settings = asked.prompts, asked.settings
    paths = {x.name: x.path.tolist() for x in asked.learners if x.kind == "motion" and x.path is not None}
    leading = leaders(prompt, {x.name: x.kind for x in asked.learners}, paths, settings)
    if not any(leading):
        return asked
    regions = led_regions(prompt, leading, paths, settings)
    speaking = {
        name for region, leader in zip(regions, leading, strict=True) if not leader for name in region.names
    }
    learners = [silent(base, x) if x.name in {*leading} - speaking else x for x in asked.learners]
    housed = fills_windows(settings, base.own_size)
    return asked._replace(
        learners=learners,
        settings=settings.model_copy(update={"regions": regions}),
        housed=frozenset(k for k, name in enumerate(leading) if name and housed),
    )


def silent(base: Base, learner: Learner) -> Learner:
    """The same without its adapter beside the clock."""
    beside = {site.name for site in base.sites_of("moment")}
    return replace(learner, adapters={s: a for s, a in learner.adapters.items() if s not in beside})
