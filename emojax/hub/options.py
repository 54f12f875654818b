"""Options of published `config.json` files: what a file leaves out gets its default, what is not implemented is named.

A table has a line for each option that matters, {name: (default, allowed)}; whatever else a file says is ignored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """A condition on the value of an option, and the words that an error message has for it."""

    wanted: str
    holds: Callable[[Any], bool]


ANY = Rule("any value", lambda _: True)
Table = dict[str, tuple[Any, tuple[Any, ...] | Rule]]


def read(json: Mapping[str, Any], table: Table) -> tuple[dict[str, Any], list[str]]:
    """The options of a table, defaults filled in, and a message for each that is not implemented.

    >>> table = {"act": ("gelu", ("gelu", "silu")), "heads": (4, ANY)}
    >>> read({"act": "mish", "dropout": 0.1}, table)
    ({'act': 'mish', 'heads': 4}, ["act='mish' (implemented: gelu, silu)"])
    """
    options = {name: json.get(name, default) for name, (default, _) in table.items()}
    wrong = []
    for name, (_, allowed) in table.items():
        value = options[name]
        if isinstance(allowed, Rule):
            holds, wanted = allowed.holds(value), allowed.wanted
        else:
            holds, wanted = value in allowed, ", ".join(map(str, allowed))
        if not holds:
            wrong.append(f"{name}={value!r} (implemented: {wanted})")
    return options, wrong


def not_multiples(options: Mapping[str, Any], name: str, *of: str) -> list[str]:
    """A message for each of the options `of` that does not divide the option `name`."""
    value = options[name]
    return [f"{name}={value} is not a multiple of {step}={options[step]}" for step in of if value % options[step]]


def require_none(wrong: Sequence[str], model: str) -> None:
    """Raises ValueError that says all that is `wrong` with a `model`, if anything is."""
    if wrong:
        raise ValueError(f"this {model} is not supported: {'; '.join(wrong)}")
