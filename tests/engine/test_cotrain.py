"""Subjects that are learned side by side: each in its half, each with learners of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_learn_and_sample import CLIP, QUICK, pictures, stored
from torch import nn

from ccvd_cli.engine import cotrain
from ccvd_cli.engine.adapters import attached
from ccvd_cli.engine.bases import open_base
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.compose import generate
from ccvd_cli.engine.concept import Learner
from ccvd_cli.engine.cotrain import Beside, Subject, learn_subjects_together
from ccvd_cli.engine.losses import Within, diffusion_loss, noised
from ccvd_cli.engine.optimise import StepReport
from ccvd_cli.engine.retention import Earlier, stored_subspaces
from ccvd_cli.errors import UsageError
from ccvd_cli.settings import Recipe

SHORT = QUICK.model_copy(update={"token_steps": 3, "adapter_steps": 4, "text_dropout": 0.0})


def full(value: float) -> list[torch.Tensor]:
    return [torch.full((3, 32, 32), float(value))] * 2


def half(left: bool) -> torch.Tensor:
    mask = torch.zeros(1, 32, 32)
    mask[..., slice(16) if left else slice(16, None)] = 1
    return mask


def two(base: Base, recipe: Recipe = SHORT, **more: object) -> list[Learner]:
    torch.manual_seed(0)
    subjects = [Subject("V1", "dog", pictures(2)), Subject("V2", "cat", pictures(3))]
    return learn_subjects_together(base, subjects, recipe=recipe, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def learned(base: Base) -> list[Learner]:
    return two(base)


def test_each_has_tokens_and_adapters_of_its_own(base: Base, learned: list[Learner]) -> None:
    assert [(x.name, x.kind, x.class_noun) for x in learned] == [
        ("V1", "subject", "dog"),
        ("V2", "subject", "cat"),
    ]
    for learner, count in zip(learned, (2, 3), strict=True):
        assert set(learner.adapters) == {s.name for s in base.sites_of("spatial")}
        assert learner.image_prototypes.shape == (count, base.image_width)
        start = base.noun_vector(learner.class_noun)
        assert all(not torch.equal(row, start) for row in learner.tokens)
        assert all(a.up.weight.abs().sum() > 0 for a in learner.adapters.values())
    assert learned[0].adapter_bytes() != learned[1].adapter_bytes()
    assert generate(base, "a <V1> dog and a <V2> cat", learned, CLIP).shape == (5, 3, 32, 32)


def test_the_same_seed_learns_the_same_bytes(base: Base, learned: list[Learner]) -> None:
    again = two(base)
    assert [x.adapter_bytes() for x in again] == [x.adapter_bytes() for x in learned]
    assert [x.embedding_bytes() for x in again] == [x.embedding_bytes() for x in learned]
    other = two(base, SHORT.model_copy(update={"seed": 1}))
    assert other[0].adapter_bytes() != learned[0].adapter_bytes()


def test_a_stage_has_the_recipes_steps_for_each_and_reports_all(base: Base) -> None:
    reports: list[StepReport] = []
    two(base, on_step=reports.append)
    assert [(r.stage, r.step, r.total) for r in reports] == [
        *(("tokens", 5, 6), ("tokens", 6, 6)),
        *(("adapter", 5, 8), ("adapter", 8, 8)),
    ]
    assert [x.name for x in reports[0].snapshot()] == ["V1", "V2"]


def test_pairs_and_single_subjects_take_turns(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """White and black pictures tell which were seen: alone, or one in each half, in either order."""
    told: list[str] = []
    real = type(base).encode_text
    monkeypatch.setattr(
        type(base),
        "encode_text",
        lambda self, prompts, tokens=(): told.extend(prompts) or real(self, prompts, tokens),
    )
    subjects = [Subject("V1", "dog", full(1)), Subject("V2", "cat", full(-1))]
    recipe = SHORT.model_copy(update={"token_steps": 10, "adapter_steps": 1})
    learn_subjects_together(base, subjects, recipe=recipe)
    steps = [prompt for prompt in told if "<" in prompt][:20]
    joint = {"a <V1> dog and a <V2> cat", "a <V2> cat and a <V1> dog"}
    assert set(steps[::2]) == joint
    assert steps[1::2] == ["a <V1> dog", "a <V2> cat"] * 5


def test_the_first_of_a_prompt_is_on_the_left(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    real = type(base).encode_video
    monkeypatch.setattr(
        type(base), "encode_video", lambda self, frames: seen.append(frames) or real(self, frames)
    )
    subjects = [Subject(f"V{i}", "dog", full(i / 4)) for i in (1, 2, 3)]
    made: list[cotrain.Pair] = []
    monkeypatch.setattr(cotrain.Together, "train", lambda self, *_: made.extend(self.pairs))
    recipe = SHORT.model_copy(update={"token_steps": 0})
    learn_subjects_together(base, subjects, recipe=recipe)
    joint = [x for x in seen if len(x) == cotrain.PICTURES_PER_PAIR]
    assert [tuple(x.shape[1:]) for x in joint] == [(1, 3, 32, 32)] * 6
    sides = [(float(x[..., :16].mean()) * 4, float(x[..., 16:].mean()) * 4) for x in joint]
    assert [pair.prompt for pair in made] == [f"a <V{a:.0f}> dog and a <V{b:.0f}> dog" for a, b in sides]
    assert all(pair.names.sum(1).tolist() == [1, 1] for pair in made)
    assert all(pair.names[0].int().argmax() < pair.names[1].int().argmax() for pair in made)


class Says(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, h: torch.Tensor, e: torch.Tensor | None = None) -> torch.Tensor:
        return torch.full_like(h, self.value)


def test_adapters_act_in_their_own_half() -> None:
    for height, width in ((4, 6), (8, 12), (2, 3)):  # grids over latents of 8x12
        out = Beside(Says(1), Says(2), (8, 12))(torch.randn(3, height * width, 5))
        assert out.shape == (3, height * width, 5)
        columns = out[0, :, 0].reshape(height, width)
        expected = [1.0] * (width // 2) + [1.5] * (width % 2) + [2.0] * (width // 2)
        assert columns.tolist() == [expected] * height


def test_masks_hold_each_name_to_its_own_part(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each half, the masked half of its picture: a quarter of the whole each, side by side."""
    made: list[cotrain.Pair] = []
    real = cotrain.Together.train
    monkeypatch.setattr(cotrain.Together, "train", lambda self, *a: made.extend(self.pairs) or real(self, *a))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    loss = cotrain.attention_mask_loss
    monkeypatch.setattr(
        cotrain,
        "attention_mask_loss",
        lambda maps, places, masks, named: seen.append((places, masks)) or loss(maps, places, masks, named),
    )
    subjects = [
        Subject("V1", "dog", full(1), [half(left=True)] * 2),
        Subject("V2", "cat", full(-1), [half(left=False)] * 2),
    ]
    recipe = SHORT.model_copy(update={"token_steps": 0, "adapter_steps": 1})
    masked = learn_subjects_together(base, subjects, recipe=recipe)
    columns = made[0].masks[0].mean(1)  # type: ignore[index]
    quarter = columns.shape[1] // 4
    assert columns[0].tolist() == pytest.approx([1.0] * quarter + [0.0] * 3 * quarter, abs=0.1)
    assert columns[1].tolist() == pytest.approx([0.0] * 3 * quarter + [1.0] * quarter, abs=0.1)
    assert len(seen) == 2 and not torch.equal(seen[0][0], seen[1][0])
    assert not torch.equal(seen[0][1], seen[1][1])
    bare = [Subject(s.name, s.class_noun, s.images) for s in subjects]
    assert masked[0].adapter_bytes() != learn_subjects_together(base, bare, recipe=recipe)[0].adapter_bytes()


def test_each_adapter_makes_its_own_half_look_like_its_subject(
    mini_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a white and a black subject: their adapters in the right halves fit a joint picture, in the wrong ones they do not."""
    base = open_base(str(mini_folder), device="cpu", dtype="float32")
    # An untrained autoencoder does not tell white from black.
    monkeypatch.setattr(
        type(base),
        "encode_video",
        lambda _, x: x[..., ::4, ::4].mean(2, keepdim=True).transpose(1, 2).expand(-1, 4, -1, -1, -1),
    )
    update = {"token_steps": 0, "adapter_steps": 60, "batch_size": 8, "adapter_lr": 2e-2, "timestep_shift": 3}
    subjects = [Subject("V1", "dog", full(1)), Subject("V2", "dog", full(-1))]
    learners = learn_subjects_together(base, subjects, recipe=SHORT.model_copy(update=update))
    picture = torch.ones(1, 1, 3, 32, 32)
    picture[..., 16:] = -1
    latents = base.encode_video(picture).repeat(32, 1, 1, 1, 1)
    text = base.encode_text(["a <V1> dog and a <V2> dog"], [x.token_vectors() for x in learners])

    @torch.no_grad()
    def loss(left: Learner, right: Learner) -> float:
        adapters = {
            site: Beside(left.adapters[site.name], right.adapters[site.name], (8, 8))
            for site in base.sites_of("spatial")
        }
        generator = torch.Generator().manual_seed(7)
        with base.still(), attached(base.denoiser, adapters):
            sample = noised(base, latents, generator, shift=3)
            return float(diffusion_loss(base, sample, text.repeat(32, 1, 1, 1), generator))

    fits, swapped = loss(*learners), loss(*learners[::-1])
    assert fits < 0.7 * swapped


def test_learning_together_beside_an_earlier_concept_overlaps_less_with_it(
    base: Base, learned: list[Learner], tmp_path: Path
) -> None:
    """In joint steps, too: both subjects are held apart from it in each of them."""
    old = stored_subspaces(stored(learned[0], tmp_path), base.sites)
    asked: list[int] = []

    class Heard(Earlier):
        def overlap(self, adapters):  # type: ignore[no-untyped-def]
            asked.append(1)
            return super().overlap(adapters)

    overlaps = {}
    sites = {s.name: s for s in base.sites}
    for weight in (0.0, 10.0):
        earlier = Heard()
        earlier.add(old)
        update = {"orthogonal_weight": weight, "token_steps": 0, "adapter_steps": 10}
        found = two(base, SHORT.model_copy(update=update), earlier=earlier)
        assert len(asked) == (30 if weight else 0)  # ten joint steps, and ten of one alone
        overlaps[weight] = sum(
            float(Earlier.overlap(earlier, {sites[k]: a for k, a in x.adapters.items()})) for x in found
        )
    assert overlaps[10.0] < 0.7 * overlaps[0.0]


def test_joint_steps_have_their_stages_noise_and_drop_the_prompt(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    shifts: list[float] = []
    real = type(base).timesteps
    monkeypatch.setattr(
        type(base), "timesteps", lambda self, n, g, shift: shifts.append(shift) or real(self, n, g, shift)
    )
    told: list[bool] = []
    tell, silence = type(base).tell, base.encode_text([""])
    monkeypatch.setattr(
        type(base),
        "tell",
        lambda self, text, moments: (
            told.append(torch.equal(text, silence.expand_as(text))) or tell(self, text, moments)
        ),
    )
    two(base, SHORT.model_copy(update={"token_shift": 3.0, "timestep_shift": 0.6, "text_dropout": 1.0}))
    assert shifts == [3.0] * 6 + [0.6] * 8
    assert told and all(told)


def test_in_a_joint_picture_both_subjects_are_within_the_masks(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    by = Within.by
    monkeypatch.setattr(Within, "by", lambda *a: seen.append(a[2:4]) or by(*a))
    recipe = SHORT.model_copy(update={"token_steps": 0, "adapter_steps": 1})
    upper, whole = torch.zeros(1, 32, 32), torch.ones(1, 32, 32)
    upper[:, :16] = 1
    for given, within, apart in (
        (whole, (1, 1), (0, 0)),
        (upper, (1, 0), (0, 1)),
        (torch.cat([upper, whole]), (1, 0), (0, 0)),
    ):
        seen.clear()
        subjects = [Subject(f"V{k}", "dog", full(k), [given] * 2) for k in (1, 2)]
        learn_subjects_together(base, subjects, recipe=recipe)
        assert seen
        for both, halves in ((0, within), (1, apart)):
            for of_sample in (x for pair in seen for x in pair[both]):
                for half, value in zip(of_sample.chunk(2), halves, strict=True):
                    assert torch.allclose(half, torch.full_like(half, value), atol=0.01)


def test_what_is_near_each_subject_is_beside_it_in_a_joint_picture(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first says nothing of what is near it, the second that all of its picture is."""
    seen: list[tuple[tuple[str, ...], torch.Tensor]] = []
    pair = cotrain._pair

    def told(base: Base, left: Any, right: Any, generator: torch.Generator) -> Any:
        made = pair(base, left, right, generator)
        seen.append(((left[0].name, right[0].name), made.apart))
        return made

    monkeypatch.setattr(cotrain, "_pair", told)
    upper, whole = torch.zeros(1, 32, 32), torch.ones(1, 32, 32)
    upper[:, :16] = 1
    subjects = [
        Subject("V1", "dog", full(1), [upper] * 2),
        Subject("V2", "dog", full(2), [torch.cat([upper, whole])] * 2),
    ]
    learn_subjects_together(
        base, subjects, recipe=SHORT.model_copy(update={"token_steps": 0, "adapter_steps": 1})
    )
    assert {names for names, _ in seen} == {("V1", "V2"), ("V2", "V1")}
    for names, apart in seen:
        for name, half in zip(names, apart.chunk(2, -1), strict=True):
            above, below = (part[..., 1:-1] for part in half.chunk(2, -2))
            assert above.max() < 0.01
            assert below.min() > 0.99 if name == "V1" else below.max() < 0.01


def test_one_subject_is_not_several(base: Base) -> None:
    with pytest.raises(UsageError, match="1 subject"):
        learn_subjects_together(base, [Subject("V1", "dog", pictures(1))], recipe=SHORT)
