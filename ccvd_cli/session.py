"""What every command shares: where concepts are kept, and how much is said."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from ccvd_registry import Registry

T = TypeVar("T")


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

    def say(self, text: str) -> None:
        """One line of progress, on stderr."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)


def expanded(value: T) -> T:
    """Paths, alone or in a list, with the user's folder for `~`: shells leave that to us in `--out=~/clip.mp4`. Anything else as it is."""
    if isinstance(value, list):
        return [expanded(of) for of in value]  # type: ignore[return-value]
    if isinstance(value, Path):
        with suppress(RuntimeError):  # nobody is called so
            return value.expanduser()
    return value


def default_home() -> Path:
    """The platform's data folder for ccvd; it need not exist."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("ccvd", appauthor=False))
