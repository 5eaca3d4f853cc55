"""LoRA-M: an adapter for each task, merged with equal weights whatever the prompt says."""

from __future__ import annotations

from .contract import Method, Part


class LoraMerge(Method):
    """All that was learned so far acts in every prompt; weights sum to 1 among spatial and among temporal adapters.

    Beside the clock a motion acts at its own name alone, in full, as everywhere: that adapter reads what a name says, and others' are not there.
    """

    name = "lora-merge"
    shares = True

    def weights_for(self, prompt: str) -> Part:
        return Part(prompt, list(self.known.values()), changes={"aggregation": "mean"})
