"""What the U-Net families share: CLIP text per layer, a latent autoencoder, a DDPM schedule, components from a folder."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import CcvdError, UsageError
from .. import told
from ..attention import cross_attention_names, install_processors
from ..transfer import sent
from . import Found
from .contract import Base, Places, Site, TokenVectors
from .text import noun_ids, token_ids

# What to replace, by what, in a temporal block's path, to find the spatial attention beside it.
_BESIDE = (("motion_modules", "attentions"), ("temp_attentions", "attentions"))
_PASSED = ("down_blocks", "mid_block", "up_blocks")  # the order in which a U-Net's blocks are


def find_sites(denoiser: nn.Module, spatial: Sequence[str], temporal: Sequence[str]) -> tuple[Site, ...]:
    """DreamVideo's places (arXiv 2312.04433): the identity adapter beside spatial cross-attention, the motion adapter beside
    both self-attentions and the feed-forward of temporal blocks. `temporal` names their containers.

    Raises:
        CcvdError: the denoiser has no such places.
    """
    modules: dict[str, Any] = dict(denoiser.named_modules())
    layers = {name: i for i, name in enumerate(spatial)}
    passed = sorted(spatial, key=lambda name: _PASSED.index(name.partition(".")[0]))
    sites = [
        Site(
            name,
            name.removesuffix("attn2") + "norm2",
            "spatial",
            i,
            modules[name].query_dim,
            passed.index(name),
        )
        for name, i in layers.items()
    ]
    blocks = [
        n for n in modules if re.search(r"\.transformer_blocks\.\d+$", n) and any(t in n for t in temporal)
    ]
    layer = 0
    for block in blocks:
        near = [layers.get(f"{block.replace(a, b)}.attn2") for a, b in _BESIDE]
        layer = next((i for i in near if i is not None), layer)
        width = modules[f"{block}.attn1"].query_dim
        for part, norm in (("attn1", "norm1"), ("attn2", "norm2"), ("ff", "norm3")):
            sites.append(Site(f"{block}.{part}", f"{block}.{norm}", "temporal", layer, width, by_cell=True))
    for kind in ("spatial", "temporal"):
        if not any(s.kind == kind for s in sites):
            raise CcvdError(
                f"{type(denoiser).__name__} has no {kind} adapter sites",
                "use a text-to-video model of a known family",
            )
    return tuple(sites)


class LatentBase(Base):
    """A U-Net over latents, told by a CLIP text encoder. Subclasses name the denoiser's class and its temporal containers."""

    temporal_containers: tuple[str, ...]
    denoiser: Any
    image_mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def __init__(self, found: Found, device: torch.device, dtype: torch.dtype) -> None:
        folder = found.folder
        self.name, self.location, self.device, self.dtype = found.name, str(folder), device, dtype
        self._found = found
        self.fingerprint = found.fingerprint
        self.text_encoder, self.tokenizer = self._load_text(folder)
        self.vae = self._load_vae(folder)
        self.denoiser = self.load_denoiser(folder, self._weights_dtype)
        self.image_encoder = self._load_image_encoder(folder)
        self.text_width = self.token_width = int(self.text_encoder.config.hidden_size)
        # Of a base that was trained to be told moments, and boxes.
        self.clock = told.load(told.Clock, folder / "clock", self.text_width)
        self.atlas = told.load(told.Atlas, folder / "atlas", self.text_width)
        for part in (self.vae, self.denoiser):
            self._narrowed(part)
        models = self.text_encoder, self.vae, self.denoiser, self.image_encoder
        for part in (*models, self.clock, self.atlas):
            if part is not None:
                part.to(device).eval().requires_grad_(False)
        self.own_cells, self.own_size = found.own_cells, found.own_size
        self.text_layers = install_processors(self.denoiser, device)
        self.image_width = (
            int(self.image_encoder.config.projection_dim) if self.image_encoder is not None else 0
        )
        self.sites = find_sites(self.denoiser, cross_attention_names(self.denoiser), self.temporal_containers)
        if self.clock is not None:
            self.denoiser.clock = self.clock  # so that adapters find it
            self.sites += (Site("clock.told", "clock.told", "moment", 0, self.text_width),)
        self._plan = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        self._training = self._scheduler_class("DDIMScheduler").from_config(self._plan)
        self._vocabulary = len(self.tokenizer)

    @abstractmethod
    def load_denoiser(self, folder: Path, dtype: torch.dtype) -> Any:
        """The denoiser of a base's folder, on the CPU. Raises CcvdError if its weights cannot be loaded."""

    @property
    def _weights_dtype(self) -> torch.dtype:
        # Half-precision weights save memory on accelerators; on CPUs norms stay exact: see `_narrowed`.
        return torch.float32 if self.device.type == "cpu" else self.dtype

    def _narrowed(self, model: nn.Module) -> None:
        """Keeps in half precision what autocast would copy to it: at every pass, since nobody trains it. Answers are the same, bit for bit."""
        if self.dtype != torch.float32:
            for module in model.modules():
                if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)):
                    module.to(self.dtype)

    def _load_text(self, folder: Path) -> tuple[Any, Any]:
        from transformers import CLIPTextModel, CLIPTokenizer

        text = CLIPTextModel.from_pretrained(
            folder / "text_encoder", dtype=torch.float32, use_safetensors=True
        )
        return text, CLIPTokenizer.from_pretrained(folder / "tokenizer")

    def _load_vae(self, folder: Path) -> Any:
        from diffusers import AutoencoderKL, AutoencoderTiny

        config = json.loads((folder / "vae" / "config.json").read_text())
        kind = AutoencoderTiny if config["_class_name"] == "AutoencoderTiny" else AutoencoderKL
        return kind.from_pretrained(folder / "vae", torch_dtype=self._weights_dtype, use_safetensors=True)

    def _load_image_encoder(self, folder: Path) -> Any:
        """The CLIP image tower that guides appearance, where the folder holds one."""
        from transformers import CLIPVisionModelWithProjection

        if not (folder / "image_encoder").is_dir():
            return None
        return CLIPVisionModelWithProjection.from_pretrained(
            folder / "image_encoder", dtype=self._weights_dtype, use_safetensors=True
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    # -- text ---------------------------------------------------------------------------------------------------------------

    def _ids(self, prompts: Sequence[str], placeholders: Sequence[str]) -> Tensor:
        length = int(self.text_encoder.config.max_position_embeddings)
        return token_ids(self.tokenizer, prompts, placeholders, length)

    def noun_vector(self, noun: str) -> Tensor:
        ids = noun_ids(self.tokenizer, noun).to(self.device)
        embedding: Tensor = self.text_encoder.get_input_embeddings()(ids[0]).mean(0)
        return embedding.detach().clone()

    def encode_text(self, prompts: Sequence[str], tokens: Sequence[TokenVectors] = ()) -> Tensor:
        ids = self._ids(prompts, [t.placeholder for t in tokens])
        named = bool((ids >= self._vocabulary).any())
        ids = ids.to(self.device)
        if not named:
            states = self._encode(ids)
            return states[:, None].expand(-1, self.text_layers, -1, -1)
        known = self.tokenizer.get_added_vocab()
        repeated = ids.repeat_interleave(self.text_layers, 0)  # rows ordered prompt by prompt, layer by layer
        with self._reading_vectors(repeated, {known[t.placeholder]: t.vectors for t in tokens}):
            states = self._encode(repeated)
        return states.unflatten(0, (len(prompts), self.text_layers))

    def places(self, prompts: Sequence[str], placeholder: str) -> Places:
        ids = self._ids(prompts, [placeholder])
        named = ids == self.tokenizer.get_added_vocab()[placeholder]
        ended = self._ended(ids) & named.any(1, keepdim=True)
        return Places(named.to(self.device), ended.to(self.device))

    def words(self, prompts: Sequence[str]) -> Tensor:
        ids = self._ids(prompts, [])
        return (~self._ended(ids) & (ids != self.tokenizer.bos_token_id)).to(self.device)

    def _ended(self, ids: Tensor) -> Tensor:
        """The end token and the padding behind it, (B, T)."""
        return (ids == self.tokenizer.eos_token_id).cumsum(1) > 0

    def _encode(self, ids: Tensor) -> Tensor:
        states: Tensor = self.text_encoder(input_ids=ids).last_hidden_state
        return states

    @contextmanager
    def _reading_vectors(self, ids: Tensor, vectors: dict[int, Tensor]) -> Iterator[None]:
        """Within it, the embedding layer answers placeholder ids of row r with layer (r mod L)'s vector."""
        table = self.text_encoder.get_input_embeddings()
        layer = torch.arange(len(ids), device=ids.device) % self.text_layers

        def known_only(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (args[0].masked_fill(args[0] >= self._vocabulary, 0), *args[1:])

        def place(_: nn.Module, __: Any, out: Tensor) -> Tensor:
            for i, rows in vectors.items():
                mine = (ids == i)[..., None]
                out = torch.where(mine, rows.to(out)[layer][:, None], out)
            return out

        handles = [table.register_forward_pre_hook(known_only), table.register_forward_hook(place)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def token_states(self, tokens: TokenVectors) -> Tensor:
        return self.encode_text([tokens.placeholder], [tokens])[0, :, 1]  # position 0 is the start token

    # -- pictures -----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def embed_images(self, frames: Tensor) -> Tensor:
        if self.image_encoder is None:
            return torch.zeros(len(frames), 0)
        size = self.image_encoder.config.image_size
        x = (frames.float() + 1) / 2
        x = nn.functional.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
        x = x.to(self.device)  # only now: not every release of torch resizes so on Macs' GPUs
        x = (x - x.new_tensor(self.image_mean).view(3, 1, 1)) / x.new_tensor(self.image_std).view(3, 1, 1)
        embeds: Tensor = self.image_encoder(pixel_values=x.to(self._weights_dtype)).image_embeds
        return nn.functional.normalize(embeds.float(), dim=-1)

    @torch.no_grad()
    def encode_video(self, frames: Tensor) -> Tensor:
        batch = frames.shape[0]
        x = frames.flatten(0, 1).to(self.device, self._weights_dtype)
        with self._autocast():
            parts = [self._encode_frames(chunk) for chunk in x.split(16)]
        z = torch.cat(parts).float() * self.vae.config.scaling_factor
        return z.unflatten(0, (batch, -1)).transpose(1, 2)

    def _encode_frames(self, x: Tensor) -> Tensor:
        out = self.vae.encode(x)
        latents: Tensor = out.latents if hasattr(out, "latents") else out.latent_dist.mode()
        return latents

    @torch.no_grad()
    def decode_video(self, latents: Tensor) -> Tensor:
        batch = latents.shape[0]
        z = (
            latents.transpose(1, 2).flatten(0, 1).to(self.device, self._weights_dtype)
            / self.vae.config.scaling_factor
        )
        with self._autocast():
            parts = [self.vae.decode(chunk).sample for chunk in z.split(16)]
        return torch.cat(parts).float().clamp(-1, 1).unflatten(0, (batch, -1))

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        self._found.check_size(height, width, frames)
        channels, stride = int(self.denoiser.config["in_channels"]), self._found.stride
        return channels, frames, height // stride, width // stride

    # -- diffusion ----------------------------------------------------------------------------------------------------------

    def times_of(self, levels: Tensor) -> Tensor:
        steps = int(self._training.config.num_train_timesteps)
        return (levels * steps).long().clamp(max=steps - 1)

    def noise_and_target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        noisy = self._training.add_noise(latents, noise, timesteps)
        if self._training.config.prediction_type == "v_prediction":
            return noisy, self._training.get_velocity(latents, noise, timesteps)
        if self._training.config.prediction_type == "epsilon":
            return noisy, noise
        raise CcvdError(
            f"unknown prediction type {self._training.config.prediction_type!r} in the base's scheduler"
        )

    def tell(self, text: Tensor, moments: Tensor) -> Tensor:
        if self.clock is None:
            return text
        moments = sent(moments, text.device).expand(len(text), -1).repeat_interleave(self.text_layers, 0)
        with self._autocast():
            return self.clock(text.flatten(0, 1), moments).unflatten(0, text.shape[:2])

    def situate(self, text: Tensor, boxes: Tensor) -> Tensor:
        if self.atlas is None:
            return text
        each = text if text.ndim == 5 else text[:, :, None].expand(-1, -1, boxes.shape[1], -1, -1)
        boxes = boxes.to(text.device)
        whole = ((boxes - boxes.new_tensor([0, 0, 1, 1])).abs() < 1e-5).all(-1).all(-1, keepdim=True)
        untold = whole | (boxes[..., 2:] <= boxes[..., :2]).any(-1)
        with self._autocast():
            return torch.where(untold[:, None, :, None, None], each, self.atlas(each, boxes[:, None]))

    def predict(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        with self._autocast():
            answer: Tensor = self.denoiser(
                latents.to(self._weights_dtype), timesteps, text.to(self._weights_dtype)
            ).sample
        return answer.float()

    def scheduler(self, name: str, steps: int) -> Any:
        # Bases are saved with any scheduler's settings, in which DDIM's may be missing: its default clips, as is right for pixels.
        latent: dict[str, Any] = {"clip_sample": False}
        if self._plan.get("timestep_spacing") == "linspace":  # which inversion does not know
            latent["timestep_spacing"] = "leading"
        if name == "ddim":
            made = self._scheduler_class("DDIMScheduler").from_config(self._plan, **latent)
        elif name == "dpm++":
            made = self._scheduler_class("DPMSolverMultistepScheduler").from_config(
                self._plan, algorithm_type="dpmsolver++", solver_order=2, lower_order_final=True
            )
        elif name == "ddim-inverse":
            made = self._scheduler_class("DDIMInverseScheduler").from_config(self._plan, **latent)
        else:
            raise UsageError(f"unknown scheduler {name!r}", "choose dpm++ or ddim")
        made.set_timesteps(steps)
        _cut(made, steps)
        times, last = made.timesteps.tolist(), made.config.num_train_timesteps - 1
        if len(set(times)) < steps or not 0 <= min(times) <= max(times) <= last:
            raise UsageError(f"--steps {steps}: '{self.name}' has not so many noise levels.", "Take fewer.")
        return made

    @staticmethod
    def _scheduler_class(name: str) -> Any:
        import diffusers

        return getattr(diffusers, name)


def _cut(scheduler: Any, steps: int) -> None:
    """Takes away a timestep before the first: of some numbers of steps diffusers' `trailing` makes one more, at -1, by a rounding error."""
    times = scheduler.timesteps
    if len(times) <= steps:
        return
    scheduler.timesteps = times[-steps:] if times[0] < times[-1] else times[:steps]
    scheduler.num_inference_steps = steps
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = torch.cat([scheduler.sigmas[:steps], scheduler.sigmas[-1:]])


__all__ = ["LatentBase", "find_sites"]
