"""Options of published `config.json` files: what a file leaves out gets its default, what is not implemented is named.

A table has a line for each option that matters, {name: (default, allowed)}; whatever else a file says is ignored.
`allowed` is

    (a, b)          the values that are implemented
    Rule            a condition on the value; where it does not hold, the option is not implemented
    Kind            a type and its bounds (`WIDTH`, `LAYERS`, `optional(ROWS)`), asked before all else
    ANY             whatever is of the default's kind: a flag, a whole number from 1 to 2²⁴, a number above 0
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emojax.errors import ConfigError, shown
from emojax.storage import read_object


@dataclass(frozen=True)
class Rule:
    """A condition on the value of an option, and the words that an error message has for it."""

    wanted: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Kind:
    """A type with its bounds: what the code after `read` may rely on, and no array is made before it is known."""

    wanted: str
    holds: Callable[[Any], bool]


def whole(most: int, least: int = 1) -> Kind:
    """
    >>> whole(10).holds(10), whole(10).holds(True), whole(10).holds(2.0), whole(10).holds(0)
    (True, False, False, False)
    """
    return Kind(f"a whole number from {least} to {most}", lambda x: type(x) is int and least <= x <= most)


def optional(kind: Kind) -> Kind:
    return Kind(f"{kind.wanted} or null", lambda x: x is None or kind.holds(x))


def each(kind: Kind, most: int = 1000) -> Kind:
    """A list whose members are of a kind."""
    return Kind(
        f"a list, each {kind.wanted}",
        lambda x: isinstance(x, list | tuple) and 1 <= len(x) <= most and all(map(kind.holds, x)),
    )


def either(*kinds: Kind) -> Kind:
    return Kind(" or ".join(kind.wanted for kind in kinds), lambda x: any(kind.holds(x) for kind in kinds))


def _finite(x: Any) -> bool:
    return (type(x) is float and math.isfinite(x)) or (type(x) is int and abs(x) < 2**63)


FLAG = Kind("true or false", lambda x: isinstance(x, bool))
POSITIVE = Kind("a number above 0", lambda x: _finite(x) and x > 0)
NOT_BELOW_0 = Kind("a number, 0 or above", lambda x: _finite(x) and x >= 0)
TEXT = Kind("a text", lambda x: isinstance(x, str))
OBJECT = Kind("an object", lambda x: isinstance(x, Mapping))
WIDTH = whole(2**18)  # numbers of a vector: ten times those of the largest models that are published
LAYERS = whole(1000)
HEADS = whole(2**12)
ROWS = whole(2**24)  # of a table: of tokens, of positions
PIXELS = whole(2**12)  # of a side
TOKEN = whole(2**31 - 1, -1)  # an id; -1: none
ANY = Kind("any value", lambda _: True)
Table = dict[str, tuple[Any, tuple[Any, ...] | Rule | Kind]]


def read(json: Mapping[str, Any], table: Table) -> tuple[dict[str, Any], list[str]]:
    """The options of a table, defaults filled in, and a message for each that is not implemented.

    Raises:
      ValueError: an option of another type, or beyond its bounds; names each.

    >>> table = {"act": ("gelu", ("gelu", "silu")), "heads": (4, ANY)}
    >>> read({"act": "mish", "dropout": 0.1}, table)
    ({'act': 'mish', 'heads': 4}, ["act='mish' (implemented: gelu, silu)"])
    >>> read({"heads": "4"}, table)
    Traceback (most recent call last):
    ValueError: heads='4' (wanted a whole number from 1 to 16777216)
    """
    options = {name: json.get(name, default) for name, (default, _) in table.items()}
    kinds = {name: _kind_of(default) if allowed is ANY else allowed for name, (default, allowed) in table.items()}
    amiss = [
        f"{name}={shown(options[name])} (wanted {kind.wanted})"
        for name, kind in kinds.items()
        if isinstance(kind, Kind) and name in json and not kind.holds(options[name])
    ]
    if amiss:
        raise ValueError("; ".join(amiss))
    wrong = []
    for name, (_, allowed) in table.items():
        value = options[name]
        if isinstance(allowed, Rule):
            holds, wanted = allowed.holds(value), allowed.wanted
        elif isinstance(allowed, tuple):
            holds, wanted = value in allowed, ", ".join(map(str, allowed))
        else:
            continue
        if not holds:
            wrong.append(f"{name}={shown(value)} (implemented: {wanted})")
    return options, wrong


def _kind_of(default: Any) -> Kind:
    """What `ANY` stands for beside a default."""
    match default:
        case bool():
            return FLAG
        case int():
            return ROWS
        case float():
            return POSITIVE
        case str():
            return TEXT
        case _:
            return ANY


def not_multiples(options: Mapping[str, Any], name: str, *of: str) -> list[str]:
    """A message for each of the options `of` that does not divide the option `name`."""
    value = options[name]
    return [f"{name}={value} is not a multiple of {step}={options[step]}" for step in of if value % options[step]]


def require_none(wrong: Sequence[str], model: str) -> None:
    """Raises ValueError that says all that is `wrong` with a `model`, if anything is."""
    if wrong:
        raise ValueError(f"this {model} is not supported: {'; '.join(wrong)}")


@contextlib.contextmanager
def naming(at: Path) -> Iterator[None]:
    """Makes errors name the directory or the file that they are about."""
    try:
        yield
    except ValueError as e:
        raise ConfigError(str(e) if str(e).startswith(str(at)) else f"{at}: {e}") from e


def read_config(at: Path) -> dict[str, Any]:
    """The `config.json` of a directory.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is no object; or the weights are quantized, in which no family here is implemented.
    """
    path = at / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a directory that `save_pretrained` wrote has it")
    json = read_object(path)
    for name in ("quantization_config", "compression_config"):
        if json.get(name) is not None:
            how = json[name].get("quant_method") if isinstance(json[name], dict) else json[name]
            raise ValueError(
                f"{path}: {name} ({shown(how)}): quantized weights are not read; name the model that they were made "
                "of, whose weights are float32, float16 or bfloat16"
            )
    if not isinstance(json.get("model_type", "none"), str):
        raise ValueError(f"{path}: model_type={shown(json['model_type'])} (wanted a text)")
    return json
