"""A step evaluated operation by operation: each a program of its own, calls inlined, loops taken turn by turn.

Its numbers are its own: what XLA fuses in the step is rounded in between here. Two steps that are evaluated so differ
where an operation of one gives other numbers than that of the other.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from emojax.reproduce import jaxprs
from emojax.reproduce.jaxprs import UNKNOWN, Jaxpr, Source


@dataclass(frozen=True)
class Value:
    x: Any
    number: int  # among the values that are written down
    producers: tuple[int, ...]  # rows that made it; argument n is -1 - n; none: a constant


@dataclass(frozen=True)
class Place:
    """Where evaluation is."""

    scope: int = 0  # loop or branch, as the tape numbers them
    turns: tuple[int, ...] = ()  # of each loop around it, outermost first
    calls: tuple[int, ...] = ()  # equations of the scope that lead here, by their places in their jaxprs
    source: Source = UNKNOWN  # of the innermost call around it that has one: jax's own functions have none


@dataclass(frozen=True)
class Tape:
    """What is done with each operation, and how what it is made of is numbered."""

    constant: Callable[[Any], Value]
    part: Callable[[Any, Sequence[Value]], Value]  # cut out of values, or put together from them
    scope: Callable[[core.JaxprEqn, Place, str], int]  # of a loop's or a branch's jaxpr
    apply: Callable[[core.JaxprEqn, Place, Sequence[Value]], list[Value]]


def evaluate(jaxpr: Jaxpr, args: Sequence[Value], place: Place, tape: Tape) -> list[Value]:
    """What the jaxpr gives; every operation of it goes through `tape.apply`, in order."""
    values = dict(zip(jaxpr.inputs, [*map(tape.constant, jaxpr.consts), *args], strict=True))

    def read(atom: Any) -> Value:
        return tape.constant(atom.val) if isinstance(atom, core.Literal) else values[atom]

    for at, (eqn, dead) in enumerate(zip(jaxpr.eqns, jaxpr.last_uses, strict=True)):
        here = replace(place, calls=(*place.calls, at))
        given = [read(atom) for atom in eqn.invars]
        with eqn.ctx.manager:
            if (inner := jaxprs.called(eqn)) is not None:
                made = evaluate(inner, given, replace(here, source=jaxprs.source(eqn) or here.source), tape)
            elif (structure := _STRUCTURES.get(eqn.primitive.name)) is not None:
                made = structure(eqn, given, here, tape)
            else:
                made = tape.apply(eqn, here, given)
        values.update(zip(eqn.outvars, made, strict=True))
        for v in dead:
            del values[v]
    return [read(atom) for atom in jaxpr.outputs]


def bind(eqn: core.JaxprEqn, args: Sequence[Any]) -> list[Any]:
    """One operation, as a program of its own."""
    if eqn.primitive.name == "shard_map":  # without a program around it, what is in it would be evaluated one by one
        return _whole(eqn)(*args)
    made = eqn.primitive.bind(*args, **eqn.primitive.get_bind_params(eqn.params))
    return list(made) if eqn.primitive.multiple_results else [made]


@functools.lru_cache(maxsize=256)
def _whole(eqn: core.JaxprEqn) -> Callable[..., list[Any]]:
    return jax.jit(lambda *args: list(eqn.primitive.bind(*args, **eqn.primitive.get_bind_params(eqn.params))))


def _inside(eqn: core.JaxprEqn, place: Place, tape: Tape, role: str, turn: int | None = None) -> Place:
    turns = place.turns if turn is None else (*place.turns, turn)
    return Place(tape.scope(eqn, place, role), turns, source=jaxprs.source(eqn) or place.source)


def _scan(eqn: core.JaxprEqn, args: Sequence[Value], place: Place, tape: Tape) -> list[Value]:
    loop = jaxprs.scan(eqn)
    consts, xs = args[: loop.consts], args[loop.consts + loop.carry :]
    carry, ys = list(args[loop.consts : loop.consts + loop.carry]), []
    for turn in range(loop.length)[:: -1 if loop.reverse else 1]:
        x = [tape.part(_at(value.x, np.int32(turn)), [value]) for value in xs]
        made = evaluate(loop.body, [*consts, *carry, *x], _inside(eqn, place, tape, "body", turn), tape)
        carry = made[: loop.carry]
        ys.append(made[loop.carry :])
    if not ys:
        shapes: list[Any] = [v.aval for v in eqn.outvars[loop.carry :]]
        return carry + [tape.constant(jnp.zeros(aval.shape, aval.dtype)) for aval in shapes]
    each = list(zip(*(ys[::-1] if loop.reverse else ys), strict=True))
    return carry + [tape.part(_stack([value.x for value in values]), values) for values in each]


def _while(eqn: core.JaxprEqn, args: Sequence[Value], place: Place, tape: Tape) -> list[Value]:
    loop, turn = jaxprs.while_(eqn), 0
    cond_consts, rest = args[: loop.cond_consts], args[loop.cond_consts :]
    consts, carry = rest[: loop.body_consts], list(rest[loop.body_consts :])
    while True:
        (go_on,) = evaluate(loop.cond, [*cond_consts, *carry], _inside(eqn, place, tape, "cond", turn), tape)
        if not bool(go_on.x):
            return carry
        carry = evaluate(loop.body, [*consts, *carry], _inside(eqn, place, tape, "body", turn), tape)
        turn += 1


def _cond(eqn: core.JaxprEqn, args: Sequence[Value], place: Place, tape: Tape) -> list[Value]:
    found = jaxprs.branches(eqn)
    which = min(max(int(args[0].x), 0), len(found) - 1)
    return evaluate(found[which], args[1:], _inside(eqn, place, tape, f"branch {which}"), tape)


_STRUCTURES = {"scan": _scan, "while": _while, "cond": _cond}


@jax.jit
def _at(x: Any, turn: Any) -> Any:
    return jax.lax.dynamic_index_in_dim(x, turn, 0, keepdims=False)


@jax.jit
def _stack(xs: Sequence[Any]) -> Any:
    return jnp.stack(xs)
