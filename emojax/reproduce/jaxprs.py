"""What a jaxpr's equations say, the same on jax 0.10.2 and 0.12: the one file that knows how the two differ."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax.extend import core, source_info_util

_CALLS = {  # evaluated in the place of the call; and the parameter that has the jaxpr
    "jit": "jaxpr",
    "remat2": "jaxpr",
    "eval_jaxpr": "call_jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
_SUMMARY = re.compile(r"(?P<file>.*?):(?P<line>\d+)(?::\d+)? \((?P<function>.*)\)")
_PACKAGES = ("emojax", "site-packages", "tests")  # a file is named from there on


@dataclass(frozen=True)
class Jaxpr:
    """A jaxpr with the values of its constants."""

    eqns: Sequence[core.JaxprEqn]
    inputs: Sequence[core.Var]  # constants first
    consts: Sequence[Any]
    outputs: Sequence[Any]

    @property
    def last_uses(self) -> list[list[core.Var]]:
        """Of each equation the variables that nothing reads after it, its own results among them."""
        seen = {v for v in self.outputs if not isinstance(v, core.Literal)}
        found: list[list[core.Var]] = []
        for eqn in reversed(self.eqns):
            here = {v for v in (*eqn.invars, *eqn.outvars) if not isinstance(v, core.Literal)} - seen
            found.append(list(here))
            seen |= here
        return found[::-1]


def of(jaxpr: Any) -> Jaxpr:
    """From jax's own, open or closed: of 0.12 a jaxpr may have its constants, of 0.10.2 another object has both."""
    consts, inner = getattr(jaxpr, "consts", ()), getattr(jaxpr, "jaxpr", jaxpr)
    return Jaxpr(inner.eqns, [*inner.constvars, *inner.invars], consts, inner.outvars)


def called(eqn: core.JaxprEqn) -> Jaxpr | None:
    """What a call evaluates; None: it is another equation."""
    name = _CALLS.get(eqn.primitive.name)
    return None if name is None else of(eqn.params[name])


def without_constants(closed: Any) -> Any:
    """A jaxpr that has none, as parameters of some equations want it."""
    assert not closed.consts, "a jaxpr that is made of another's equations brings no constants"
    return closed.jaxpr


@dataclass(frozen=True)
class Scan:
    body: Jaxpr  # consts, carry, x -> carry, y
    consts: int
    carry: int
    length: int
    reverse: bool


def scan(eqn: core.JaxprEqn) -> Scan:
    p = eqn.params
    if "num_consts" in p:
        consts, carry = p["num_consts"], p["num_carry"]
    else:
        consts, carry, _ = map(len, p["ft_in"].unpack())
    return Scan(of(p["jaxpr"]), consts, carry, p["length"], p["reverse"])


@dataclass(frozen=True)
class While:
    cond: Jaxpr  # its consts, carry -> whether to go on
    cond_consts: int
    body: Jaxpr  # its consts, carry -> carry
    body_consts: int


def while_(eqn: core.JaxprEqn) -> While:
    p = eqn.params
    return While(of(p["cond_jaxpr"]), p["cond_nconsts"], of(p["body_jaxpr"]), p["body_nconsts"])


def branches(eqn: core.JaxprEqn) -> list[Jaxpr]:
    """Of a `cond`; its first argument says which."""
    return [of(branch) for branch in eqn.params["branches"]]


@dataclass(frozen=True)
class Source:
    """False where it is not known."""

    line: str = ""  # file:line, from the package on
    function: str = ""
    backward: bool = False  # made by differentiating that line

    def __bool__(self) -> bool:
        return bool(self.line)


UNKNOWN = Source()


@functools.lru_cache(maxsize=1 << 16)
def source(eqn: core.JaxprEqn) -> Source:
    """The innermost line outside jax that an equation comes from."""
    backward = "transpose" in str(eqn.source_info.name_stack)
    found = _SUMMARY.fullmatch(source_info_util.summarize(eqn.source_info))
    if found is None:
        return Source("", "", backward)
    parts = Path(found["file"]).parts
    begin = max((n for n, part in enumerate(parts) if part in _PACKAGES), default=len(parts) - 1)
    begin += parts[begin] == "site-packages"
    return Source(f"{Path(*parts[begin:]).as_posix()}:{found['line']}", found["function"], backward)
