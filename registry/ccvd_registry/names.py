"""Concept names: which are legal, which comes next, which is meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_LEGAL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
# Of more digits, somebody chose it; one above may be no name any more.
_NUMBERED = re.compile(r"[Vv]([1-9][0-9]{0,8})")


def is_legal(name: str) -> bool:
    """A letter, then up to 31 letters, digits, '-' or '_': what a prompt can say as <V1>."""
    return _LEGAL.fullmatch(name) is not None


def same(name: str, other: str) -> bool:
    """Whether two names would be one word to a text encoder that lower-cases its prompt."""
    return name.lower() == other.lower()


def next_after(names: Iterable[str]) -> str:
    """`V<n>`, above every such name in `names`; V1 when there is none."""
    taken = {name.lower() for name in names}
    number = max((int(match[1]) for name in taken if (match := _NUMBERED.fullmatch(name))), default=0) + 1
    while f"v{number}" in taken:
        number += 1
    return f"V{number}"


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """At most three of `names` that somebody who typed `name` may have meant, best first."""
    spelled = {candidate.lower(): candidate for candidate in names}
    if name.lower() in spelled:
        return [spelled[name.lower()]]
    # Names are short: a generous cutoff, so that V9 still suggests V1.
    return [spelled[close] for close in difflib.get_close_matches(name.lower(), spelled, n=3, cutoff=0.4)]
