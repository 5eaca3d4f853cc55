"""Making a clip anew under another prompt: part of the way to noise, and back with the named concepts.

Two ways there. `start_noised` adds noise (SDEdit, arXiv 2108.01073): what is lost is drawn by chance, so the seed counts. `start_inverted`
runs DDIM backwards (arXiv 2010.02502, section 4.3): noise from which the base would make this very clip, so more of it stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..settings import EditSettings, SampleSettings
from .bases.contract import Base
from .compose import generate_batch
from .concept import Learner
from .sample import ClassifierFree, Start, guided, seeded_noise, windowed


def first_step(strength: float, steps: int) -> int:
    """The first of `steps` that is taken: their last share of `strength`, one at least, is."""
    return steps - max(1, round(strength * steps))


def start_noised(base: Base, latents: Tensor, settings: SampleSettings, strength: float) -> Start | None:
    """Latents (B, C, F, h, w) with the noise of `settings.seed`, as much as there is before the first step taken.

    None at a strength of 1: then sampling starts from that noise alone, as it does without a clip.
    """
    if strength == 1:
        return None
    first = first_step(strength, settings.steps)
    scheduler = base.scheduler(settings.scheduler, settings.steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    noise = seeded_noise(latents.shape, settings.seed, base.device)
    timesteps = scheduler.timesteps[first].expand(len(latents))
    return Start(scheduler.add_noise(latents, noise, timesteps), first)


@torch.no_grad()
def start_inverted(
    base: Base,
    latents: Tensor,
    source_prompt: str,
    settings: SampleSettings,
    strength: float,
    on_step: Callable[[int, int], None] = lambda step, total: None,
) -> Start:
    """Latents (B, C, F, h, w), F above 1, from which DDIM under `source_prompt`, unguided, would come back to these.

    The base alone reads the clip: no concept is attached. Sampling has to go on with the scheduler "ddim", whose timesteps these are.
    """
    first = first_step(strength, settings.steps)
    scheduler = base.scheduler("ddim-inverse", settings.steps)
    text = base.encode_text([source_prompt]).expand(len(latents), -1, -1, -1)
    text = base.tell(text, torch.arange(latents.shape[2])[None])
    estimate = windowed(base, latents.shape, settings, guided(base, text, ClassifierFree(1)))
    climbed = scheduler.timesteps[: settings.steps - first]
    on_device = climbed.to(base.device)
    for i, t in enumerate(climbed.tolist()):
        latents = scheduler.step(estimate(latents, on_device[i]), t, latents).prev_sample
        on_step(i + 1, len(climbed))
    return Start(latents, first)


def edit(
    base: Base,
    frames: Tensor,
    prompt: str,
    learners: Sequence[Learner],
    settings: SampleSettings,
    how: EditSettings,
    on_step: Callable[[str, int, int], None] = lambda stage, step, total: None,
) -> Tensor:
    """The clip `frames` (F, 3, H, W) in [-1, 1], made anew under `prompt`: (F, 3, H, W) in [0, 1] on the CPU.

    F, H and W go before those of `settings`. `on_step` hears a stage ("inverting", "sampling"), a step and how many there are.

    Raises:
        UsageError: a size, or so many frames, that the base cannot make.
    """
    given, _, height, width = frames.shape
    count = base.frames_for(given)
    base.latent_shape(count, height, width)
    sized = {"frames": count, "height": height, "width": width}
    settings = settings.model_copy(update={**sized, "path_strength": 0.0})  # things go where they went
    frames = torch.cat([frames, frames[-1:].expand(count - given, -1, -1, -1)])  # it stands still at the end
    latents = base.encode_video(frames[None])
    if how.method == "ddim":
        settings = settings.model_copy(update={"scheduler": "ddim"})
        start: Start | None = start_inverted(
            base,
            latents,
            how.source_prompt,
            settings,
            how.strength,
            lambda step, total: on_step("inverting", step, total),
        )
    else:
        start = start_noised(base, latents, settings, how.strength)
    sampled = generate_batch(
        base, [prompt], learners, settings, lambda step, total: on_step("sampling", step, total), start
    )
    return sampled[0][:given]
