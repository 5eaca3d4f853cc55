"""Errors that a user can act on: one line saying what is wrong, one saying what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

# What json, yaml and their like raise for text that is none of theirs. YAML's tags convert values, each failing in its own way.
UNREADABLE = (ValueError, AttributeError, LookupError, RecursionError)


class CcvdError(Exception):
    """Something failed. `message` quotes the offending value, `hint` names the way out. Exit code 1."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CcvdError):
    """The user asked for something that cannot be: a bad value, file, name or folder. Exit code 2."""

    exit_code = 2


def first_of(error: ValidationError) -> str:
    """What is wrong with the first field that is wrong: `regions.0.prompt: Field required`."""
    first = error.errors()[0]
    return ": ".join(
        filter(None, [".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")])
    )


def shorten(text: str) -> str:
    """For a line on the screen: what somebody else wrote may be of any length."""
    return text if len(text) <= 200 else f"{text[:200]} ..."
