"""What the sizes of every family have in common: the name of their family, and what must hold of them."""

from typing import Any

from emojax.errors import require


def family(sizes: Any) -> str:
    """The name of a family, as configurations have it: `Whisper` of a `WhisperConfig`, or of the class itself.

    >>> from emojax.config import WhisperConfig
    >>> family(WhisperConfig), family(WhisperConfig())
    ('Whisper', 'Whisper')
    """
    kind = sizes if isinstance(sizes, type) else type(sizes)
    return kind.__name__.removesuffix("Config")


def require_positive(sizes: Any, *names: str) -> None:
    """Raises ConfigError where one of these fields is not above 0."""
    for name in names:
        value = getattr(sizes, name)
        require(value > 0, f"{family(sizes)}.{name} wants a positive number, got {value}")


def require_multiple(sizes: Any, name: str, of: str) -> None:
    """Raises ConfigError where the field `name` is no multiple of the field `of`."""
    value, step = getattr(sizes, name), getattr(sizes, of)
    require(
        step > 0 and value % step == 0,
        f"{family(sizes)}.{name} wants a multiple of {family(sizes)}.{of}={step}, got {value}",
    )
