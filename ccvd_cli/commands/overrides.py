"""Options over typed settings: what was given on the command line, checked before anything heavy loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from ..errors import UsageError
from ..settings import Settings

S = TypeVar("S", bound=Settings)

_SHORT = {
    "adapter_steps": "--steps",
    "adapter_lr": "--lr",
    "orthogonal_weight": "--orthogonal",
    "outside_weight": "--outside-mask",
    "keep_weight": "--keep-outside",
    "attention_mask_weight": "--attention-mask",
    "debias_weight": "--debias",
    "find_path": "--path",
}


def override(defaults: S, options: Mapping[str, Any]) -> S:
    """`defaults` with every value of `options` (by field name) that is not None.

    Raises:
        UsageError: a value is out of range; names the option as it was typed.
    """
    given = {field: value for field, value in options.items() if value is not None}
    try:
        return type(defaults).model_validate({**defaults.model_dump(), **given})
    except ValidationError as error:
        field, problem = first_problem(error)
        raise UsageError(f"{option_of(field)} {error.errors()[0]['input']}: {problem}.") from error


def first_problem(error: ValidationError) -> tuple[str, str]:
    """The field that it is about, "" if it is about several, and what is wrong."""
    first = error.errors()[0]
    problem = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return "".join(map(str, first["loc"][:1])), problem


def option_of(field: str) -> str:
    """'--orthogonal' of orthogonal_weight: how a field of settings is typed."""
    return _SHORT.get(field, "--" + field.replace("_", "-"))
