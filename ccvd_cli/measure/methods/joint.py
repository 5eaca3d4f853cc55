"""Upper bound: each concept is learned alone, as if it were the only one."""

from __future__ import annotations

from .contract import Method, Part


class Joint(Method):
    """Nothing that was learned before or after acts or is looked at."""

    name = "joint"
    shares = True

    def weights_for(self, prompt: str) -> Part:
        return Part(prompt, self.named(prompt), changes=self.row(prompt))
