"""The base contract: all that learners and samplers may know of a text-to-video model.

A new family is one file that provides `Base`. Shapes: frames (B, F, 3, H, W) in [-1, 1]; latents (B, C, F, h, w); text states
(B, L, T, D), one slice per text-conditioned layer. F of latents is that of frames, or less where a base keeps several frames in one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ...choices import Family
from ..transfer import sent

SiteKind = Literal["spatial", "temporal", "moment"]


@dataclass(frozen=True)
class Site:
    """A place where an adapter may join the frozen denoiser: spatial and temporal layers, or where text is told the moment of a frame.

    The spatial ones are the text-conditioned attentions, all of them, in the order that numbers the layers.

    name: the module beside which the adapter acts; norm: the normalisation in front of it, whose input is the block's hidden state;
    layer: the text-conditioned layer whose relevance weights it follows; width: channels of the hidden state; depth: of spatial ones, how many
    others come before it in the denoiser; by_cell: whether the hidden state's rows are cells, each through all frames (B * N, F, C), and not
    frames (B * F, N, C), or whole clips (B, F * N, C).
    """

    name: str
    norm: str
    kind: SiteKind
    layer: int
    width: int
    depth: int = 0
    by_cell: bool = False


@dataclass(frozen=True)
class TokenVectors:
    """Learned vectors of one concept's placeholder, (L, token_width): one per text-conditioned layer."""

    placeholder: str
    vectors: Tensor


class Places(NamedTuple):
    """Where a concept stands in prompts, each (B, T), true or false: at its name, and from the end token on of prompts that name it.

    That token sums the prompt up, so there the concept has its say too.
    """

    named: Tensor
    ended: Tensor


class Base(ABC):
    """A frozen text-to-video model. Its weights never change; everything learned lives beside it."""

    name: str
    family: Family
    fingerprint: str
    location: str
    device: torch.device
    dtype: torch.dtype
    denoiser: nn.Module
    sites: tuple[Site, ...]
    text_layers: int
    text_width: int  # of text states
    token_width: int  # of the vectors that are learned for a name
    own_cells: tuple[int, int] | None  # (h, w) of the latents that it was trained on, if it says
    own_size: tuple[int, int] | None  # the same in pixels
    image_width: int  # of the image embedding that guides appearance; 0: this base has no image encoder

    @abstractmethod
    def noun_vector(self, noun: str) -> Tensor:
        """The mean vector of a noun's tokens, (token_width,): where a concept's token starts."""

    @abstractmethod
    def encode_text(self, prompts: Sequence[str], tokens: Sequence[TokenVectors] = ()) -> Tensor:
        """Text states per layer, (B, L, T, D); differentiable in the token vectors. Prompts without placeholders cost one pass."""

    @abstractmethod
    def places(self, prompts: Sequence[str], placeholder: str) -> Places:
        """Where a concept stands in prompts. For prompts that `encode_text` has read: it makes one token of every name."""

    @abstractmethod
    def words(self, prompts: Sequence[str]) -> Tensor:
        """Which text states belong to words, (B, T), true or false: neither to the start nor to the end or the padding."""

    @abstractmethod
    def token_states(self, tokens: TokenVectors) -> Tensor:
        """Text states of a concept's token encoded alone, (L, D): its attribute prototype."""

    @abstractmethod
    def embed_images(self, frames: Tensor) -> Tensor:
        """Image embeddings, (N, E), of pictures (N, 3, H, W) in [-1, 1]. E is 0 without an image encoder."""

    @abstractmethod
    def encode_video(self, frames: Tensor) -> Tensor:
        """Frames -> scaled latents, float32."""

    @abstractmethod
    def decode_video(self, latents: Tensor) -> Tensor:
        """Scaled latents -> frames in [-1, 1], float32."""

    @abstractmethod
    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, F, h, w) of a clip. Raises UsageError for sizes that this base cannot make."""

    def frames_for(self, frames: int) -> int:
        """The least number of frames that this base can make, so many or more."""
        return frames

    def timesteps(
        self,
        batch: int,
        generator: torch.Generator,
        shift: float = 1.0,
        within: tuple[float, float] = (0.0, 1.0),
    ) -> Tensor:
        """Random training timesteps, (B,), as `predict` takes them.

        `within`: between which shares of the way from a picture to noise they are drawn, u; then, if `shift` > 1, high noise is favoured:
        shift u / (1 + (shift - 1) u).
        """
        low, high = within
        u = low + (high - low) * torch.rand(batch, generator=generator)
        return sent(self.times_of(shift * u / (1 + (shift - 1) * u)), self.device)

    @abstractmethod
    def times_of(self, levels: Tensor) -> Tensor:
        """Shares (B,) of the way from a picture to noise, as timesteps: indices, or floats up to 1000 on flows."""

    @abstractmethod
    def noise_and_target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """What the denoiser sees and what it should answer, both shaped like `latents`."""

    @abstractmethod
    def predict(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """The denoiser's answer to latents and text (or what `tell` made of it), float32; gradients flow to whatever is attached."""

    @abstractmethod
    def scheduler(self, name: str, steps: int) -> Any:
        """A diffusers scheduler, set to `steps`: "dpm++", "ddim", or "ddim-inverse", which climbs ddim's timesteps from a clip to noise.

        Raises:
            UsageError: it is none of these.
        """

    def tell(self, text: Tensor, moments: Tensor) -> Tensor:
        """What each frame reads: text (B, L, T, D) at moments (B or 1, F) -> (B, L, F, T, D), where this base `tells_moments`; else `text`.

        It depends on what is attached beside the "moment" sites, and not on the noise: once per prompt is enough.
        """
        return text

    def situate(self, text: Tensor, boxes: Tensor) -> Tensor:
        """What regions read: text (B, L, T, D), or what `tell` made of it, with boxes (B, F, 4) -> (B, L, F, T, D), where this base was
        trained to be told boxes; else `text`. A box that is the whole frame in all of them is not told, as that is
        what text means anyway; nor is an empty one.
        """
        return text

    @property
    def tells_moments(self) -> bool:
        """Whether the text that a frame reads says which frame it is."""
        return bool(self.sites_of("moment"))

    def still(self) -> AbstractContextManager[None]:
        """Within it, single pictures pass without the temporal layers, where the family was trained that way."""
        return nullcontext()

    def sites_of(self, *kinds: SiteKind) -> tuple[Site, ...]:
        return tuple(s for s in self.sites if s.kind in kinds)
