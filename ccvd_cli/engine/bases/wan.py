"""Wan 2.1: a transformer over patches of all frames at once, told by UMT5 and trained by flow matching (arXiv 2503.20314).

    x_s = (1 - s) x_0 + s noise,      target = noise - x_0,      s in (0, 1) being the share of noise.

Where concepts join (ours): subjects and styles beside the cross-attention of every block, motions beside its self-attention and its
feed-forward, whose outputs are gated by the time. A concept's vectors stand at its name in what the text encoder *answers*, one for each
block: to learn through thirty passes of an encoder of this size would be too dear. The encoder itself reads a name as a word left out. What
it answers is projected to the transformer's width once per prompt, and not at every step.

The encoder, four times as large as the transformer, is on the device only while prompts are read; blocks are run again for their gradients
instead of keeping all that they compute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...errors import CcvdError, UsageError
from ..attention import LayerTextAttention
from . import Found
from .contract import Base, Places, Site, TokenVectors
from .text import noun_ids, token_ids

LONGEST = 512  # tokens of a prompt; behind its end the text states are zero, and are read all the same
LEFT_OUT = "<extra_id_{}>"  # how UMT5 was shown, in its pretraining, that something is missing: 0 the first, 1 the second
REMEMBERED = 64  # prompts
TIMES = 1000  # what the denoiser is told of a share of noise of 1


def find_sites(denoiser: Any) -> tuple[Site, ...]:
    """In front of each site stands a normalisation, whose input is the block's hidden state (B, F * h * w, C)."""
    width = int(denoiser.patch_embedding.out_channels)
    places = [("attn2", "norm2", "spatial"), ("attn1", "norm1", "temporal"), ("ffn", "norm3", "temporal")]
    return tuple(
        Site(f"blocks.{i}.{name}", f"blocks.{i}.{norm}", kind, i, width, i if kind == "spatial" else 0)  # type: ignore[arg-type]
        for name, norm, kind in sorted(places, key=lambda place: place[2])
        for i in range(len(denoiser.blocks))
    )


class WanBase(Base):
    """Parts are loaded by their own classes. There is no image encoder, so motions are learned unguided."""

    family = "wan"
    denoiser: Any

    def __init__(self, found: Found, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKLWan, WanTransformer3DModel
        from transformers import AutoTokenizer, UMT5EncoderModel

        folder = found.folder
        self.name, self.location, self.device, self.dtype = found.name, str(folder), device, dtype
        self.fingerprint = found.fingerprint
        self._found = found
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", trust_remote_code=False)
        self.text_encoder = _whole(UMT5EncoderModel, folder / "text_encoder", dtype=dtype)
        self.vae = _whole(AutoencoderKLWan, folder / "vae", torch_dtype=torch.float32)
        self.denoiser = _whole(WanTransformer3DModel, folder / "transformer", torch_dtype=dtype)
        for part in (self.vae, self.denoiser):
            part.to(device)
        self.denoiser.enable_gradient_checkpointing(run_again)
        embedder = self.denoiser.condition_embedder
        self.text_embedder = embedder.text_embedder.float()
        embedder.text_embedder = nn.Identity()
        # Autocast would tell the time in half precision, in which many moments are one.
        exact = torch.autocast(device.type, enabled=False)
        embedder.time_embedder.forward = exact(embedder.time_embedder.forward)
        self.sites = find_sites(self.denoiser)
        self.text_layers = len(self.denoiser.blocks)
        for site in self.sites_of("spatial"):
            self.denoiser.get_submodule(site.name).set_processor(
                LayerTextAttention(site.layer, device.type == "cpu")
            )
        self.text_width, self.token_width = self.sites[0].width, int(self.text_encoder.config.d_model)
        self.image_width, self.own_cells, self.own_size = 0, None, None
        config = self.vae.config
        self._mean, self._std = (
            torch.tensor(x, device=device).view(-1, 1, 1, 1)
            for x in (config.latents_mean, config.latents_std)
        )
        plan = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        self._shift = float(plan.get("flow_shift") or plan.get("shift") or 1.0)
        self._vocabulary = len(self.tokenizer)
        self._answered: dict[tuple[int, ...], Tensor] = {}
        self._reading = False  # whether the text encoder is on the device: until the denoiser is asked

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    # -- text ---------------------------------------------------------------------------------------------------------------

    def _ids(self, prompts: Sequence[str], placeholders: Sequence[str]) -> Tensor:
        plain = [" ".join(prompt.split()) for prompt in prompts]
        return token_ids(
            self.tokenizer, plain, placeholders, min(LONGEST, int(self.tokenizer.model_max_length))
        )

    @torch.no_grad()
    def _encode(self, ids: Tensor) -> Tensor:
        """(B, T) -> what the encoder answers, (B, T, token_width), float32; zero behind the end."""
        if not self._reading:
            self.text_encoder.to(self.device)
            self._reading = True
        read = (ids != self.tokenizer.pad_token_id).to(self.device)
        states: Tensor = self.text_encoder(
            input_ids=ids.to(self.device), attention_mask=read.long()
        ).last_hidden_state
        return states.float() * read[..., None]

    @torch.no_grad()
    def _answers(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, text_width), projected. Of each prompt the encoder, the largest part, is asked once, whoever is named in it."""
        found = []
        for row in map(tuple, self._without_names(ids).tolist()):
            if row not in self._answered:
                self._answered[row] = self.text_embedder(self._encode(torch.tensor([row])))[0]
            found.append(self._answered[row])
        while len(self._answered) > REMEMBERED:
            self._answered.pop(next(iter(self._answered)))
        return torch.stack(found)

    def _without_names(self, ids: Tensor) -> Tensor:
        """The same, with words left out instead of names: the first, the second ..."""
        names = ids >= self._vocabulary
        nth = (names.cumsum(1) - 1).clamp(min=0)
        missing = [
            self.tokenizer.convert_tokens_to_ids(LEFT_OUT.format(k)) for k in range(int(nth.max()) + 1)
        ]
        return torch.where(names, torch.tensor(missing)[nth], ids)

    def noun_vector(self, noun: str) -> Tensor:
        ids = noun_ids(self.tokenizer, noun)
        return self._encode(ids)[0].mean(0)

    def encode_text(self, prompts: Sequence[str], tokens: Sequence[TokenVectors] = ()) -> Tensor:
        ids = self._ids(prompts, [t.placeholder for t in tokens])
        text = self._answers(ids)[:, None].expand(-1, self.text_layers, -1, -1)
        known = self.tokenizer.get_added_vocab()
        for t in tokens:
            mine = ids == known[t.placeholder]
            if mine.any():
                mine = mine.to(self.device)[:, None, :, None]
                text = torch.where(mine, self.token_states(t)[None, :, None], text)
        return text

    def token_states(self, tokens: TokenVectors) -> Tensor:
        states: Tensor = self.text_embedder(tokens.vectors.to(self.device, torch.float32))
        return states

    def places(self, prompts: Sequence[str], placeholder: str) -> Places:
        ids = self._ids(prompts, [placeholder])
        named = ids == self.tokenizer.get_added_vocab()[placeholder]
        ended = (ids == self.tokenizer.eos_token_id) & named.any(1, keepdim=True)
        return Places(named.to(self.device), ended.to(self.device))

    def words(self, prompts: Sequence[str]) -> Tensor:
        ids = self._ids(prompts, [])
        silent = torch.tensor([self.tokenizer.eos_token_id, self.tokenizer.pad_token_id])
        return (~torch.isin(ids, silent)).to(self.device)

    # -- pictures -----------------------------------------------------------------------------------------------------------

    def embed_images(self, frames: Tensor) -> Tensor:
        return torch.zeros(len(frames), 0)

    @torch.no_grad()
    def encode_video(self, frames: Tensor) -> Tensor:
        clips = frames.transpose(1, 2).split(1)  # one fits where several would not
        z = torch.cat([self.vae.encode(c.to(self.device, torch.float32)).latent_dist.mode() for c in clips])
        return (z - self._mean) / self._std

    @torch.no_grad()
    def decode_video(self, latents: Tensor) -> Tensor:
        z = latents.to(self.device, torch.float32) * self._std + self._mean
        clips = torch.cat([self.vae.decode(clip).sample for clip in z.split(1)])
        return clips.clamp(-1, 1).transpose(1, 2)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        self._found.check_size(height, width, frames)
        stride = self._found.stride
        channels = int(self.denoiser.config.in_channels)
        return channels, 1 + (frames - 1) // self._found.frame_stride, height // stride, width // stride

    def frames_for(self, frames: int) -> int:
        return self._found.frames_for(frames)

    # -- flow ---------------------------------------------------------------------------------------------------------------

    def times_of(self, levels: Tensor) -> Tensor:
        return TIMES * levels

    def noise_and_target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        s = (timesteps.to(latents) / TIMES).view(-1, 1, 1, 1, 1)
        return (1 - s) * latents + s * noise, noise - latents

    def predict(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        if self._reading:
            self.text_encoder.to("cpu")
            self._reading = False
        with self._autocast():
            answer: Tensor = self.denoiser(
                latents.to(self.dtype), timesteps, text.to(self.dtype), return_dict=False
            )[0]
        return answer.float()

    def scheduler(self, name: str, steps: int) -> Any:
        """DPM-Solver++ of the second order, or of the first, which is Euler's for flows as DDIM is for diffusion; or Euler's upwards."""
        import diffusers

        if name not in ("dpm++", "ddim", "ddim-inverse"):
            raise UsageError(f"unknown scheduler {name!r}", "choose dpm++ or ddim")
        made = diffusers.DPMSolverMultistepScheduler(
            num_train_timesteps=TIMES,
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            flow_shift=self._shift,
            algorithm_type="dpmsolver++",
            solver_order=2 if name == "dpm++" else 1,
        )
        made.set_timesteps(steps)
        # It has them cut to whole numbers, of which many steps would share some.
        made.timesteps = TIMES * made.sigmas[:-1]
        if name != "ddim-inverse":
            return made
        climbing = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=TIMES)
        climbing.set_timesteps(steps)
        climbing.sigmas = made.sigmas.flip(0)
        # Those of a step's upper end, as for DDIM: in a clean clip nobody could tell the noise.
        climbing.timesteps = made.timesteps.flip(0)
        return climbing


def _whole(kind: Any, folder: Path, **how: Any) -> Any:
    """A part with all of its weights, frozen. Raises CcvdError if some are missing, which the libraries would make up."""
    part, loaded = kind.from_pretrained(folder, use_safetensors=True, output_loading_info=True, **how)
    if missing := sorted(loaded["missing_keys"]):
        raise CcvdError(
            f"{folder.name} of the base in '{folder.parent}' has no weights {', '.join(missing[:3])}"
            f"{' ...' if len(missing) > 3 else ''}",
            "download it anew",
        )
    return part.eval().requires_grad_(False)


# Where torch keeps what `attached` and `watching` have registered.
_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)


def run_again(block: nn.Module, *inputs: Any) -> Any:
    """Gradient checkpointing: gradients are taken when what was attached to a block is gone, and running it again needs that once more."""
    then = _hooks_of(block)

    @contextmanager
    def as_then() -> Iterator[None]:
        now = _hooks_of(block)
        try:
            _hook(then)
            yield
        finally:
            _hook(now)

    return checkpoint(
        block,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), as_then()),
    )


def _hooks_of(block: nn.Module) -> list[tuple[nn.Module, str, dict[int, Any]]]:
    return [(m, name, dict(getattr(m, name))) for m in block.modules() for name in _HOOKS]


def _hook(these: list[tuple[nn.Module, str, dict[int, Any]]]) -> None:
    for module, name, hooks in these:
        kept = getattr(module, name)
        kept.clear()
        kept.update(hooks)
