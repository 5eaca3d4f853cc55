"""Masks: read as their photos are, and what is learned within them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from media_material import quarters
from PIL import Image
from test_learn_and_sample import QUICK, alone, pictures

from ccvd_cli.engine import lesson, prior
from ccvd_cli.engine.adapters import attached
from ccvd_cli.engine.aggregate import fold
from ccvd_cli.engine.attention_maps import watching
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.concept import Learner
from ccvd_cli.engine.learn import learn_subject
from ccvd_cli.engine.losses import (
    Within,
    attention_mask_loss,
    diffusion_loss,
    kept_error,
    masked_error,
    noised,
)
from ccvd_cli.engine.masks import load_masks, own_sizes, write_masks
from ccvd_cli.engine.media import load_images
from ccvd_cli.errors import UsageError

# -- files ------------------------------------------------------------------------------------------------------------------


def where_red(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor[0] > 0.5) & (tensor[1] < -0.5) & (tensor[2] < -0.5)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("photos", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path / "photos", tmp_path / "masks"


def red_mask(height: int, width: int) -> Image.Image:
    return Image.fromarray((quarters(height, width) == (255, 0, 0)).all(-1))


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (900, 1300)])
def test_a_mask_is_turned_cropped_and_resized_as_its_photo(
    folders: tuple[Path, Path], orientation: int, height: int, width: int
) -> None:
    photos, masks = folders
    shown = Image.fromarray(quarters(height, width))
    undo = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = shown.transpose(undo[orientation]) if orientation in undo else shown
    stored.save(photos / "a.jpg", exif=exif, quality=95)
    red_mask(height, width).save(masks / "a.png")
    loaded = load_images(photos, size=(32, 48))
    (mask,) = load_masks(loaded, str(masks), size=(32, 48)).tensors
    assert mask.shape == (1, 32, 48) and mask.dtype == torch.float32
    assert ((mask[0] > 0.5) == where_red(loaded.tensors[0])).float().mean() > 0.94
    assert 0.2 < mask.mean() < 0.3


def test_masks_follow_the_order_of_the_photos_and_forget_the_skipped(folders: tuple[Path, Path]) -> None:
    photos, masks = folders
    for i, name in enumerate(("b", "a", "broken")):
        Image.new("RGB", (20, 20)).save(photos / f"{name}.jpg")
        Image.new("L", (20, 20), 200 + i).save(masks / f"{name}.webp", lossless=True)
    (photos / "broken.jpg").write_text("not a photo")
    read = load_masks(load_images(photos, size=(8, 8)), str(masks), size=(8, 8))
    assert [path.name for path in read.used] == ["a.webp", "b.webp"]
    assert [round(float(mask.mean()) * 255) for mask in read.tensors] == [201, 200]
    assert len(set(read.digests)) == 2


def test_alpha_is_the_mask_of_a_transparent_photo(folders: tuple[Path, Path]) -> None:
    photos, _ = folders
    image = Image.fromarray(quarters(64, 64)).convert("RGBA")
    image.putalpha(red_mask(64, 64).convert("L"))
    image.save(photos / "a.png")
    loaded = load_images(photos, size=(32, 32))
    masks = load_masks(loaded, "alpha", size=(32, 32))
    assert ((masks.tensors[0][0] > 0.5) == where_red(loaded.tensors[0])).float().mean() > 0.94
    assert masks.used == [] and loaded.tensors[0][:, -4:, -4:].min() == 1  # what is behind stays white


def test_a_transparent_part_of_a_mask_is_black(folders: tuple[Path, Path]) -> None:
    photos, masks = folders
    Image.fromarray(quarters(64, 64)).save(photos / "a.png")
    cut = Image.new("RGBA", (64, 64), "white")
    cut.paste((255, 255, 255, 0), (32, 0, 64, 64))
    cut.save(masks / "a.png")
    mask = load_masks(load_images(photos, size=(32, 32)), str(masks), size=(32, 32)).tensors[0]
    assert mask[0, :, :14].min() > 0.99 and mask[0, :, 18:].max() < 0.01


def test_a_mask_that_is_black_where_the_photo_is_looked_at(folders: tuple[Path, Path]) -> None:
    photos, masks = folders
    Image.new("RGB", (300, 100)).save(photos / "a.png")
    mask = Image.new("L", (300, 100))
    mask.paste(255, (0, 0, 50, 100))  # left of the centre crop
    mask.save(masks / "a.png")
    with pytest.raises(UsageError, match=r"a\.png' is black where the photo is looked at"):
        load_masks(load_images(photos, size=(32, 32)), str(masks), size=(32, 32))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (63, 64), (900, 1300)])
def test_masks_that_are_written_are_read_as_they_were(
    folders: tuple[Path, Path], height: int, width: int, orientation: int
) -> None:
    photos, masks = folders
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quarters(height, width)).save(photos / "a.jpg", exif=exif)
    loaded = load_images(photos, size=(32, 48))
    mask = torch.zeros(1, 32, 48)
    mask[:, 4:20, 8:40] = 1
    file = masks / "a.png"
    write_masks([mask], own_sizes(loaded.used, (32, 48)), [file])
    (again,) = load_masks(loaded, str(masks), size=(32, 48)).tensors
    inner, outer = again[:, 6:18, 10:38], again.clone()
    outer[:, 2:22, 6:42] = 0
    assert inner.min() > 0.9 and outer.max() < 0.1
    with Image.open(file) as image:
        assert image.size == ((width, height) if orientation == 1 else (height, width))


# -- losses -----------------------------------------------------------------------------------------------------------------


def test_only_errors_within_the_mask_cost() -> None:
    target, masks = torch.randn(2, 4, 1, 8, 8), torch.zeros(2, 8, 8)
    masks[0, :4], masks[1, 0, 0] = 1, 1
    elsewhere = target + 5 * (masks[:, None, None] == 0)
    assert masked_error(elsewhere, target, masks) == 0
    assert torch.allclose(masked_error(elsewhere, target, masks, 1.0), (elsewhere - target).square().mean())
    assert torch.allclose(masked_error(elsewhere[:1], target[:1], masks[:1], 0.25), torch.tensor(5.0))
    everywhere = masked_error(target + 3, target, masks)  # a sample counts the same however small its mask
    assert torch.allclose(everywhere, torch.tensor(9.0))
    nearly = torch.full((2, 8, 8), 0.01)  # grey, where a picture is nearly all inside
    assert kept_error(target + 3, target, 0 * masks) == 0
    assert torch.allclose(kept_error(target + 3, target, nearly), torch.tensor(9 * 0.01 / 0.05))
    assert torch.allclose(kept_error(elsewhere, target, 1 - masks), torch.tensor(25.0))
    first = target.clone()
    first[1, :, :, 0, 0] += 2
    assert torch.allclose(masked_error(first, target, masks), torch.tensor(2.0))


def test_a_map_like_its_mask_costs_nothing() -> None:
    masks = torch.zeros(2, 8, 8)
    masks[:, :4] = 1
    places = torch.tensor([False, True, False])
    seen = torch.rand(2, 16, 3)
    seen[:, :, 1] = torch.tensor([1.0] * 8 + [0.0] * 8)
    assert attention_mask_loss([seen], places, masks) < 1e-12
    seen[0, 0, 1] = 0
    assert torch.allclose(attention_mask_loss([seen], places, masks), torch.tensor(1 / 32))
    seen[:, :, 1] = 1 - torch.tensor([1.0] * 8 + [0.0] * 8)
    assert attention_mask_loss([seen], places, masks) > 0.9


def test_a_prompt_without_the_name_has_no_gaze() -> None:
    maps, places, masks = (
        [torch.rand(3, 16, 4)],
        torch.tensor([False, True, True, False]),
        torch.rand(3, 8, 8),
    )
    named = torch.tensor([True, False, True])
    chosen = attention_mask_loss([maps[0][named]], places, masks[named])
    assert torch.allclose(attention_mask_loss(maps, places, masks, named), chosen)
    assert attention_mask_loss(maps, places, masks, torch.zeros(3, dtype=torch.bool)) == 0
    assert torch.allclose(
        attention_mask_loss(maps, places, masks, named | True), attention_mask_loss(maps, places, masks)
    )


# -- learning ---------------------------------------------------------------------------------------------------------------


def left_half() -> torch.Tensor:
    mask = torch.zeros(1, 32, 32)
    mask[..., :16] = 1
    return mask


def gaze(base: Base, learner: Learner, picture: torch.Tensor) -> float:
    """How far the name is read elsewhere than in the left half."""
    prompt, tokens = "a <V1> dog", learner.token_vectors()
    names = [site.name for site in base.sites_of("spatial")]
    latents = base.encode_video(picture[None, None])
    with torch.no_grad(), base.still(), watching(base.denoiser, names) as maps:
        base.predict(latents, torch.tensor([300]), base.encode_text([prompt], [tokens]))
    mask = torch.nn.functional.interpolate(left_half()[None], size=latents.shape[-2:], mode="area")[0]
    place = base.places([prompt], tokens.placeholder).named[0]
    return float(attention_mask_loss(maps.values(), place, mask))


def test_a_name_learns_to_be_read_within_its_mask(base: Base) -> None:
    picture = torch.ones(3, 32, 32)
    picture[..., 16:] = -1
    recipe = QUICK.model_copy(update={"token_steps": 40, "token_lr": 0.1, "adapter_steps": 1})
    recipe = recipe.model_copy(update={"text_dropout": 0.0, "attention_mask_level": 1})
    off = {}
    for weight in (0.0, 20.0):
        own = recipe.model_copy(update={"attention_mask_weight": weight})
        told = learn_subject(base, [picture], name="V1", class_noun="dog", recipe=own, masks=[left_half()])
        off[weight] = gaze(base, told, picture)
    assert off[20.0] < 0.98 * off[0.0]


def test_masks_change_what_is_learned_and_dropped_captions_have_no_gaze(base: Base) -> None:
    images, masks = pictures(), [left_half()] * 3

    def learned(masked: bool, weight: float, dropout: float, outside: float = 0.0) -> bytes:
        update = {"attention_mask_weight": weight, "text_dropout": dropout, "outside_weight": outside}
        recipe = QUICK.model_copy(update=update)
        more = {"masks": masks} if masked else {}
        return learn_subject(base, images, name="V1", class_noun="dog", recipe=recipe, **more).adapter_bytes()

    assert learned(False, 0.2, 0.0) == learned(False, 9.0, 0.0)  # the weight is for masks only
    assert len({learned(False, 0.2, 0.0), learned(True, 0.0, 0.0), learned(True, 0.2, 0.0)}) == 3
    assert learned(True, 0.0, 0.0, outside=0.5) not in (learned(True, 0.0, 0.0), learned(False, 0.2, 0.0))
    assert learned(True, 0.0, 1.0) == learned(True, 9.0, 1.0)


@pytest.mark.parametrize("further", [0, 1])
def test_outside_of_masks_the_base_says_what_is_right(base: Base, further: int) -> None:
    """The loss inside asks for the photo, outside for what the base answers to the noun: of half of the samples, of three the first two.

    Of what the subject may reach further than its masks nothing is asked.
    """
    torch.manual_seed(0)
    latents = torch.randn(3, *base.latent_shape(1, 32, 32))
    masks, half = torch.zeros(3, *latents.shape[-2:]), latents.shape[-1] // 2
    masks[[0, 2], :, :half], masks[1] = 1, 1
    apart = 1 - masks
    apart[..., half : half + further] = 0
    text, plain = (base.encode_text([said]) for said in ("a big dog", "a dog"))
    sample, moments = noised(base, latents, torch.Generator().manual_seed(7)), torch.zeros(3, 1, dtype=int)
    recipe = QUICK.model_copy(update={"keep_weight": 2.0})
    with torch.no_grad(), base.still():
        text, plain = text.expand(3, -1, -1, -1), plain.expand(3, -1, -1, -1)
        told = base.tell(text, moments)
        answer = base.predict(sample.noisy, sample.timesteps, told)
        before = base.predict(sample.noisy, sample.timesteps, base.tell(plain, moments))
        where = Within.by(recipe, base, masks, apart, sample, plain, moments)
        loss = diffusion_loss(base, sample, told, torch.Generator(), within=where)
    right, left = (answer - sample.target).square(), (answer - before).square()
    inside = (right[[0, 2], ..., :half].mean((1, 2, 3, 4)).sum() + right[1].mean()) / 3
    assert torch.allclose(loss, inside + 2 * left[0, ..., half + further :].mean() / 2, rtol=1e-4)
    assert Within.by(QUICK, base, masks, apart, sample, plain, moments).before is None


def test_a_mask_may_say_how_far_its_subject_reaches(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    real = lesson.Within.by
    monkeypatch.setattr(lesson.Within, "by", lambda *a: seen.append(a[2:4]) or real(*a))
    recipe = QUICK.model_copy(
        update={"keep_weight": 1.0, "token_steps": 0, "adapter_steps": 1, "prior_share": 0.5}
    )
    near = torch.cat([left_half(), left_half()])
    near[1, :, :24] = 1
    for masks in (left_half(), near):
        learn_subject(base, pictures(), name="V1", class_noun="dog", recipe=recipe, masks=[masks] * 3)
    (alone, beyond), (same, further) = seen
    assert torch.equal(alone, same) and torch.allclose(alone + beyond, torch.ones_like(alone))
    columns = further.shape[-1] // 4
    assert torch.equal(further[..., 3 * columns :], beyond[..., 3 * columns :])
    assert beyond[0, :, 2 * columns : 3 * columns].all() and not further[..., : 3 * columns].any()
    assert alone[-1].all() and not further[-1].any()  # a prior picture


def test_where_the_caption_is_dropped_the_empty_one_is_kept(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[torch.Tensor] = []
    real = lesson.Within.by
    monkeypatch.setattr(lesson.Within, "by", lambda *a: told.append(a[5]) or real(*a))
    empty, plain = (base.encode_text([said])[0] for said in ("", "a dog"))
    for dropout, kept in ((0.0, plain), (1.0, empty)):
        update = {"text_dropout": dropout, "keep_weight": 1.0, "token_steps": 0, "adapter_steps": 1}
        recipe = QUICK.model_copy(update=update)
        learn_subject(base, pictures(), name="V1", class_noun="dog", recipe=recipe, masks=[left_half()] * 3)
        assert all(torch.allclose(row, kept, atol=1e-5) for row in told.pop())


def test_what_is_kept_is_what_was_before_the_task(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a method whose adapters go on from task to task, with all that they have learned."""
    recipe = QUICK.model_copy(update={"keep_weight": 1.0, "token_steps": 1, "adapter_steps": 1})
    how = {"name": "V1", "class_noun": "dog", "recipe": recipe, "masks": [left_half()] * 3}
    images = pictures()
    earlier = learn_subject(base, images, **how | {"recipe": QUICK}).adapters
    before: list[torch.Tensor] = []
    real = lesson.Within.by
    monkeypatch.setattr(lesson.Within, "by", lambda *a: before.append(real(*a)) or before[-1])
    for onto in (None, earlier):
        learn_subject(base, images, **how, onto=onto)
    bare, kept = before[:2], before[2:]
    assert all(not torch.allclose(a.before, b.before) for a, b in zip(bare, kept, strict=True))


def test_what_is_kept_outside_of_masks_moves_less(base: Base) -> None:
    masks = [left_half()] * 3

    @torch.no_grad()
    def moved(keep: float) -> float:
        """How far the base's answer moves in the half where nothing is to be learned."""
        update = {"token_steps": 0, "adapter_steps": 30, "adapter_lr": 2e-2, "attention_mask_weight": 0.0}
        recipe = QUICK.model_copy(update=update | {"keep_weight": keep})
        with torch.enable_grad():
            learner = learn_subject(base, pictures(), name="V1", class_noun="dog", recipe=recipe, masks=masks)
        latents = base.encode_video(torch.stack(pictures())[:, None]).repeat(8, 1, 1, 1, 1)
        sample = noised(base, latents, torch.Generator().manual_seed(7))
        told = base.encode_text(["a <V1> dog"], [learner.token_vectors()]).expand(len(latents), -1, -1, -1)
        plain = base.encode_text(["a dog"]).expand(len(latents), -1, -1, -1)
        with base.still():
            before = base.predict(sample.noisy, sample.timesteps, plain)
            with attached(base.denoiser, fold(base, [learner], alone([learner]))):
                after = base.predict(sample.noisy, sample.timesteps, told)
        change = (after - before).square()
        return float(change[..., change.shape[-1] // 2 :].mean())

    assert moved(5.0) < 0.5 * moved(0.0)


def test_prior_pictures_are_learned_whole(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior, "PRIOR_STEPS", 2)
    weighed: list[torch.Tensor] = []
    real = lesson.diffusion_loss
    monkeypatch.setattr(
        lesson,
        "diffusion_loss",
        lambda *a, within, **k: weighed.append(within.masks) or real(*a, within=within, **k),
    )
    update = {"prior_share": 0.5, "batch_size": 4, "token_steps": 1, "adapter_steps": 1}
    recipe = QUICK.model_copy(update=update)
    learn_subject(base, pictures(), name="V1", class_noun="dog", recipe=recipe, masks=[left_half()] * 3)
    latents = base.latent_shape(1, 32, 32)[2:]
    assert [masks.shape for masks in weighed] == [(4, *latents)] * 2
    assert [float(mask.mean()) for mask in weighed[0]] == [0.5, 0.5, 1, 1]
    assert np.allclose(weighed[1][0, :, : latents[1] // 2], 1)
