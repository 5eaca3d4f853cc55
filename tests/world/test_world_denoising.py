"""What a pretraining batch tells the denoiser: whose prompt, look and box is whose."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from ccvd_cli.engine.bases import EMBEDDED
from ccvd_cli.world import denoising, kept_latents, models
from ccvd_cli.world.captions import ORDINARY, Mix
from ccvd_cli.world.corpus import Part
from ccvd_cli.world.denoising import Denoising
from ccvd_cli.world.looks import OWN
from ccvd_cli.world.parts import tokenize

CLIPS, MOST, FRAMES, TOKENS = 5, 3, 4, 2


def readable(text: Tensor, moments: Tensor) -> Tensor:
    """A clock whose moments can be read off: (N, T, D) -> (N, F, T, D + 1)."""
    each = text[:, None].expand(-1, moments.shape[1], -1, -1)
    return torch.cat([each, moments[..., None, None].expand(*each.shape[:-1], 1).float()], -1)


def located(text: Tensor, boxes: Tensor) -> Tensor:
    """An atlas that writes a box's left edge over the third value."""
    return torch.cat([text[..., :2], boxes[..., None, :1].expand(*text.shape[:-1], 1), text[..., 3:]], -1)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> tuple[Denoising, list[SimpleNamespace]]:
    """Clip r has prompt 10 r; its actor k has prompt 10 r + 1 + k, look 100 r + k and a box from r + k / 4 + f / 100 on at frame f."""
    task = object.__new__(Denoising)
    task.unet, task.device, task.generator = None, torch.device("cpu"), torch.Generator().manual_seed(0)
    task.latents = torch.zeros(CLIPS, FRAMES, 6, 16, 16)
    r, k, f = torch.arange(CLIPS), torch.arange(MOST), torch.arange(FRAMES)
    task.ids, task.empty = (10 * r)[:, None].expand(-1, TOKENS), torch.full((1, TOKENS), -1)
    task.alone = (10 * r[:, None] + 1 + k)[..., None].expand(-1, -1, TOKENS)
    task.seen = (100.0 * r[:, None] + k)[..., None]
    task.boxes = (r[:, None, None] + k[:, None] / 4 + f / 100)[..., None].expand(-1, -1, -1, 4)
    task.present = k < torch.tensor([[1], [2], [3], [2], [3]])
    task.clock, task.atlas = readable, located  # type: ignore[assignment]

    def read(ids: Tensor, seen: Tensor) -> Tensor:
        """(N, T), (N, MOST, 1) -> the token, the first actor's look, the last one's."""
        looks = seen[:, [0, -1], 0]
        return torch.cat([ids[..., None].float(), looks[:, None].expand(-1, TOKENS, -1)], -1)

    monkeypatch.setattr(task, "_read", read)
    heard: list[SimpleNamespace] = []
    names = ("denoiser", "where", "present", "tokens", "sizes")
    monkeypatch.setattr(
        denoising,
        "hearing_boxes",
        lambda *a: heard.append(SimpleNamespace(**dict(zip(names, a, strict=True)))),
    )
    return task, heard


@pytest.mark.parametrize("told", [True, False])
def test_every_box_is_told_its_own_actor(task: tuple[Denoising, list[SimpleNamespace]], told: bool) -> None:
    denoise, heard = task
    rows, moments = torch.tensor([4, 1, 2]), torch.tensor([[0, 2], [1, 3], [3, 0]])
    kept = torch.zeros(3, dtype=torch.bool)
    for _ in range(40):  # captions and all boxes but one are left out at random
        text, _listening = denoise._told_in_boxes(rows, moments, kept, told=told)
        text = text.unflatten(0, (3, 2)).unflatten(2, (1 + MOST, TOKENS))
        for n, row in enumerate(rows.tolist()):
            for at, f in enumerate(moments[n].tolist()):
                voices = text[n, at, :, 0]  # every token of a voice is told the same
                assert voices[0, 0] in (10 * row, -1)
                assert voices[0, 1:3].tolist() == [100 * row, 100 * row + 2]
                for k in range(MOST):
                    said = [10 * row + 1 + k, 100 * row + k, row + k / 4 + f / 100]
                    assert voices[1 + k, :3].tolist() == pytest.approx(said)
                if told:
                    assert (voices[:, 3] == f).all()
    where = heard[0].where.unflatten(0, (3, 2))[..., 0]
    assert torch.allclose(where[1], 1 + torch.arange(MOST) / 4 + moments[1, :, None] / 100)
    assert heard[0].tokens == TOKENS and heard[0].sizes[0] == 16


def test_now_and_then_one_box_or_no_caption_is_all_there_is(
    task: tuple[Denoising, list[SimpleNamespace]],
) -> None:
    denoise, heard = task
    count, seen = 600, torch.Generator().manual_seed(1)
    rows = torch.randint(CLIPS, (count,), generator=seen)
    dropped = torch.arange(count) % 10 == 0
    text, _listening = denoise._told_in_boxes(
        rows, torch.zeros(count, 1, dtype=torch.long), dropped, told=True
    )
    caption = text.unflatten(1, (1 + MOST, TOKENS))[:, 0, 0, 0]
    assert (caption[dropped] == -1).all()
    assert (caption[~dropped] == -1).float().mean().item() == pytest.approx(1 / 6, abs=0.05)
    there, all_there = heard[0].present, denoise.present[rows]
    assert not (there & ~all_there).any()
    assert not there[dropped].any() and there[~dropped].any(1).all()
    several = ~dropped & (all_there.sum(1) > 1)
    assert (there[several].sum(1) == 1).float().mean().item() == pytest.approx(1 / 6, abs=0.05)
    fewer = there.sum(1) < all_there.sum(1)
    assert (there[several & fewer].sum(1) == 1).all()
    chosen = there[several & fewer & (all_there.sum(1) == 3)].float().mean(0)
    assert (chosen > 0.1).all()  # any of them


def test_captions_alone_are_of_clips_whose_place_they_tell(
    task: tuple[Denoising, list[SimpleNamespace]],
) -> None:
    one, _ = task
    one.placed, one.crowds = torch.tensor([0, 3]), torch.tensor([1, 2, 4])
    assert set(one._rows(64, boxed=False).tolist()) == {0, 3}
    rows = one._rows(64, boxed=True)
    assert set(rows.tolist()) == set(range(CLIPS))
    assert sum(r in (1, 2, 4) for r in rows.tolist()) >= 32


def test_the_word_that_is_read_as_a_look_is_found_where_captions_say_it() -> None:
    words = models.tokenizer(EMBEDDED / "tokenizer")
    token = denoising.token_of(words, OWN)
    said, other = tokenize(
        words, ["a my dog jumping on the beach", "a red dog jumping on the beach"]
    ).tolist()
    assert (said.count(token), other.count(token)) == (1, 0)


def test_material_that_was_kept_is_of_what_is_drawn_and_its_autoencoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else captions and boxes would be those of other clips than the latents."""
    drawn: list[int] = []

    def described(count: int, seed: int, _: Mix) -> SimpleNamespace:
        drawn.append(seed)
        return SimpleNamespace(pixels=np.zeros((count, 1)))

    monkeypatch.setattr(
        kept_latents, "MATERIAL", [Part("familiar", 2, 100, ORDINARY), Part("strangers", 1, 200, ORDINARY)]
    )
    monkeypatch.setattr(kept_latents, "described", described)
    said = [""]
    monkeypatch.setattr(
        kept_latents,
        "undrawn",
        lambda count, seed, _: [(seed, f"{seed}: {i}{said[0]}") for i in range(count)],
    )
    monkeypatch.setattr(kept_latents, "_encoded", lambda *a: torch.full((len(a[1]), 1), float(len(drawn))))
    monkeypatch.setattr(kept_latents, "load_part", lambda *_: torch.nn.Identity())
    weights = tmp_path / "model" / "vae" / "config.json"
    weights.parent.mkdir(parents=True)
    weights.write_text("{}")

    def material(seed: int) -> tuple[list[float], list[str], list[int]]:
        latents, captions, clips = kept_latents.corpus_latents(tmp_path, torch.device("cpu"), seed)
        return latents[:, 0].tolist(), captions, clips  # type: ignore[return-value]

    first = material(0)
    assert first == ([1, 1, 2], ["100: 0", "100: 1", "200: 0"], [100, 100, 200])
    assert material(0) == first and drawn == [100, 200]
    assert material(7) == ([3, 3, 4], ["107: 0", "107: 1", "207: 0"], [107, 107, 207])
    weights.write_text('{"other": 1}')
    assert material(7)[0] == [5, 5, 6]
    said[0] = " again"  # the same seed draws otherwise now
    assert material(7)[:2] == ([7, 7, 8], ["107: 0 again", "107: 1 again", "207: 0 again"])
    for cache in tmp_path.glob("*.safetensors"):
        cache.write_bytes(b"cut off")
    assert material(7)[0] == [9, 9, 10]
