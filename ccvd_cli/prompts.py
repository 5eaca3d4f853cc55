"""Which concepts a prompt names: `<V1>` stands for the concept V1."""

from __future__ import annotations

import re

from .errors import UsageError

_PLACEHOLDER = re.compile(r"<([^<>]*)>")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")  # the registry's rule for names
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
