"""The errors of emojax, and what their messages are made of: values, and what may have been meant."""

import difflib
from collections.abc import Sequence
from typing import Any


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
    """SIGTERM or Ctrl-C came: the run is complete up to a finished step, and is resumed with `--resume`."""

    EXIT = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, start it again


def nearest(name: str, names: Sequence[str]) -> str:
    """ ", did you mean 'x'?", or nothing.

    >>> nearest("grup", ["group", "batch"]) + nearest("zzz", ["group", "batch"])
    ", did you mean 'group'?"
    """
    close = difflib.get_close_matches(name, names, 1, 0.5)
    return f", did you mean {close[0]!r}?" if close else ""


def shown(value: Any) -> str:
    """A value as an error shows it, in no more than a line.

    >>> len(shown("x" * 10**6))
    80
    """
    try:
        text = repr(value)
    except ValueError:  # a number with more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."
