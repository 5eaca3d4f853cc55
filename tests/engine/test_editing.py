"""Making a clip anew: how much of it stays, and what chance decides. On tiny untrained models."""

from __future__ import annotations

import pytest
import torch

from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.compose import generate
from ccvd_cli.engine.concept import Learner
from ccvd_cli.engine.edit import edit, first_step, start_inverted, start_noised
from ccvd_cli.engine.learn import learn_subject
from ccvd_cli.engine.sample import ClassifierFree, guided, sample
from ccvd_cli.errors import UsageError
from ccvd_cli.settings import EditSettings, Recipe, SampleSettings

CLIP = SampleSettings(steps=10, frames=5, height=32, width=32, guidance_scale=3.0, seed=3)


@pytest.fixture
def clip() -> torch.Tensor:
    """(F, 3, H, W) in [-1, 1]."""
    return torch.rand(5, 3, 32, 32) * 2 - 1


def unit_latents(base: Base) -> torch.Tensor:
    """As spread as those of a trained autoencoder."""
    return torch.randn(1, *base.latent_shape(5, 32, 32))


@pytest.mark.parametrize(
    ("strength", "steps", "first"), [(1, 25, 0), (0.6, 25, 10), (0.001, 25, 24), (0.5, 1, 0), (0.04, 50, 48)]
)
def test_the_last_share_of_the_steps_is_taken(strength: float, steps: int, first: int) -> None:
    assert first_step(strength, steps) == first


@pytest.mark.parametrize("scheduler", ["dpm++", "ddim"])
def test_a_little_strength_leaves_nearly_the_clip_and_more_leaves_less(base: Base, scheduler: str) -> None:
    """In these, of a variance of 1: 0.001 to 0.12 at a strength of 0.01, then 0.24 to 0.63, and 1.7 or more."""
    settings = CLIP.model_copy(update={"scheduler": scheduler, "guidance_scale": 1.0})
    latents, text = unit_latents(base), base.encode_text(["", "a dog"])
    distances = []
    for strength in (0.01, 0.3, 0.9):
        start = start_noised(base, latents, settings, strength)
        made = sample(
            base, guided(base, text, ClassifierFree(1)), tuple(latents.shape), settings, start=start
        )
        distances.append(float((made - latents).square().mean()))
    assert distances[0] < 0.15 < distances[1] < distances[2]


@pytest.mark.parametrize("scheduler", ["dpm++", "ddim"])
def test_at_full_strength_nothing_of_the_clip_is_left(base: Base, clip: torch.Tensor, scheduler: str) -> None:
    settings = CLIP.model_copy(update={"scheduler": scheduler})
    made = edit(base, clip, "a dog", [], settings, EditSettings(strength=1))
    assert torch.equal(made, generate(base, "a dog", [], settings))
    nearly = edit(base, clip, "a dog", [], settings, EditSettings(strength=0.9))
    assert not torch.allclose(nearly, made, atol=1e-3)


@pytest.mark.parametrize("scheduler", ["dpm++", "ddim"])
def test_the_noise_is_that_of_the_step_it_starts_at(unet: Base, scheduler: str) -> None:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e, at the timestep of the first step that is taken."""
    settings = CLIP.model_copy(update={"scheduler": scheduler})
    latents = torch.ones(1, 4, 4, 8, 8)
    start = start_noised(unet, latents, settings, 0.6)
    assert start is not None and start.first == 4
    schedule = unet.scheduler(scheduler, settings.steps)
    alpha = float(schedule.alphas_cumprod[int(schedule.timesteps[4])])
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3))
    wanted = alpha**0.5 * latents + (1 - alpha) ** 0.5 * noise
    assert torch.allclose(start.latents, wanted, atol=1e-3)


def test_a_seed_is_a_clip(base: Base, clip: torch.Tensor) -> None:
    how = EditSettings(strength=0.5)
    first = edit(base, clip, "a dog", [], CLIP, how)
    assert first.shape == (5, 3, 32, 32) and first.min() >= 0 and first.max() <= 1
    assert torch.equal(edit(base, clip, "a dog", [], CLIP, how), first)
    assert not torch.equal(edit(base, clip, "a dog", [], CLIP.model_copy(update={"seed": 4}), how), first)
    assert not torch.equal(edit(base, clip, "a cat", [], CLIP, how), first)


def test_inversion_is_undone_by_sampling_unguided_under_the_same_prompt(base: Base) -> None:
    """Measured: 0.006 (mini) and 0.004 (unet3d) of a variance of 1, and more under another prompt; noise of this strength leaves 0.9."""
    settings = CLIP.model_copy(update={"steps": 20, "scheduler": "ddim", "guidance_scale": 1.0})
    latents = unit_latents(base)
    told = base.tell(base.encode_text(["", "a dog"]), torch.arange(4)[None])

    def back(source: str) -> float:
        start = start_inverted(base, latents, source, settings, 0.6)
        assert (start.latents - latents).square().mean() > 0.05  # it went somewhere
        made = sample(
            base, guided(base, told, ClassifierFree(1)), tuple(latents.shape), settings, start=start
        )
        return float((made - latents).square().mean())

    same, other = back("a dog"), back("a blue car in the city")
    assert same < 0.012 and same < other


def test_inversion_draws_nothing_by_chance_and_hears_the_source(base: Base, clip: torch.Tensor) -> None:
    def made(source: str, seed: int) -> torch.Tensor:
        how = EditSettings(strength=0.6, method="ddim", source_prompt=source)
        return edit(base, clip, "a cat", [], CLIP.model_copy(update={"seed": seed}), how)

    assert torch.equal(made("", 1), made("", 2))
    assert not torch.equal(made("", 1), made("a dog", 1))


def test_concepts_take_part_but_not_in_reading_the_clip(
    base: Base, clip: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(
        token_steps=0, adapter_steps=1, token_lr=1e-2, adapter_lr=1e-2, batch_size=1, text_dropout=0
    )
    subject = learn_subject(base, [clip[0]], name="V1", class_noun="dog", recipe=recipe)
    for adapter in subject.adapters.values():
        torch.nn.init.normal_(adapter.up.weight, std=0.5)
    settings = CLIP.model_copy(update={"steps": 4})

    def heard(learners: list[Learner], method: str) -> tuple[list[str], torch.Tensor]:
        how = EditSettings(strength=0.5, method=method)  # type: ignore[arg-type]
        stages: list[str] = []
        busy: list[bool] = []
        real = type(base).predict
        hooks = base.denoiser.get_submodule(base.sites_of("spatial")[0].name)

        def listen(self: Base, *arguments: torch.Tensor) -> torch.Tensor:
            busy.append(bool(hooks._forward_hooks))
            return real(self, *arguments)

        monkeypatch.setattr(type(base), "predict", listen)
        made = edit(
            base,
            clip,
            "a <V1>" if learners else "a dog",
            learners,
            settings,
            how,
            lambda s, *_: stages.append(s),
        )
        monkeypatch.setattr(type(base), "predict", real)
        assert busy == [bool(learners) and stage == "sampling" for stage in stages]
        return stages, made

    assert heard([], "noise")[0] == ["sampling"] * 2
    stages, plain = heard([], "ddim")
    assert stages == ["inverting"] * 2 + ["sampling"] * 2
    assert not torch.allclose(heard([subject], "ddim")[1], plain, atol=1e-3)


def test_sizes_that_the_base_cannot_make(base: Base) -> None:
    with pytest.raises(UsageError, match="30 is not a multiple"):
        edit(base, torch.zeros(4, 3, 30, 32), "a dog", [], CLIP, EditSettings())


def test_every_frame_of_a_clip_is_read_at_its_own_moment(unet: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[int]] = []
    real = type(unet).tell
    monkeypatch.setattr(
        type(unet),
        "tell",
        lambda self, text, moments: told.append(moments.flatten().tolist()) or real(self, text, moments),
    )
    start_inverted(unet, unit_latents(unet), "a dog", CLIP.model_copy(update={"steps": 2}), 0.5)
    assert told == [[0, 1, 2, 3, 4]]
