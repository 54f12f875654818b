"""The errors of emojax, and how a suggestion is made of what may have been meant."""

import difflib
from collections.abc import Sequence


class ConfigError(ValueError):
    """A configuration that cannot be used: the message says which field, what it got and what it wants."""


def require(holds: bool, message: str) -> None:
    """Raises ConfigError with the message unless it holds."""
    if not holds:
        raise ConfigError(message)


class RunError(RuntimeError):
    """A run directory that cannot be used as asked, or a run that had to stop."""


class WriteError(OSError):
    """A file that could not be written: the message says which, why, how much room there was and what to do."""


class Stopped(Exception):
    """SIGTERM came: the run is complete up to a finished step, and is resumed with `--resume`."""

    EXIT = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, start it again


def nearest(name: str, names: Sequence[str]) -> str:
    """ ", did you mean 'x'?", or nothing.

    >>> nearest("grup", ["group", "batch"]) + nearest("zzz", ["group", "batch"])
    ", did you mean 'group'?"
    """
    close = difflib.get_close_matches(name, names, 1, 0.5)
    return f", did you mean {close[0]!r}?" if close else ""
