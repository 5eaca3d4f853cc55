"""The Typer app: global options, and the list of command modules.

To add a command, write a module with `register(app)` and name it in `_MODULES`. Its import must be cheap:
torch and what needs it are imported inside the functions.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from . import __version__
from .commands import (
    benchmark,
    compare,
    concepts,
    demo,
    edit,
    evaluate,
    exchange,
    find_masks,
    generate,
    learn,
    report,
    world,
)
from .paths import expanded
from .session import Session

_MODULES = (
    learn,
    find_masks,
    generate,
    edit,
    concepts,
    exchange,
    evaluate,
    compare,
    benchmark,
    report,
    demo,
    world,
)

_EXAMPLES = (
    "Examples:",
    "ccvd learn-subject --images photos/ --class-noun dog",
    'ccvd learn-motion --videos clips/ --class-noun "playing guitar"',
    'ccvd generate "a <V1> dog performing <V2> on the beach"',
    "ccvd list concepts",
)

app = typer.Typer(
    name="ccvd",
    help="Teach a frozen text-to-video model concept after concept, and compose them in one prompt.",
    epilog="\n\n".join(_EXAMPLES),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # errors become messages in __main__
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ccvd {__version__}")
        raise typer.Exit()


@app.callback()
def _global(
    ctx: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(
            "--home", envvar="CCVD_HOME", help="Folder of the registry.", show_default="your data folder"
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress; warnings and errors are still shown.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks, warnings.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Say the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    session = ctx.ensure_object(Session)
    session.home, session.quiet, session.debug = expanded(home), quiet, debug
    if not debug:
        warnings.simplefilter("ignore")  # libraries' deprecations are not the user's business


for _module in _MODULES:
    _module.register(app)
