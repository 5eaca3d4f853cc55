"""What is said of a concept while it is learned."""

from __future__ import annotations


def motion_prompts(name: str) -> tuple[str, ...]:
    """The name at several places of a sentence: it will have to mean the same behind whoever performs it."""
    return tuple(f"{who} performing <{name}>".lstrip() for who in ("", "a thing", "a big thing"))


def style_prompts(name: str) -> tuple[str, ...]:
    """The name behind several things: it will have to mean the same behind whatever is shown."""
    return tuple(f"{what} in <{name}> style".lstrip() for what in ("", "a picture", "a thing"))
