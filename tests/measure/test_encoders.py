"""Encoders on small models of the real classes, saved the way that the real ones are."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import build_dino, build_mini, build_timm_dino, with_captions
from transformers import ViTModel

from ccvd_cli.engine.bases import open_base
from ccvd_cli.errors import UsageError
from ccvd_cli.measure.encoders import Dino, Embedded, OpenClip
from ccvd_cli.measure.metrics import text_alignment

PICTURES = torch.rand(3, 3, 40, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    vision = {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    model = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    prepare = {
        "mean": [0.48, 0.46, 0.41],
        "std": [0.27, 0.26, 0.28],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": prepare}))
    torch.manual_seed(0)
    save_file(open_clip.model.CLIP(**model).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_dino(tmp_path_factory.mktemp("dino"))


def test_a_clip_says_what_open_clip_says(clip_folder: Path) -> None:
    ours = OpenClip(str(clip_folder))
    model, prepare = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{clip_folder}")
    pictures = [Image.fromarray((p * 255).round().byte().movedim(0, -1).numpy()) for p in PICTURES]
    prompts = ["a dog surfing", "a red car"]
    with torch.no_grad():
        images = model.eval().encode_image(torch.stack([prepare(p) for p in pictures]))
        texts = model.encode_text(tokenize(prompts))
    assert torch.allclose(ours.images(PICTURES), images, atol=1e-5)
    assert torch.allclose(ours.texts(prompts), texts, atol=1e-5)
    assert clip_folder.name in ours.name


def test_dino_says_what_its_class_token_says(dino_folder: Path) -> None:
    ours = Dino(str(dino_folder))
    model = ViTModel.from_pretrained(dino_folder, add_pooling_layer=False).eval()
    small = [
        Image.fromarray((p * 255).round().byte().movedim(0, -1).numpy()).resize((32, 32), 2) for p in PICTURES
    ]
    pixels = torch.stack([torch.from_numpy(np.array(p)).movedim(-1, 0) / 127.5 - 1 for p in small])
    with torch.no_grad():
        expected = model(pixels).last_hidden_state[:, 0]
    assert torch.allclose(ours.images(PICTURES), expected, atol=2e-2)
    assert not torch.allclose(ours.images(PICTURES)[0], ours.images(PICTURES)[1], atol=2e-2)


def test_a_base_measures_with_its_own_encoders(tmp_path: Path) -> None:
    folder = build_mini(tmp_path / "tiny")
    base = open_base(str(folder), device="cpu")
    own = Embedded(base)
    assert torch.equal(own.images(PICTURES), base.embed_images(PICTURES * 2 - 1))
    with pytest.raises(UsageError, match="caption_encoder"):
        own.texts(["a dog"])
    texts = Embedded(open_base(str(with_captions(folder)), device="cpu")).texts(
        ["a dog", "a red dog jumping"]
    )
    assert texts.shape == (2, base.image_width)
    assert not torch.allclose(texts[0], texts[1])
    assert -1 <= text_alignment(own.images(PICTURES), texts[0]) <= 1


def test_a_dino_of_timm_says_what_its_class_token_says(tmp_path: Path) -> None:
    ours = Dino(str(build_timm_dino(tmp_path)))
    about = json.loads((tmp_path / "config.json").read_text())
    model = timm.create_model(about["architecture"], num_classes=0, **about["model_args"]).eval()
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    prepare = timm.data.create_transform(**timm.data.resolve_data_config(about["pretrained_cfg"]))
    pixels = PICTURES.mul(255).round().byte().movedim(1, -1).numpy()
    ready = torch.stack([prepare(Image.fromarray(picture)) for picture in pixels])
    assert torch.allclose(ours.images(PICTURES), model.forward_features(ready)[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": "resnet18", "model_args": {}, "num_features": 512}, "no ViT with a class token"),
        ({"model_args": {"nonsense": 1}}, "cannot be read"),
        ({"model_type": 3}, "cannot be read"),
    ],
)
def test_what_timm_cannot_make_a_dino_of_is_told(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    config = json.loads((build_timm_dino(tmp_path) / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    if config["architecture"] == "resnet18":
        other = timm.create_model("resnet18", num_classes=0)
        save_file(other.state_dict(), tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match=said):
        Dino(str(tmp_path))


def test_a_clip_is_no_dino(clip_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip_folder, tmp_path / "clip"))
    (folder / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(UsageError, match="no ViT, but clip"):
        Dino(str(folder))


@pytest.mark.parametrize("kind", [OpenClip, Dino])
def test_what_is_no_encoder_is_said(kind: type[OpenClip | Dino], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no"):
        kind("./nowhere")
    with pytest.raises(UsageError, match="in the local cache"):
        kind("owner/name")
    (tmp_path / "open_clip_config.json").write_text("{}")
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UsageError) as raised:
        kind(str(tmp_path))
    assert "safetensors" in raised.value.hint


def test_another_kind_of_model_is_no_dino(dino_folder: Path, tmp_path: Path) -> None:
    """Its weights would not be read, and what was drawn at random would measure nothing."""
    folder = Path(shutil.copytree(dino_folder, tmp_path / "other"))
    state = load_file(folder / "model.safetensors")
    renamed = {k.replace("layernorm_before", "norm1"): v for k, v in state.items()}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match="no ViT"):
        Dino(str(folder))


def test_a_clip_that_cannot_be_read_is_told(clip_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip_folder, tmp_path / "broken"))
    (folder / "open_clip_config.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot be read"):
        OpenClip(str(folder))


def test_no_pickle_is_read_though_there_are_safetensors(clip_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip_folder, tmp_path / "both"))
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"pickled")
    assert OpenClip(str(folder)).images(PICTURES).shape[0] == len(PICTURES)  # its own safetensors come first
    (folder / "open_clip_model.safetensors").rename(folder / "weights.safetensors")
    for pickle in ("open_clip_pytorch_model.bin", "pytorch_model.bin"):
        (folder / "open_clip_pytorch_model.bin").replace(folder / pickle)
        with pytest.raises(UsageError, match=re.escape(pickle)):
            OpenClip(str(folder))
        (folder / pickle).replace(folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_pytorch_model.bin").replace(folder / "pytorch_model.bin")
    (folder / "weights.safetensors").replace(folder / "model.safetensors")
    assert OpenClip(str(folder)).images(PICTURES).shape[0] == len(
        PICTURES
    )  # which it reads before that pickle


@pytest.mark.parametrize("kind", [OpenClip, Dino])
def test_no_code_of_a_folder_is_run_nor_asked_about(
    kind: type[OpenClip | Dino], clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(clip_folder, tmp_path / "own"))
    theirs = {
        "model_type": "theirs",
        "auto_map": {"AutoConfig": "theirs.Config", "AutoTokenizer": ["theirs.T", None]},
    }
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).write_text(json.dumps(theirs))
    (folder / "theirs.py").write_text("raise SystemExit('it ran')")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    with pytest.raises(UsageError, match=r"code of its own|cannot be read"):
        kind(str(folder))


def test_other_weights_have_another_digest(dino_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dino_folder, tmp_path / dino_folder.name))
    same, state = Dino(str(folder)), load_file(folder / "model.safetensors")
    name = next(iter(state))
    save_file(state | {name: state[name] + 1}, folder / "model.safetensors", {"format": "pt"})
    other = Dino(str(folder))
    assert same.name == other.name and same.digest == Dino(str(dino_folder)).digest != other.digest
