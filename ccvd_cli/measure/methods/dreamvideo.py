"""DreamVideo (arXiv 2312.04433): concepts are learned apart, and those that a prompt names are simply put together."""

from __future__ import annotations

from ...choices import Kind
from ...settings import Recipe
from .contract import Method, Part


class DreamVideo(Method):
    """One token for all layers, no orthogonal loss; the adapters of those named act in full."""

    name = "dreamvideo"
    shares = True

    def recipe(self, kind: Kind) -> Recipe:
        return super().recipe(kind).model_copy(update={"tokens": "shared", "orthogonal_weight": 0.0})

    def weights_for(self, prompt: str) -> Part:
        return Part(prompt, self.named(prompt), changes={"aggregation": "off"})
