"""What a user's settings can be refused with."""


class ConfigError(ValueError):
    """A configuration that cannot be used: the message says which field, what it got and what it wants."""


def require(holds: bool, message: str) -> None:
    """Raises ConfigError with the message unless it holds."""
    if not holds:
        raise ConfigError(message)
