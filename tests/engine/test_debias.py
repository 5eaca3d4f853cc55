"""MotionDirector's appearance-debiased loss: only how frames differ is left in full."""

from __future__ import annotations

import pytest
import torch
from test_learn_and_sample import QUICK, clips, pictures

from ccvd_cli.engine import losses
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.learn import learn_motion, learn_subject
from ccvd_cli.engine.losses import debiased, diffusion_loss, noised


def test_phi_is_taken_from_each_samples_own_frame() -> None:
    e, anchors = torch.randn(2, 3, 4, 5, 5), torch.tensor([3, 0])
    phi = debiased(e, anchors)
    assert phi.shape == e.shape
    assert torch.allclose(phi[0, :, 1], 2**0.5 * e[0, :, 1] - e[0, :, 3])
    assert torch.allclose(phi[1, :, 2], 2**0.5 * e[1, :, 2] - e[1, :, 0])


def test_an_error_that_all_frames_share_costs_less_than_one_that_differs() -> None:
    anchors = torch.zeros(1, dtype=torch.long)
    shared = torch.ones(1, 1, 8, 4, 4)
    differs = shared * torch.tensor([1.0, -1.0] * 4)[:, None, None]
    assert debiased(shared, anchors).square().mean() < 0.2
    assert debiased(differs, anchors).square().mean() > 2.9


@torch.no_grad()
def loss(base: Base, frames: int, debias: float) -> float:
    torch.manual_seed(3)
    latents, text = torch.randn(2, *base.latent_shape(frames, 32, 32)), base.encode_text(["a dog"])
    chance = torch.Generator().manual_seed(7)
    sample = noised(base, latents, chance)
    return float(diffusion_loss(base, sample, text.expand(2, -1, -1, -1), chance, debias=debias))


def test_it_is_added_to_the_loss_of_clips_and_not_of_pictures(base: Base) -> None:
    plain, once, twice = (loss(base, 5, weight) for weight in (0.0, 1.0, 2.0))
    assert once > plain and twice - once == pytest.approx(once - plain, rel=1e-3)
    assert loss(base, 1, 1.0) == loss(base, 1, 0.0)


def test_a_motion_learns_otherwise_and_a_subject_does_not(base: Base) -> None:
    def learned(kind: str, weight: float) -> bytes:
        torch.manual_seed(0)
        recipe = QUICK.model_copy(update={"debias_weight": weight, "token_steps": 1, "adapter_steps": 3})
        if kind == "motion":
            return learn_motion(
                base, clips(), name="V2", class_noun="spinning", recipe=recipe
            ).adapter_bytes()
        return learn_subject(base, pictures(), name="V1", class_noun="dog", recipe=recipe).adapter_bytes()

    assert learned("motion", 1.0) != learned("motion", 0.0)
    assert learned("subject", 1.0) == learned("subject", 0.0)


def test_any_frame_may_be_the_anchor(unet: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    anchors: list[int] = []
    monkeypatch.setattr(
        losses, "debiased", lambda e, chosen: anchors.extend(chosen.tolist()) or debiased(e, chosen)
    )
    monkeypatch.setattr(type(unet), "predict", lambda self, x, *_: torch.zeros_like(x))
    chance = torch.Generator().manual_seed(0)
    latents, text = torch.randn(8, *unet.latent_shape(5, 32, 32)), unet.encode_text(["a dog"])
    for _ in range(5):
        diffusion_loss(unet, noised(unet, latents, chance), text, chance, debias=1.0)
    assert set(anchors) == {0, 1, 2, 3, 4}


def test_offset_noise_is_one_value_for_each_sample_channel_and_frame(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(
        type(base), "noise_and_target", lambda self, x, noise, t: seen.append(noise) or (noise, noise)
    )
    latents = torch.zeros(8, 4, 4, 16, 16)
    for offset in (0.0, 5.0):
        noised(base, latents, torch.Generator().manual_seed(0), offset_noise=offset)
    plain, shifted = (noise.mean((3, 4)) for noise in seen)
    assert plain.std() < 0.1 and 4 < shifted.std() < 6
    assert (seen[1] - seen[0]).std((3, 4)).max() < 1e-5  # the same for all of a frame
