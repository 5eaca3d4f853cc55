"""What can be known exactly of clips of the embedded world: what the words of a prompt say, and whom a folder of `ccvd world` shows.

Judges that were trained on rendered truth then say whether a clip shows it (`world.judge`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..world.heldout import subject
from ..world.motions import HELDOUT_MOTIONS, MOTIONS
from ..world.render import COLOURS
from ..world.scenes import PLACES
from ..world.shapes import NOUNS
from ..world.styles import STYLES

if TYPE_CHECKING:
    from ..world.judge import Autoencoder, Judge

Truth = Mapping[str, str]  # attribute -> name
OnStep = Callable[[str, int, int, float | None], None]  # stage, step, total, loss
CAPTIONS = "captions.jsonl"
BLOCK = len(NOUNS)  # held-out subjects that are told apart from each other
JUDGED = ("noun", "colour", "scene", "motion_word", "identity", "motion_class", "style")
ACCURATE = 0.97  # a judge that is right less often is not asked
_WORDS: dict[str, Mapping[str, str]] = {  # attribute -> name -> how a prompt says it
    "noun": {noun: noun for noun in NOUNS},
    "colour": {colour: colour for colour in COLOURS},
    "scene": PLACES,
    "motion_word": {motion: motion for motion in MOTIONS},  # `motion` is a score already: how alike paths are
}
_STYLED = re.compile(r"\bin\s+(?:the\s+|an?\s+)?<[^<>]+>\s+style\b", re.IGNORECASE)


def said(prompt: str, plain: str) -> dict[str, str]:
    """What the words of a prompt ask for, by attribute; what is said twice in different ways, or not at all, is left out.

    Args:
        prompt: with names; in a style, colours have no name.
        plain: as it reads to who knows no concept.
    """
    asked = {}
    for attribute, words in _WORDS.items():
        found = [name for name, word in words.items() if re.search(rf"\b{word}\b", plain, re.IGNORECASE)]
        if len(found) == 1 and not (attribute == "colour" and in_style(prompt)):
            asked[attribute] = found[0]
    return asked


def in_style(prompt: str) -> bool:
    return bool(_STYLED.search(prompt))


def shown(folder: Path, kind: str, files: Iterable[str]) -> dict[str, str]:
    """Which held-out subject, motion or style `ccvd world` drew into a folder, as {"identity": "dog-10"}.

    It says so in `captions.jsonl`, which may be anybody's: nothing if that does not tell of all `files`, of one thing, and of this world.
    """
    try:
        lines = (folder / CAPTIONS).read_text(encoding="utf-8").splitlines()
        entries = {entry["file"]: entry for entry in map(json.loads, lines)}
        told = [entries[name] for name in files]
        key, attribute, known = {
            "subject": ("subject", "identity", _is_subject),
            "motion": ("motion", "motion_class", HELDOUT_MOTIONS.__contains__),
            "style": ("style", "style", STYLES.__contains__),
        }[kind]
        (name,) = {str(entry[key]) for entry in told}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {attribute: name} if known(name) else {}


def _is_subject(name: str) -> bool:
    index = name.rpartition("-")[2]
    return index.isdecimal() and len(index) < 10 and subject(int(index)).name == name


@dataclass(frozen=True)
class Exact:
    """Judges of known accuracy: of attributes, and of identities by the block of subjects that they tell apart."""

    attributes: Judge
    identities: Mapping[int, Judge] = field(default_factory=dict)

    def digests(self, truth: Truth) -> dict[str, str]:
        """Of those who are asked about it, by name, as encoders have them: what others say cannot be compared."""
        asked = {"judge of attributes": self.attributes}
        if judge := self._judge("identity", truth.get("identity", ""))[0]:
            asked["judge of identities"] = judge
        return {name: _digest(judge) for name, judge in asked.items()}

    def accuracy(self, attribute: str, name: str, styled: bool) -> float:
        """Share of right answers on rendered truth, of clips in a style if it is about such; 0 if nobody can say."""
        judge, part = self._judge(attribute, name)
        if judge is None:
            return 0.0
        return judge.accuracy.get(f"{part}, styled" if styled and part != "style" else part, 0.0)

    def scores(self, clip: Tensor, truth: Truth, *, styled: bool = False) -> dict[str, float]:
        """By attribute, 1.0 if a clip (F, 3, H, W) in [0, 1] shows what is true and 0.0 if not. What judges know too badly is left out."""
        found: dict[str, float] = {}
        seen: dict[int, dict[str, str]] = {}
        for attribute, name in truth.items():
            judge, part = self._judge(attribute, name)
            if judge is None or self.accuracy(attribute, name, styled) < ACCURATE:
                continue
            if id(judge) not in seen:
                (seen[id(judge)],) = judge.read(clip[None])
            found[attribute] = float(seen[id(judge)][part] == name)
        return found

    def _judge(self, attribute: str, name: str) -> tuple[Judge | None, str]:
        """Who says it, and what it is called there."""
        if attribute == "identity":
            return self.identities.get(_block(name)) if name else None, attribute
        return self.attributes, "motion" if attribute.startswith("motion") else attribute


def exact(
    autoencoder: Autoencoder,
    folder: Path,
    names: Iterable[str],
    on_step: OnStep = lambda *_: None,
) -> Exact:
    """Judges of attributes, and of the subjects of these names among the others of their blocks; each is trained once and kept in `folder`."""
    from ..world.judge import attribute_judge, identity_judge

    identities = {
        b: identity_judge(range(b * BLOCK, (b + 1) * BLOCK), autoencoder, folder, on_step=on_step)
        for b in sorted({_block(name) for name in names})
    }
    return Exact(attribute_judge(autoencoder, folder, on_step=on_step), identities)


def _block(name: str) -> int:
    return int(name.rpartition("-")[2]) // BLOCK


def _digest(judge: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(judge.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


__all__ = ["ACCURATE", "BLOCK", "JUDGED", "Exact", "Truth", "exact", "in_style", "said", "shown"]
