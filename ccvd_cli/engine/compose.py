"""A prompt and its concepts become a clip: who takes part, what each row of the batch reads, who is where; then the sampling loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import CcvdError
from ..prompts import named
from ..schedule import weights
from ..settings import SampleSettings
from .adapters import ByPart, Wide, attached
from .aggregate import Share, candidates, fold, speaking, weigh
from .bases.contract import Base, Site
from .concept import Learner
from .content import Asked, asked_apart
from .path_following import led
from .regions import EMPTY, FIRST, PROMPT, Layout, RegionGuidance, Turn, Voices, boxes_of, in_latents, spoken
from .sample import (
    ClassifierFree,
    Guidance,
    OnStep,
    Start,
    StyleApart,
    guided,
    ignore,
    initial,
    sample,
    summed,
    windowed,
    windows_of,
)
from .windows import Estimate, Window, blended, through

Row = tuple[str, Sequence[Share]]  # a prompt, and who takes part in it


@torch.no_grad()
def generate_batch(
    base: Base,
    prompts: Sequence[str],
    learners: Sequence[Learner],
    settings: SampleSettings,
    on_step: OnStep = ignore,
    start: Start | None = None,
) -> Tensor:
    """Clips (B, F, 3, H, W) in [0, 1] on the CPU: one per prompt, all with the same learners; sample i starts from its own noise.

    Raises:
        UsageError: a size that the base cannot make.
        CcvdError: what comes out is not a number.
        ValueError: several prompts with regions.
    """
    if settings.regions and len(prompts) > 1:
        raise ValueError(f"regions belong to one prompt, not to {list(prompts)}")
    asked = Asked(prompts, learners, settings)
    each = [led(base, asked._replace(prompts=[prompt])) for prompt in prompts]
    if not any(one.settings.regions for one in each):
        return _without_regions(base, asked, on_step, start)
    noise = start or Start(initial(base, (len(prompts), *_shape(base, settings)), settings), 0)
    clips = []
    for k, one in enumerate(each):
        make = _in_regions if one.settings.regions else _without_regions
        report = partial(_in_turn, on_step, k, len(each))
        clips.append(make(base, one, report, noise._replace(latents=noise.latents[k : k + 1])))
    return torch.cat(clips)


def _shape(base: Base, settings: SampleSettings) -> tuple[int, ...]:
    return base.latent_shape(settings.frames, settings.height, settings.width)


def _in_turn(on_step: OnStep, turn: int, turns: int, step: int, total: int) -> None:
    on_step(turn * total + step, turns * total)


def _without_regions(base: Base, asked: Asked, on_step: OnStep, start: Start | None) -> Tensor:
    """Clips of prompts that are heard in the whole frame, as one batch."""
    prompts, learners, settings = asked.prompts, asked.learners, asked.settings
    shape = (len(prompts), *_shape(base, settings))
    asks = asked_apart(asked)
    empty = base.encode_text([""]).expand(len(prompts), -1, -1, -1)
    rows, states, folded = list[Row](), list[Tensor](), list[dict[Site, Wide]]()
    for one in asks:
        said, who = one.prompts, one.learners
        prompted = base.encode_text(said, [x.token_vectors() for x in who])
        shares = weigh(base, said, prompted, candidates(who), settings)
        acting = fold(base, who, shares)
        if one is asks[0] or not one.empty_as(asks[0]):
            rows += [("", [])] * len(prompts)
            states.append(empty)
            folded.append(fold(base, one.unprompted, shares) if one.aside else acting)
        rows += [(prompt, shares) for prompt in said]
        states.append(prompted)
        folded.append(acting)
    text = _told(base, rows, torch.cat(states), learners, settings)
    guidance: Guidance = ClassifierFree(settings.guidance_scale)
    adapters: Mapping[Site, nn.Module] = folded[-1]
    if len(asks) > 1:
        guidance = StyleApart(settings.guidance_scale, settings.style_guidance, same=len(folded) == 3)
        adapters = _by_part(folded)
    estimate = windowed(base, shape, settings, guided(base, text, guidance))
    follow = _schedule(folded, settings)
    with _as_clip(base, settings), attached(base.denoiser, adapters):
        latents = sample(base, estimate, shape, settings, on_step, follow, start)
    return _shown(base, latents)


def _by_part(folded: Sequence[Mapping[Site, Wide]]) -> dict[Site, ByPart]:
    """What acts in each part of a batch."""
    sites = dict.fromkeys(site for adapters in folded for site in adapters)
    return {site: ByPart([adapters.get(site) for adapters in folded]) for site in sites}


def _in_regions(base: Base, asked: Asked, on_step: OnStep, start: Start | None) -> Tensor:
    """A clip whose regions have prompts and adapters of their own. A concept that no region names (a style, say) acts everywhere."""
    settings, shape = asked.settings, _shape(base, asked.settings)
    views = windows_of(base, shape, settings)
    apart = asked_apart(asked)
    casts = [_heard(base, one, views, shape[1]) for one in apart]
    turn = Turn(casts[0].windows[0][0])

    def estimate_of(window: int) -> Estimate:
        """A style that is guided apart adds to what guides the content."""
        estimates = []
        for k, cast in enumerate(casts):
            voices, said = cast.windows[window]
            scale = settings.style_guidance if k else settings.guidance_scale
            guidance = RegionGuidance(voices, scale, added=k > 0)
            estimates.append(turn.given(voices, guided(base, said, guidance)))
        return summed(estimates)

    adapters = [folded for cast in casts for folded in cast.adapters]
    follow = _schedule(adapters, settings)
    with (
        _as_clip(base, settings),
        spoken(base, turn, adapters) as regional,
        attached(base.denoiser, regional),
    ):
        estimate = blended([(view, estimate_of(k)) for k, view in enumerate(views)])
        latents = sample(base, estimate, (1, *shape), settings, on_step, follow, start)
    return _shown(base, latents)


class _Heard(NamedTuple):
    """By window, what is said there and what the text of its rows is; and the adapters of the prompt and of each region."""

    windows: list[tuple[Voices, Tensor]]
    adapters: list[dict[Site, Wide]]


def _heard(base: Base, asked: Asked, views: Sequence[Window], frames: int) -> _Heard:
    """What is said in regions, in as many frames of latents."""
    learners, settings = asked.learners, asked.settings
    rows, states = _cast(base, asked)
    text = _told(base, rows, states, learners, settings)
    said_at = [[base.places([r.prompt], f"<{n}>").named[0] for n in r.names] for r in settings.regions]
    concepts = torch.stack([torch.stack(places).any(0) for places in said_at]).float()
    adapters = [fold(base, learners, shares) for _, shares in rows[PROMPT:]]
    bare = [fold(base, asked.unprompted, shares) for _, shares in rows[PROMPT:]] if asked.aside else None
    boxes = in_latents(boxes_of(settings.regions, settings.frames), frames)
    windows = []
    for j, (window, inside) in enumerate(zip(views, through(views, boxes), strict=True)):
        inside[[k for k in asked.housed if k != j]] = 0.0
        beside = FIRST + j if j in asked.housed else PROMPT
        heard = _window_voices(base, window, inside, text, concepts, (adapters, bare), settings, beside)
        windows.append(heard)
    return _Heard(windows, adapters)


def _window_voices(
    base: Base,
    window: Window,
    boxes: Tensor,
    text: Tensor,
    concepts: Tensor,
    acting: tuple[list[dict[Site, Wide]], list[dict[Site, Wide]] | None],
    settings: SampleSettings,
    beside: int,
) -> tuple[Voices, Tensor]:
    """What a window hears of the regions, whose boxes (K, F, 4) are empty where it hears nothing; and the text of its rows.

    beside: the row that it hears beside them.
    """
    adapters, bare = acting
    own = (boxes[..., 2:] > boxes[..., :2]).all(-1).any(-1).nonzero().flatten().tolist()  # in any frame
    placed = base.situate(text[[FIRST + k for k in own]], boxes[own])
    height, width = window.share.shape
    voices = Voices(
        Layout(boxes[own], height, width, base.device),
        placed,
        concepts[own],
        [adapters[beside - PROMPT], *(adapters[1 + k] for k in own)],
        bare=None if bare is None else [bare[beside - PROMPT], *(bare[1 + k] for k in own)],
        attend=settings.region_attention,
        guided=settings.noise_guidance,
        elsewhere=text[:1] if settings.estimate_of == "box" else None,
    )
    # Where there is no region, nothing guides; where there is nothing else, the prompt's estimate is the region's own.
    voices.guided &= bool(own) and not (voices.attend and voices.alone)
    told = text[[EMPTY, beside]]
    if placed.ndim > told.ndim:  # frames read their own boxes, then
        told = told[:, :, None].expand(-1, -1, settings.frames, -1, -1)
    return voices, torch.cat([told, placed])[: voices.rows]


@torch.no_grad()
def taking_part(base: Base, prompt: str, learners: Sequence[Learner], settings: SampleSettings) -> list[Row]:
    """The rows of a clip in regions: the empty prompt, the prompt and each region's, and who takes part in them.

    In a region these are the concepts of its prompt; and motions and styles that no region names, which act everywhere, as do those that the
    clip's prompt and all regions name, and whoever may join though nobody named them. They are weighed by what the region's prompt and the
    clip's say together. Where styles are guided apart, the same rows come without them, and then in them.

    Raises:
        ValueError: a region names nobody, or somebody who is not among the learners.
    """
    casts = [_cast(base, asked)[0] for asked in asked_apart(Asked([prompt], learners, settings))]
    return [*casts[0], *(row for rows in casts[1:] for row in rows[PROMPT:])]


def _cast(base: Base, asked: Asked) -> tuple[list[Row], Tensor]:
    """The rows of what is asked for, and their text states (R, L, T, D)."""
    (prompt,), learners, settings = asked.prompts, asked.learners, asked.settings
    rows = ["", prompt, *(r.prompt for r in settings.regions)]
    within, known = [set(r.names) for r in settings.regions], {x.name for x in learners}
    for region, own in zip(settings.regions, within, strict=True):
        if not own or own - known:
            raise ValueError(
                f"the region '{region}' names {sorted(own) or 'nobody'}; known are {sorted(known)}"
            )
    pictured = {x.name for x in learners if x.kind != "subject"}
    alone = known - set().union(*within)
    anywhere = alone & pictured
    alone |= pictured.intersection(named(prompt), *within)
    anywhere |= known.difference(named(prompt), *within)
    states = base.encode_text(rows, [x.token_vectors() for x in learners])
    shares: list[list[Share]] = [[]]
    for i, names in enumerate([alone, *(anywhere | own for own in within)], 1):
        # Where others join, who has a box has a share of the prompt too, and is silent outside of it: else they would have all of it there.
        counted = known if settings.open_to_others and i == PROMPT else names
        who = candidates([x for x in learners if x.name in counted])
        weighed = weigh(base, [rows[i], prompt], states[[i, 1]], who, settings)
        shares.append([share for share in weighed if share.name in names])
    return list(zip(rows, shares, strict=True)), states


def _shown(base: Base, latents: Tensor) -> Tensor:
    """Frames in [0, 1] on the CPU. Raises CcvdError if they are not numbers: written out, that would be black."""
    frames = (base.decode_video(latents).cpu() + 1) / 2
    if not frames.isfinite().all():
        precision = str(base.dtype).removeprefix("torch.")
        raise CcvdError(
            f"what base {base.name} made in {precision} is not a number",
            "try --dtype float32; if that does not help, learn again what the prompt names, with a smaller --lr",
        )
    return frames


def _told(
    base: Base, rows: Sequence[Row], text: Tensor, learners: Sequence[Learner], settings: SampleSettings
) -> Tensor:
    """What frames read of rows. A picture has no moment."""
    if settings.frames == 1:
        return text
    prompts, shares = [prompt for prompt, _ in rows], [who for _, who in rows]
    with attached(base.denoiser, speaking(base, prompts, learners, shares)):
        return base.tell(text, torch.arange(settings.frames)[None])


def _as_clip(base: Base, settings: SampleSettings) -> AbstractContextManager[None]:
    return base.still() if settings.frames == 1 else nullcontext()


def _schedule(folded: Iterable[Mapping[Site, Wide]], settings: SampleSettings) -> Callable[[int], None]:
    """Sets the strength of the subjects' adapters before every step."""
    wides = [w for adapters in folded for site, w in adapters.items() if site.kind == "spatial"]
    strengths = weights(settings.subject_schedule, settings.steps)

    def before_step(i: int) -> None:
        for wide in wides:
            wide.strength = strengths[i]

    return before_step


def generate(
    base: Base,
    prompt: str,
    learners: Sequence[Learner],
    settings: SampleSettings,
    on_step: OnStep = ignore,
) -> Tensor:
    """One clip, (F, 3, H, W) in [0, 1]. Raises UsageError for a size that the base cannot make."""
    return generate_batch(base, [prompt], learners, settings, on_step)[0]
