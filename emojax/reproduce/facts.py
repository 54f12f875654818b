"""What two runs were made with, where it differs: configuration, versions, flags, devices, data, weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from emojax.training.run import flat

_SAID = ("versions", "commit", "devices", "flags", "mesh", "program", "manifest", "weights")


@dataclass(frozen=True)
class Fact:
    name: str
    a: Any  # None: nothing of that name
    b: Any


class Made(Protocol):
    """A record of a run or of a step."""

    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def sessions(self) -> list[dict[str, Any]]: ...


def facts(a: Made, b: Made) -> list[Fact]:
    """Of the first session of each, and of the numbers of sessions."""
    found = _differ("", a.config, b.config)
    one, other = a.sessions[0], b.sessions[0]
    for name in _SAID:
        found += _differ(f"{name}.", one.get(name), other.get(name))
    frozen = _differ("", one.get("frozen"), other.get("frozen"))
    if frozen:
        first = frozen[0]
        found.append(Fact(f"frozen weights ({len(frozen)} of them, first {first.name})", first.a, first.b))
    begun = [[session.get("step") for session in record.sessions] for record in (a, b)]
    return found + ([Fact("steps that sessions began after", *begun)] if begun[0] != begun[1] else [])


def _differ(prefix: str, a: Any, b: Any) -> list[Fact]:
    one, other = (flat(x) if isinstance(x, Mapping) else {"": x} for x in (a, b))
    return [
        Fact(f"{prefix}{name}".rstrip("."), one.get(name), other.get(name))
        for name in one | other
        if one.get(name) != other.get(name)
    ]
