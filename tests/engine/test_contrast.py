"""Masks that the base finds itself: where its estimates differ with and without the noun."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_learn_and_sample import QUICK

from ccvd_cli.engine import contrast, learn
from ccvd_cli.engine.bases import EMBEDDED, open_base
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.concept import Learner
from ccvd_cli.engine.contrast import seen_by, threshold
from ccvd_cli.engine.cotrain import Subject, learn_subjects_together
from ccvd_cli.engine.learn import learn_subject
from ccvd_cli.engine.outline import Mask, Outline
from ccvd_cli.settings import RECIPES, Recipe
from ccvd_cli.world import heldout
from ccvd_cli.world.parts import pixels


@given(st.floats(-5, 5), st.floats(0.5, 5), st.integers(1, 30), st.integers(1, 30))
@settings(deadline=None)
def test_the_threshold_parts_two_groups(low: float, gap: float, few: int, many: int) -> None:
    values = torch.cat([low + 0.1 * gap * torch.rand(many), low + gap + 0.1 * gap * torch.rand(few)])
    assert float(values[:many].max()) < threshold(values) <= float(values[many:].min())


def test_photos_have_masks_of_their_size_and_none_is_empty(unet: Base) -> None:
    photos = list(torch.rand(2, 3, 32, 32) * 2 - 1)
    masks = seen_by(unet, photos, "dog")
    assert [m.shape for m in masks] == [(1, 32, 32)] * 2
    for mask in masks:
        assert set(mask.unique().tolist()) <= {0.0, 1.0} and mask.any()
    assert all(torch.equal(a, b) for a, b in zip(masks, seen_by(unet, photos, "dog"), strict=True))
    assert any(
        not torch.equal(a, b) for a, b in zip(masks, seen_by(unet, photos, "dog", seed=1), strict=True)
    )


def test_masks_reach_a_cell_further_than_what_is_seen(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = list(torch.rand(2, 3, 64, 64) * 2 - 1)
    cells = base.latent_shape(1, 64, 64)[2:]
    assert min(cells) > 5

    def found() -> torch.Tensor:
        return torch.nn.functional.interpolate(torch.stack(seen_by(base, photos, "dog")), cells)

    grown = found()
    monkeypatch.setattr(contrast, "MARGIN", 0)
    seen = found()
    near = torch.nn.functional.unfold(seen, 3, padding=1).unflatten(1, (1, 9)).amax(2).view_as(seen)
    assert torch.equal(grown, near) and not torch.equal(grown, seen)


def test_masks_follow_outlines_if_asked_and_where_colours_show_them(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = list(torch.rand(2, 3, 64, 64) * 2 - 1)
    cut = np.zeros((64, 64), bool)
    cut[3:9, 5:30] = True
    told: list[tuple[Sequence[torch.Tensor], list[Mask]]] = []
    monkeypatch.setattr(contrast, "outlined", lambda *a: told.append(a) or [None, Outline(cut, ~cut)])
    usual, outline = seen_by(base, photos, "dog"), seen_by(base, photos, "dog", outline=True)
    assert torch.equal(outline[0], torch.cat([usual[0], usual[0]])) and outline[1].shape == (2, 64, 64)
    assert outline[1].dtype == usual[1].dtype and (outline[1].numpy() == [cut, ~cut]).all()
    monkeypatch.setattr(contrast, "MARGIN", 0)
    seen = seen_by(base, photos, "dog")
    ((of, where),) = told  # only if asked
    assert of is photos and all((a == b[0].numpy()).all() for a, b in zip(where, seen, strict=True))


def test_recipes_say_whether_masks_follow_outlines(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(learn, "seen_by", lambda *a, outline: asked.append(outline) or [])
    for outline in (True, False):
        recipe = QUICK.model_copy(update={"find_masks": True, "outline_masks": outline})
        learn.found_masks(base, [torch.zeros(3, 32, 32)], "dog", recipe, lambda _: None)
    assert asked == [True, False]
    assert {k for k, kinds in RECIPES.items() for r in kinds.values() if r.outline_masks} == {"mini"}


def test_what_is_seen_is_where_answers_with_and_without_the_noun_differ(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By more, or by less."""
    heard: list[str] = []
    encode = type(base).encode_text
    monkeypatch.setattr(
        type(base), "encode_text", lambda self, said, *a: heard.extend(said) or encode(self, said, *a)
    )
    monkeypatch.setattr(type(base), "tell", lambda self, text, moments: text)
    monkeypatch.setattr(contrast, "MARGIN", 0)
    silent = base.encode_text([""])
    heard.clear()
    asked: list[int] = []

    def answer(self: Base, noisy: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(noisy)
        if not torch.equal(text[:1], silent):
            asked.append(1)
            out[..., 1:3, 2:5] = (-1.0) ** len(asked)
        return out

    monkeypatch.setattr(type(base), "predict", answer)
    cells = base.latent_shape(1, 64, 64)[2:]
    found = seen_by(base, list(torch.rand(2, 3, 64, 64) * 2 - 1), "cat")
    assert heard == ["a cat", ""]
    expected = torch.zeros(cells)
    expected[1:3, 2:5] = 1
    for mask in found:
        assert torch.equal(torch.nn.functional.interpolate(mask[None], cells)[0, 0], expected)


@pytest.mark.parametrize("together", [False, True])
def test_finding_masks_is_as_good_as_being_given_them(
    base: Base, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrast, "NOISES", 2)
    photos = list(torch.rand(2, 3, 32, 32) * 2 - 1)
    found = seen_by(base, photos, "dog")

    def learned(find: bool, masks: list[torch.Tensor]) -> list[bytes]:
        recipe = QUICK.model_copy(update={"find_masks": find})
        if together:
            subjects = [Subject(name, "dog", photos, masks) for name in ("V1", "V2")]
            learners = learn_subjects_together(base, subjects, recipe=recipe)
        else:
            learners = [learn_subject(base, photos, name="V1", class_noun="dog", recipe=recipe, masks=masks)]
        return [learner.adapter_bytes() for learner in learners]

    whole = [torch.ones(1, 32, 32)] * 2
    assert learned(True, []) == learned(False, found)
    assert learned(True, whole) == learned(False, whole)  # what is given counts
    assert learned(True, []) != learned(False, [])


def test_only_minis_subjects_are_found_by_default(base: Base) -> None:
    asked = {(family, kind) for family, kinds in RECIPES.items() for kind, r in kinds.items() if r.find_masks}
    assert asked == {("mini", "subject")}
    style = QUICK.model_copy(update={"find_masks": True})
    photos = list(torch.rand(2, 3, 32, 32) * 2 - 1)

    def learned(recipe: Recipe) -> Learner:
        return learn_subject(base, photos, name="V1", class_noun="", recipe=recipe, kind="style")

    assert learned(style).adapter_bytes() == learned(QUICK).adapter_bytes()


@pytest.mark.slow
def test_the_embedded_base_sees_its_things() -> None:
    """Subjects that pretraining never saw: nearly all of each is found. Around it is less than twice as much; of outlines, less."""
    base = open_base(str(EMBEDDED))
    for outline, least in ((False, 0.33), (True, 0.6)):
        both, either, truth = 0.0, 0.0, 0.0
        for i in range(2):
            photos = list(pixels(heldout.subject_images(i, 5), torch.device("cpu")))
            found = torch.stack(seen_by(base, photos, heldout.subject(i).noun, outline=outline))[:, 0] > 0.5
            true = torch.from_numpy(heldout.subject_masks(i, 5)) > 127
            both, either = both + float((found & true).sum()), either + float((found | true).sum())
            truth += float(true.sum())
        assert both / truth > 0.9 and both / either > least
