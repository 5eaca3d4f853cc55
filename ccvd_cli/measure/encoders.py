"""What metrics look through: encoders of pictures, and of the prompts that pictures are held against.

Frames are (N, 3, H, W) in [0, 1], of any size: each encoder prepares them as its authors do. Embeddings are (N, E), float32, on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..engine.bases.contract import Base
from ..engine.hub import fingerprint, model_folder
from ..errors import UsageError

CLIP = "timm/vit_base_patch32_clip_224.openai"  # ViT-B/32, as the field reports it
DINO = "timm/vit_small_patch16_224.dino"  # ViT-S/16, as above; its authors' own upload is a pickle
_FIRST_READ = (  # by open_clip, in this order; then anything
    *("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"),
    *("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth", "model.safetensors"),
)


class ImageEncoder(Protocol):
    """`name` goes beside every score, `digest` is of the weights: scores of different encoders cannot be compared."""

    name: str
    digest: str

    def images(self, frames: Tensor) -> Tensor: ...


class TextImageEncoder(ImageEncoder, Protocol):
    def texts(self, prompts: Sequence[str]) -> Tensor: ...


class Embedded:
    """The image encoder inside a base, and the text encoder that was trained to agree with it (`caption_encoder`), where there is one."""

    def __init__(self, base: Base) -> None:
        """Raises UsageError for a base without an image encoder."""
        if not base.image_width:
            raise UsageError(
                f"base {base.name} has no image encoder to measure with", f"give one: --clip {CLIP}"
            )
        self.base, self.name = base, f"{base.name}'s own"
        self.digest = fingerprint(Path(base.location), ("caption_encoder", "image_encoder", "tokenizer"))
        self._captions: tuple[Any, Any] | None = None

    def images(self, frames: Tensor) -> Tensor:
        return self.base.embed_images(frames * 2 - 1).float().cpu()

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Tensor:
        """Raises UsageError for a base that has no encoder of captions."""
        tokenizer, model = self._captions = self._captions or self._load()
        ids = tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt").to(model.device)
        embeds: Tensor = model(**ids).text_embeds
        return embeds.float().cpu()

    def _load(self) -> tuple[Any, Any]:
        from transformers import CLIPTextModelWithProjection, CLIPTokenizer

        folder = Path(self.base.location)
        if not (folder / "caption_encoder").is_dir():
            raise UsageError(
                f"base {self.base.name} has no caption_encoder to measure prompts with",
                f"give a CLIP: --clip {CLIP}",
            )
        model = CLIPTextModelWithProjection.from_pretrained(folder / "caption_encoder", use_safetensors=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        return tokenizer, model.float().eval().to(self.base.device)


class OpenClip:
    """A CLIP in open_clip's layout: a folder, or a hub id."""

    def __init__(self, source: str = CLIP, device: torch.device | str = "cpu") -> None:
        """Raises UsageError where there is no such model, or not as safetensors."""
        import open_clip

        folder = model_folder(source, "CLIP", ("*.json", "*.txt", "*.safetensors"))
        if not (folder / "open_clip_config.json").exists() or not list(folder.glob("*.safetensors")):
            raise UsageError(
                f"CLIP {source!r} is not in open_clip's layout",
                "its folder holds open_clip_config.json and a .safetensors file",
            )
        # Beside safetensors of another name than its own, open_clip might rather read these, which are pickles.
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pth"))
        first = next((name for name in _FIRST_READ if (folder / name).exists()), "")
        if pickled and not first.endswith(".safetensors"):
            raise UsageError(
                f"CLIP {source!r} holds {pickled[0]}, and only safetensors are read",
                f"take a folder without {', '.join(pickled)}",
            )
        if code := [p.name for p in sorted(folder.glob("*.json")) if b'"auto_map"' in p.read_bytes()]:
            raise UsageError(
                f"CLIP {source!r} wants to run code of its own ({code[0]} has an auto_map)",
                "give another --clip",
            )
        where = f"local-dir:{folder}"
        try:
            self.model, self.prepare = open_clip.create_model_from_pretrained(where, device=device)
            self.tokenize = open_clip.get_tokenizer(where)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UsageError(
                f"CLIP {source!r} cannot be read: {_first_line(error)}", "give another --clip"
            ) from error
        self.model.eval()
        self.device, self.name, self.digest = device, f"CLIP {Path(source).name}", fingerprint(folder, (".",))

    @torch.no_grad()
    def images(self, frames: Tensor) -> Tensor:
        ready = torch.stack([self.prepare(picture) for picture in _pictures(frames)])
        embeds: Tensor = self.model.encode_image(ready.to(self.device))
        return embeds.float().cpu()

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Tensor:
        embeds: Tensor = self.model.encode_text(self.tokenize(list(prompts)).to(self.device))
        return embeds.float().cpu()


class Dino:
    """A ViT trained by DINO (arXiv 2104.14294), in timm's layout or transformers': its class token."""

    def __init__(self, source: str = DINO, device: torch.device | str = "cpu") -> None:
        """Raises UsageError where there is no such model, or not as safetensors."""
        from transformers import AutoConfig, AutoImageProcessor, AutoModel

        folder = model_folder(source, "DINO", ("*.json", "*.safetensors"))
        hint = "its folder holds config.json of a ViT and model.safetensors, and preprocessor_config.json where it is transformers'"
        own = {"vit": {"add_pooling_layer": False}, "timm_wrapper": {}}  # by the kind of model
        try:
            kind = AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
            if kind not in own:
                raise UsageError(f"DINO {source!r} is no ViT, but {kind}", hint)
            self.prepare = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
            self.model, loaded = AutoModel.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, trust_remote_code=False, **own[kind]
            )
        except ImportError as error:
            raise UsageError(
                f"DINO {source!r} needs a package that is missing: {_first_line(error)}", "pip install timm"
            ) from error
        except UsageError:
            raise
        except Exception as error:  # whatever libraries say of somebody else's files
            raise UsageError(f"DINO {source!r} cannot be read: {_first_line(error)}", hint) from error
        if kind == "timm_wrapper" and getattr(self.model.timm_model, "cls_token", None) is None:
            raise UsageError(f"DINO {source!r} is no ViT with a class token", hint)
        if missing := sorted(loaded["missing_keys"]):  # left as they were drawn, they would measure nothing
            raise UsageError(f"DINO {source!r} is no ViT: it has no {missing[0]}", hint)
        self.model.eval().to(device)
        self.device, self.name, self.digest = device, f"DINO {Path(source).name}", fingerprint(folder, (".",))

    @torch.no_grad()
    def images(self, frames: Tensor) -> Tensor:
        ready = self.prepare(_pictures(frames), return_tensors="pt").to(self.device)
        embeds: Tensor = self.model(**ready).last_hidden_state[:, 0]
        return embeds.float().cpu()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _pictures(frames: Tensor) -> list[Any]:
    """Encoders' own preparation reads PIL pictures, and scales them as everybody's scores were made."""
    from PIL import Image

    pixels = frames.clamp(0, 1).mul(255).round().byte().movedim(1, -1).cpu().numpy()
    return [Image.fromarray(picture) for picture in pixels]


__all__ = ["CLIP", "DINO", "Dino", "Embedded", "ImageEncoder", "OpenClip", "TextImageEncoder"]
