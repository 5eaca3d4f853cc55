"""Our CLIP-T is torchmetrics' CLIPScore, which is 100 times a cosine and never below 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor
from transformers.models.clip import CLIPTokenizer

from ccvd_cli.measure.metrics import text_alignment
from ccvd_cli.world import models

PROMPTS = ["a red dog jumping", "a blue cat on the beach"]


class Plain(CLIPModel):
    """Features as tensors, which torchmetrics still expects; since transformers 5 they come in an output."""

    def get_image_features(self, *arguments: Any, **named: Any) -> Any:
        found = super().get_image_features(*arguments, **named)
        return getattr(found, "pooler_output", found)

    def get_text_features(self, *arguments: Any, **named: Any) -> Any:
        found = super().get_text_features(*arguments, **named)
        return getattr(found, "pooler_output", found)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of transformers' layout with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    words: CLIPTokenizer = models.tokenizer(folder / "words")
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {k: getattr(words, k) for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {**sizes, **ids, "vocab_size": len(words), "max_position_embeddings": 24}
    vision = {**sizes, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(pictures, words).save_pretrained(folder)
    return folder


def test_text_alignment_is_clip_score(clip_folder: Path) -> None:
    multimodal = pytest.importorskip("torchmetrics.multimodal")
    model, processor = CLIPModel.from_pretrained(clip_folder), CLIPProcessor.from_pretrained(clip_folder)
    same = Plain.from_pretrained(clip_folder)
    theirs = multimodal.CLIPScore(model_name_or_path=lambda: (same, processor))
    clip = torch.randint(256, (5, 3, 40, 40), generator=torch.Generator().manual_seed(0)).byte()
    differing = set()
    for prompt in (*PROMPTS, *reversed(PROMPTS)):
        frames, text = _embedded(model.eval(), processor, clip, prompt)
        ours = text_alignment(frames, text)
        differing.add(round(ours, 4))
        signed = 100 * ours if ours > 0 else 0.0
        theirs.reset()
        found = theirs(list(clip), [prompt] * len(clip)).item()
        assert found == pytest.approx(signed, abs=1e-3)
        for one in (
            model,
            same,
        ):  # which may find every prompt unlike the clip: so each is asked of its opposite too
            one.text_projection.weight.data.neg_()
    assert len(differing) == 2 * len(PROMPTS) and max(differing) > 0 > min(differing)


@torch.no_grad()
def _embedded(model: CLIPModel, processor: CLIPProcessor, clip: Tensor, prompt: str) -> tuple[Tensor, Tensor]:
    inputs = processor(text=[prompt], images=list(clip), return_tensors="pt", padding=True)
    out = model(**inputs)
    return out.image_embeds, out.text_embeds[0]


def test_cosines_are_torchmetrics_cosines() -> None:
    functional = pytest.importorskip("torchmetrics.functional")
    rows = torch.randn(6, 24, generator=torch.Generator().manual_seed(1))
    text = torch.randn(24, generator=torch.Generator().manual_seed(2))
    theirs = functional.cosine_similarity(rows, text.expand_as(rows), reduction="mean")
    assert text_alignment(rows, text) == pytest.approx(float(theirs), abs=1e-6)
