"""What every command shares: where concepts are kept, and how much is said."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ccvd_registry import Registry


@dataclass
class Session:
    """One run of `ccvd`. `home` None is the platform's data folder."""

    home: Path | None = None
    quiet: bool = False
    debug: bool = False

    def with_options(self, *, home: Path | None, quiet: bool) -> Session:
        """Options given after the command's name win over those before it."""
        return replace(self, home=home or self.home, quiet=quiet or self.quiet)

    def registry(self) -> Registry:
        """The registry of this home. Nothing is read or created yet."""
        from ccvd_registry import Registry

        return Registry(self.home or default_home())

    def command(self, *words: object) -> str:
        """`ccvd` with these words as a shell takes them, for the same registry; CCVD_HOME need not be said again."""
        said = ["ccvd", *map(str, words)]
        if self.home and os.environ.get("CCVD_HOME") != str(self.home):
            said += ["--home", str(self.home)]
        return shlex.join(said)

    def say(self, text: str) -> None:
        """One line of progress, on stderr."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """One line on stderr that nobody should miss, however little is said."""
        print(text, file=sys.stderr, flush=True)


def default_home() -> Path:
    """The platform's data folder for ccvd; it need not exist."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("ccvd", appauthor=False))
