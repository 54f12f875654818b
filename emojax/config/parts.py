"""The parts of a reward as they are written: `emotion*0.8`, `sentence(pool=max)*0.2`, `own.py:plain(if=facts>0.5)*0.3`.

A name, options in brackets, a weight after a star (1 without it), or two, `emotion*0.2..0.8`: it moves from the one to
the other, evenly over the steps of Emo-GRPO. Two options are every part's: `as=NAME`, what it is called in the log, and
`if=OTHER>BOUND`, a gate: the part counts only in captions whose part OTHER is above BOUND. What else a part can be told
is written in its own file (`emojax/rewards/parts`).
"""

import math
import re
from dataclasses import dataclass

from emojax.errors import ConfigError, require

_WRITTEN = re.compile(r"(?P<name>[^()*\s]+)\s*(\((?P<options>.*)\))?\s*(\*\s*(?P<weight>[^()*\s]+))?", re.DOTALL)
_OUTSIDE = re.compile(r",(?![^()]*\))")  # a comma that stands in no brackets


@dataclass(frozen=True)
class Gate:
    other: str  # the name of a part
    above: float


@dataclass(frozen=True)
class Part:
    file: str  # of emojax/rewards/parts, or FILE.py:FUNCTION, or host:FILE.py:FUNCTION
    name: str  # in the log; no two of a reward are equal
    weight: float
    gate: Gate | None
    options: tuple[tuple[str, str], ...]
    last: float | None = None  # that the weight moves to; None: it stays

    @property
    def final(self) -> float:
        """The weight at the end."""
        return self.weight if self.last is None else self.last

    @property
    def paid(self) -> bool:
        return bool(self.weight or self.last)


def split(text: str) -> tuple[str, ...]:
    """
    >>> split("facts, sentence(pool=max, as=best)*0.2")
    ('facts', 'sentence(pool=max, as=best)*0.2')
    """
    return tuple(part.strip() for part in _OUTSIDE.split(text) if part.strip())


def read(text: str) -> Part:
    """
    >>> part = read("sentence(pool=max, if=facts>0)*0.2..0.8")
    >>> part.file, part.gate, part.options
    ('sentence', Gate(other='facts', above=0.0), (('pool', 'max'),))
    >>> part.weight, part.last
    (0.2, 0.8)

    Raises:
      ConfigError: it is written otherwise.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"reward.parts wants NAME*WEIGHT, as in emotion*0.8 or sentence(pool=max)*0.2, several of them parted by "
            f"commas, got {text!r}"
        )
    options: dict[str, str] = {}
    for item in split(found["options"] or ""):
        option, equals, value = (x.strip() for x in item.partition("="))
        require(bool(equals and option and value), f"reward.parts {text!r}: an option is NAME=VALUE, got {item!r}")
        require(option not in options, f"reward.parts {text!r}: {option} is given twice")
        options[option] = value
    name = options.pop("as", found["name"].rsplit(":", 1)[-1])
    require(name.isidentifier(), f"reward.parts {text!r}: as={name!r} is no name; use letters, digits and _")
    gate = options.pop("if", None)
    first, moves, last = (found["weight"] or "1").partition("..")
    what = f"reward.parts {text!r}: the weight"
    return Part(
        found["name"],
        name,
        _number(first, what),
        _gate(gate, text) if gate else None,
        tuple(options.items()),
        _number(last, what) if moves else None,
    )


def _gate(written: str, text: str) -> Gate:
    other, above, bound = (x.strip() for x in written.partition(">"))
    require(bool(above and other), f"reward.parts {text!r}: a gate is if=OTHER>BOUND, got if={written}")
    return Gate(other, _number(bound, f"reward.parts {text!r}: the bound of its gate"))


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    require(math.isfinite(value), f"{what} wants a number, got {text!r}")
    return value


def read_all(written: tuple[str, ...]) -> tuple[Part, ...]:
    """Raises ConfigError where one is not understood, two have one name, a gate asks for none, or none counts."""
    parts = tuple(map(read, written))
    names = [part.name for part in parts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"reward.parts: {', '.join(twice)} is there twice: call one of them otherwise, by (as=NAME)")
    for part in parts:
        require(
            part.gate is None or (part.gate.other in names and part.gate.other != part.name),
            f"reward.parts: the gate of {part.name} wants another part, one of {sorted(set(names) - {part.name})}, "
            f"got {part.gate and part.gate.other!r}",
        )
    require(any(part.paid for part in parts), f"reward.parts wants a part whose weight is not 0, got {list(written)}")
    return parts
