"""What can be known exactly of clips of the embedded world: what the words of a prompt say, and whom a folder of `ccvd world` shows.

Judges that were trained on rendered truth then say whether a clip shows it (`exact.Exact`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import UNREADABLE
from ..regions import Box
from ..world import heldout
from ..world.heldout import BLOCK
from ..world.motions import HELDOUT_MOTIONS
from ..world.styles import STYLES
from .exact import Boxes, Exact, Shown, is_subject, least, nameless, shown_by

if TYPE_CHECKING:
    from ..engine.bases.contract import Base
    from ..world.judge_making import OnStep

Facts = Mapping[str, str]  # a field of `Shown` -> name
CAPTIONS = "captions.jsonl"
_STYLED = re.compile(r"\bin\s+(?:the\s+|an?\s+)?<[^<>]+>\s+style\b", re.IGNORECASE)


def known(prompt: str, plain: str, truth: Facts) -> Shown:
    """What a clip should show by the words of its prompt, and by whom or what its concept is known to be.

    Args:
        prompt: with names; in a style, colours and textures have none.
        plain: as it reads to who knows no concept.
    """
    said: dict[str, Any] = dict(truth)
    shown = replace(shown_by(plain), **said)
    return nameless(shown, styled=in_style(prompt))


def known_of_several(prompt: str, plain: str, truths: Sequence[Facts], boxes: Sequence[Box | None]) -> Shown:
    """The same of a prompt that names several, by the truth of each, and the box that each is looked for in, if it has one.

    Of several actors no attribute is read but scene and style; each subject is looked for in its own box. Of two motions or styles, or
    of subjects that have no boxes, there is no one answer.
    """
    crowd = [box for box in boxes if box is not None]
    said: dict[str, set[str]] = {}
    for truth in truths:
        for k, v in truth.items():
            said.setdefault(k, set()).add(v)
    if crowd:
        said.pop("subject", None)
    shown = known(prompt, plain, {k: v for k, (v, *others) in said.items() if not others})
    unclear: dict[str, Any] = {k: None for k, (_, *others) in said.items() if others}
    shown = replace(shown, **unclear)
    if not crowd:
        return shown
    placed = [(t["subject"], box) for t, box in zip(truths, boxes, strict=True) if box and "subject" in t]
    return replace(
        shown, noun=None, colour=None, texture=None, motion=None, subject=None, boxes=tuple(placed)
    )


def in_style(prompt: str) -> bool:
    return bool(_STYLED.search(prompt))


def drawn(folder: Path, kind: str, files: Iterable[str]) -> dict[str, str]:
    """Which held-out subject, motion or style `ccvd world` drew into a folder (or one file of it), as a field of `Shown`, {"subject": "dog-10"}.

    It says so in `captions.jsonl`, which may be anybody's: nothing if that does not tell of all `files`, of one thing, and of this world.
    """
    try:
        lines = (
            (folder if folder.is_dir() else folder.parent)
            .joinpath(CAPTIONS)
            .read_text(encoding="utf-8")
            .splitlines()
        )
        entries = {entry["file"]: entry for entry in map(json.loads, lines)}
        told = [entries[name] for name in files]
        known = {
            "subject": is_subject,
            "motion": HELDOUT_MOTIONS.__contains__,
            "style": STYLES.__contains__,
        }[kind]
        (name,) = {str(entry[kind]) for entry in told}
    except (OSError, TypeError, *UNREADABLE):
        return {}
    return {kind: name} if known(name) else {}


def _block(name: str) -> int:
    return heldout.index_of(name) // BLOCK


@dataclass(frozen=True)
class Judges:
    """Judges by the block of held-out subjects that they tell apart. What is about no such subject is asked of the first, 0."""

    blocks: Mapping[int, Exact]
    block_of: Callable[[str], int] = _block  # by a subject's name

    @classmethod
    def alone(cls, exact: Exact) -> Judges:
        """One who knows all subjects that are asked about; trained when it is first asked."""
        return cls({0: exact}, lambda _: 0)

    @classmethod
    def of(
        cls, base: Base, folder: Path, subjects: Iterable[str], on_step: OnStep = lambda *_: None
    ) -> Judges:
        """Trained now, if they are not in `folder` yet; of identities only for the blocks of these subjects."""
        wanted = {_block(name) for name in subjects}
        blocks = {
            b: Exact(base, range(b * BLOCK, (b + 1) * BLOCK), folder, on_step) for b in sorted(wanted | {0})
        }
        for b, exact in blocks.items():
            exact.attributes.eval()
            if b in wanted:
                exact.identity.eval()
        return cls(blocks)

    def digests(self, truths: Sequence[Facts]) -> dict[str, str]:
        """Of those who are asked about them, by name, as encoders have them: what others say cannot be compared."""
        subjects = [truth["subject"] for truth in truths if "subject" in truth]
        blocks = sorted({self.block_of(name) for name in subjects})
        found = self.blocks[0].digests(identity=False)
        for b in blocks:
            told = self.blocks[b].digests(identity=True)
            found |= told if len(blocks) == 1 else {f"{name} {b}": digest for name, digest in told.items()}
        return found

    def accuracies(self, shown: Shown, styled: bool = False, *, frames: int) -> dict[str, float]:
        """Of every metric that `shown` has an answer to, its judge's share of right answers on rendered truth, of that in styles if `styled`."""
        alone = self._exact(shown.subject).accuracies(replace(shown, boxes=()), styled=styled, frames=frames)
        in_boxes = [
            e.accuracies(Shown(boxes=of), styled=styled, frames=frames)
            for e, of in self._boxes_by_judge(shown)
        ]
        return least([alone, *in_boxes])

    def scores(self, clip: Tensor, shown: Shown, styled: bool = False) -> dict[str, float]:
        """Of a clip (F, 3, H, W) in [0, 1], by metric. What is known of less than 97 in 100 rendered clips is left out."""
        found = self._exact(shown.subject).scores(clip, replace(shown, boxes=()), styled=styled)
        shares: dict[str, list[float]] = {}
        for exact, boxes in self._boxes_by_judge(shown):
            for metric, share in exact.scores(clip, Shown(boxes=boxes), styled=styled).items():
                shares.setdefault(metric, []).extend([share] * len(boxes))
        return found | {metric: sum(of) / len(of) for metric, of in shares.items()}

    def _boxes_by_judge(self, shown: Shown) -> list[tuple[Exact, Boxes]]:
        """Boxes, by who can tell their subjects apart from others."""
        groups: dict[int, list[tuple[str, Box]]] = {}
        for name, box in shown.boxes:
            groups.setdefault(self.block_of(name), []).append((name, box))
        return [(self.blocks[b], tuple(of)) for b, of in sorted(groups.items())]

    def _exact(self, subject: str | None) -> Exact:
        return self.blocks[self.block_of(subject) if subject else 0]


__all__ = ["BLOCK", "Facts", "Judges", "drawn", "in_style", "known", "known_of_several"]
