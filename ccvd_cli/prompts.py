"""Which concepts a prompt names: `<V1>` stands for the concept V1."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .errors import UsageError

_PLACEHOLDER = re.compile(r"<([^<>]*)>")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")  # the registry's rule for names
# How a sentence names a kind, and what it is called then. A subject stands anywhere.
_ROLES = {
    "motion": re.compile(r"\bperforming\s+<([^<>]*)>", re.IGNORECASE),
    "style": re.compile(r"\bin\s+(?:the\s+|an?\s+)?<([^<>]*)>\s+style\b", re.IGNORECASE),
}
_SAID = {"subject": "a <{}>", "motion": "performing <{}>", "style": "in <{}> style"}
_HINT = "A prompt names a concept as <V1>: a letter, then at most 31 letters, digits, '-' or '_'."


def named(prompt: str) -> list[str]:
    """The names of the placeholders in `prompt`, in order, each once.

    Raises:
        UsageError: the prompt is empty, or holds `<` or `>` in anything but a placeholder.
    """
    if not prompt.strip():
        raise UsageError("The prompt is empty.", 'Say what to show, such as "a <V1> dog surfing".')
    names: dict[str, None] = {}
    for found in _PLACEHOLDER.finditer(prompt):
        if not _NAME.fullmatch(found[1]):
            raise UsageError(f"'{found[0]}' in the prompt is no concept's name.", _HINT)
        names[found[1]] = None
    if stray := re.search("[<>]", _PLACEHOLDER.sub("", prompt)):
        raise UsageError(f"A single '{stray[0]}' in the prompt '{prompt}'.", _HINT)
    return list(names)


def check_kinds(prompt: str, kinds: Mapping[str, str]) -> None:
    """Whether every concept stands where its kind belongs: motions are performed, pictures are in a style.

    Args:
        kinds: "subject", "motion" or "style" by the concept's name; names that it lacks are not looked at.

    Raises:
        UsageError: `performing <V7>`, though V7 is no motion, or `in <V3> style`, though V3 is no style.
    """
    for role, words in _ROLES.items():
        for found in words.finditer(prompt):
            name = found[1]
            if kinds.get(name, role) != role:
                said = _SAID[kinds[name]].format(name)
                raise UsageError(
                    f"'{found[0]}' in the prompt: {name} is a {kinds[name]}, not a {role}.",
                    f"Say '{said}', or name a {role}; `ccvd list concepts` tells which is which.",
                )
