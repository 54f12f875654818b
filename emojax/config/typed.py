"""Values as the fields of dataclasses want them, from text and from JSON."""

import ast
import dataclasses
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from emojax.config.aliases import as_saved, family_now
from emojax.config.parts import split
from emojax.config.sizes import family
from emojax.errors import ConfigError, nearest


def build(cls: type, values: dict[str, Any], prefix: str) -> Any:
    """A dataclass from its fields as JSON has them; `prefix` is its place with a dot behind, for messages."""
    hints, values = typing.get_type_hints(cls), as_saved(cls, values)
    for name in values:
        if name not in hints:
            raise ConfigError(f"no field is called {prefix + name!r}{nearest(name, list(hints))}")
    if missing := [name for name in required(cls) if name not in values]:
        raise ConfigError(f"{prefix}{missing[0]} is missing")
    made = {name: coerce(value, hints[name], prefix + name) for name, value in values.items()}
    with named(prefix.rstrip(".")):
        return cls(**made)


def coerce(value: Any, hint: Any, path: str) -> Any:
    """The value as the field's type, or a ConfigError that says what is wanted."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, dict):
            return build(hint, value, path + ".")
        if isinstance(value, hint):
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(coerce(v, args[0], path) for v in value)
        if isinstance(value, str) and args[0] is str:
            return split(value)
        return (coerce(value, args[0], path),)
    elif origin is types.UnionType:
        if value is None and type(None) in args:
            return None
        if len(kinds(hint)) > 1:
            return _of_family(value, kinds(hint), path)
        return coerce(value, next(a for a in args if a is not type(None)), path)
    elif origin is Literal:
        if value in args:
            return value
        raise ConfigError(f"{path} is one of {', '.join(map(repr, args))}, got {value!r}{nearest(str(value), args)}")
    elif hint is float and isinstance(value, float):
        return value
    elif hint is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    elif hint is str and type(value) in (bool, int, float):
        return str(value)
    elif hint is str and isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise ConfigError(f"{path} wants text that can be written as UTF-8, got {value!a}")
    elif type(value) is hint:
        return value
    raise ConfigError(f"{path} wants {getattr(hint, '__name__', hint)}, got {value!r}")


def _of_family(value: Any, kinds: list[type], path: str) -> Any:
    """One of several kinds of dataclass, by its "family"; without one, the first."""
    if isinstance(value, tuple(kinds)):
        return value
    names = [family(kind) for kind in kinds]
    got = value.get("family", names[0]) if isinstance(value, dict) else value
    found = family_now(got) if isinstance(got, str) else got
    if found not in names:
        raise ConfigError(f'{path} wants an object whose "family" is one of {", ".join(names)}, got {got!r}')
    kind = kinds[names.index(found)]
    return build(kind, {name: v for name, v in value.items() if name != "family"}, path + ".")


def parse(text: str) -> Any:
    """What a text spells, in Python's words or JSON's; else the text."""
    try:
        return ast.literal_eval(
            {"true": "True", "false": "False", "none": "None", "null": "None"}.get(text.lower(), text)
        )
    except (ValueError, SyntaxError):
        return text


def kinds(hint: Any) -> list[type]:
    """The dataclasses that a field of this type may hold."""
    return [a for a in (hint, *typing.get_args(hint)) if isinstance(a, type) and dataclasses.is_dataclass(a)]


def required(kind: type) -> list[str]:
    """Fields without a default."""
    missing = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(kind) if f.default is missing and f.default_factory is missing]


@contextmanager
def named(path: str) -> Iterator[None]:
    """Errors of sizes, which know their family only, then also name the path of the field."""
    try:
        yield
    except ConfigError as e:
        raise (ConfigError(f"{path}: {e}") if path and path not in str(e) else e) from None
