"""What a user's settings can be refused with."""


class ConfigError(ValueError):
    """A configuration that cannot be used: the message says which field, what it got and what it wants."""


def require(holds: bool, message: str) -> None:
    """Raises ConfigError with the message unless it holds."""
    if not holds:
        raise ConfigError(message)


class Stopped(Exception):
    """SIGTERM came: the run is complete up to a finished step, and `--resume` goes on with it."""

    EXIT = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, start it again
