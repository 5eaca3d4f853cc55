"""The entry point, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

FAILED, ASKED_WRONGLY, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `ccvd` with `arguments` (default: those of the process). Returns the exit code.

    0 done, 1 failed, 2 asked wrongly, 130 interrupted.
    """
    debug = False
    _open_streams()
    try:
        from .app import app
        from .session import Session

        session = Session()
        try:
            code = app(args=arguments, prog_name="ccvd", obj=session, standalone_mode=False)
            sys.stdout.flush()  # a reader that has gone away is noticed here, not at exit
        finally:
            debug = session.debug
    except BaseException as error:  # all of them: this is where they end
        if debug and not isinstance(error, SystemExit):
            from .output import printable

            told = "".join(traceback.format_exception(error))
            print("\n".join(map(printable, told.splitlines())), file=sys.stderr)
        return _explain(error)
    if code == INTERRUPTED:  # Typer makes an exit code of Ctrl-C
        return _explain(KeyboardInterrupt())
    return code or 0


def _open_streams() -> None:
    """Closed streams swallow what is written to them; open ones escape what they cannot encode, such as a file's name in another encoding."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  for as long as the process lives
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _explain(error: BaseException) -> int:
    """Says what happened in one line, and what to do in another. Returns the exit code."""
    from .output import fail

    name = type(error).__name__
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    if isinstance(error, KeyboardInterrupt) or name == "Abort":
        fail("Interrupted.")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # Nobody reads stdout any more: give what is still buffered a place to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if hasattr(error, "format_message"):  # Click's, which newer versions of Typer carry themselves
        return _explain_usage(error)
    if hasattr(error, "message") and hasattr(error, "hint"):  # CcvdError, RegistryError
        fail(error.message, error.hint)
        return getattr(error, "exit_code", FAILED)
    first = (str(error).strip().splitlines() or [""])[0]
    if name in {"OutOfMemoryError", "MemoryError"}:
        fail(
            f"Out of memory: {first}" if first else "Out of memory",
            "Try fewer frames, a smaller size or batch, or --device cpu",
        )
    elif isinstance(error, OSError):
        fail(first)
    else:
        fail(f"Unexpected {name}: {first}", "`ccvd --debug ...` shows where")
    return FAILED


def _explain_usage(error: BaseException) -> int:
    from .output import fail

    message = error.format_message().replace("Value error, ", "")  # type: ignore[attr-defined]
    if errors := getattr(error.__cause__, "errors", None):  # pydantic's, which checked the value
        given = str(errors()[0]["input"])
        message += f", not '{given}'" if given not in message else ""
    if type(error).__name__ == "NoArgsIsHelpError":  # `ccvd` alone: its help, which may be printed already
        print(message, end="\n" if message else "")
        return 0
    context = getattr(error, "ctx", None)
    fail(message, f"`{context.command_path} --help` shows what it takes" if context else "")
    return ASKED_WRONGLY


if __name__ == "__main__":
    sys.exit(main())
