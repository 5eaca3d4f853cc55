"""From a plain function to a command: option bundles are spread out, shared options and examples are added.

A command is a function of a `Session`, its own arguments and at most a few dataclasses of options; it never
sees Typer. `command` builds the flat signature that Typer reads.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from ..paths import expanded
from ..session import Session
from .options import SharedOptions


def command(
    app: typer.Typer, name: str, function: Callable[..., None], *, examples: Sequence[str], panel: str = ""
) -> None:
    """Adds `function` to `app` as the command `name`.

    Args:
        function: its first parameter is the Session; a parameter annotated with a dataclass becomes one
            option per field. The docstring is the help.
        examples: command lines shown at the end of the help.
        panel: the heading it is listed under.
    """
    epilog = "\n\n".join(["Examples:", *examples])
    app.command(name, epilog=epilog, rich_help_panel=panel or None)(_flat(function))


def _flat(function: Callable[..., None]) -> Callable[..., None]:
    # Not get_type_hints: on Python 3.10 it hides the Annotated of a parameter whose default is None in an Optional.
    _, *own = inspect.signature(function, eval_str=True).parameters.values()
    bundles: dict[str, Any] = {p.name: p.annotation for p in own if dataclasses.is_dataclass(p.annotation)}
    parameters = [_keyword("ctx", typer.Context)]
    for parameter in own:
        if parameter.name in bundles:
            parameters += _fields(bundles[parameter.name])
        else:
            parameters.append(_keyword(parameter.name, parameter.annotation, parameter.default))
    parameters += _fields(SharedOptions)

    def flat(*, ctx: typer.Context, **given: Any) -> None:
        values = {name: expanded(value) for name, value in given.items()}
        shared = _bundle(SharedOptions, values)
        session = (ctx.obj or Session()).with_options(**dataclasses.asdict(shared))
        bundled = {name: _bundle(kind, values) for name, kind in bundles.items()}
        if session.quiet:  # the hub's bars too; it reads this when it is imported
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        function(session, **values, **bundled)

    flat.__name__, flat.__doc__ = function.__name__, inspect.getdoc(function)
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat


def _fields(bundle: type) -> list[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    return [_keyword(f.name, hints[f.name], f.default) for f in dataclasses.fields(bundle)]


def _bundle(kind: type, values: dict[str, Any]) -> Any:
    """Takes the fields of `kind` out of `values`."""
    return kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(kind)})


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    if default is dataclasses.MISSING:
        default = inspect.Parameter.empty
    of, *more = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if of in (bool, bool | None):  # a switch takes no value, and its help has no room for one
        for option in more:
            option.metavar = ""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
