"""A step with sketches of what its loops give at the end and after each turn, and as little else changed as can be.

Digests anywhere else would change what XLA fuses, and with it the numbers. Loops and branches are made anew around
their bodies; calls are inlined; everything else is the operation that it was.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.extend import core

from emojax.reproduce import jaxprs
from emojax.reproduce.jaxprs import Jaxpr
from emojax.training.sketch import WORDS, together
from emojax.types import Array


@struct.dataclass
class Loop:
    """Of one loop; within another each array has that one's turns in front."""

    end: Array  # u32[outputs WORDS]
    turns: Array  # i32[] that it took
    each: Array  # u32[turns outputs WORDS] of its body
    inner: list[Any]  # waypoints of the body, each with the turns in front
    eqn: core.JaxprEqn = struct.field(pytree_node=False)
    reverse: bool = struct.field(pytree_node=False, default=False)


@struct.dataclass
class Branches:
    """Of one `cond`: waypoints of every branch, zeros of those that were not taken."""

    taken: Array  # i32[]
    of: list[list[Any]]
    eqn: core.JaxprEqn = struct.field(pytree_node=False)


Found = list[Any]  # of Loop and Branches, in the order of evaluation


@dataclass(frozen=True)
class Taps:
    """How a step is made anew."""

    most: int  # turns of a `while` that are told apart
    wanted: bool = True  # False: nothing is sketched

    def sketch(self, values: Sequence[Any]) -> Any:
        """u32[values WORDS]; None: it is not wanted."""
        return _sketches(values) if self.wanted else None


def evaluate(jaxpr: Jaxpr, args: Sequence[Any], taps: Taps) -> tuple[list[Any], Found]:
    """What the jaxpr gives, inside a program, and its waypoints."""
    values = dict(zip(jaxpr.inputs, [*jaxpr.consts, *args], strict=True))
    found: Found = []

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        given = [read(atom) for atom in eqn.invars]
        with eqn.ctx.manager:
            made, more = _one(eqn, given, taps)
        values.update(zip(eqn.outvars, made, strict=True))
        found += more
    return [read(atom) for atom in jaxpr.outputs], found


def _one(eqn: core.JaxprEqn, args: Sequence[Any], taps: Taps) -> tuple[list[Any], Found]:
    match eqn.primitive.name:
        case "remat2":
            return _remat(eqn, args, taps)
        case "scan":
            return _scan(eqn, args, taps)
        case "while":
            return _while(eqn, args, taps)
        case "cond":
            return _cond(eqn, args, taps)
    if (inner := jaxprs.called(eqn)) is not None:
        return evaluate(inner, args, taps)
    made = eqn.primitive.bind(*args, **eqn.primitive.get_bind_params(eqn.params))
    return list(made) if eqn.primitive.multiple_results else [made], []


def _remat(eqn: core.JaxprEqn, args: Sequence[Any], taps: Taps) -> tuple[list[Any], Found]:
    """Made anew, so that what is computed twice stays computed twice."""
    inner = jaxprs.of(eqn.params["jaxpr"])
    closed, shape = jax.make_jaxpr(lambda *args: evaluate(inner, args, taps), return_shape=True)(*args)
    made = eqn.primitive.bind(*args, **(eqn.params | {"jaxpr": jaxprs.without_constants(closed)}))
    return jax.tree.unflatten(jax.tree.structure(shape), made)


def _scan(eqn: core.JaxprEqn, args: Sequence[Any], taps: Taps) -> tuple[list[Any], Found]:
    loop = jaxprs.scan(eqn)
    consts, rest = args[: loop.consts], args[loop.consts :]
    carry, xs = list(rest[: loop.carry]), list(rest[loop.carry :])

    def body(carry: Any, x: Any) -> tuple[Any, Any]:
        made, inner = evaluate(loop.body, [*consts, *carry, *x], taps)
        return made[: loop.carry], (made[loop.carry :], taps.sketch(made), inner)

    unroll = eqn.params["unroll"]
    carry, (ys, each, inner) = jax.lax.scan(body, carry, xs, loop.length, loop.reverse, unroll)
    made = [*carry, *ys]
    if not taps.wanted:
        return made, []
    return made, [Loop(taps.sketch(made), jnp.int32(loop.length), each, inner, eqn, loop.reverse)]


def _while(eqn: core.JaxprEqn, args: Sequence[Any], taps: Taps) -> tuple[list[Any], Found]:
    loop = jaxprs.while_(eqn)
    cond_consts, rest = args[: loop.cond_consts], args[loop.cond_consts :]
    consts, carry = rest[: loop.body_consts], list(rest[loop.body_consts :])

    def go_on(carry: Any) -> Any:
        return evaluate(loop.cond, [*cond_consts, *carry], replace(taps, wanted=False))[0][0]

    def once(carry: Any) -> tuple[Any, Any]:
        made, inner = evaluate(loop.body, [*consts, *carry], taps)
        return made, (taps.sketch(made), inner)

    if not taps.wanted:
        return jax.lax.while_loop(go_on, lambda carry: once(carry)[0], carry), []
    shapes = jax.eval_shape(once, carry)[1]
    table = jax.tree.map(lambda x: jnp.zeros((taps.most, *x.shape), x.dtype), shapes)

    def body(c: Any) -> Any:
        turn, carry, table = c
        carry, row = once(carry)
        at = jnp.minimum(turn, taps.most - 1)
        return turn + 1, carry, jax.tree.map(lambda x, y: jax.lax.dynamic_update_index_in_dim(x, y, at, 0), table, row)

    turns, made, (each, inner) = jax.lax.while_loop(lambda c: go_on(c[1]), body, (jnp.int32(0), carry, table))
    return made, [Loop(taps.sketch(made), jnp.minimum(turns, taps.most), each, inner, eqn)]


def _cond(eqn: core.JaxprEqn, args: Sequence[Any], taps: Taps) -> tuple[list[Any], Found]:
    branches = [functools.partial(evaluate, branch, taps=taps) for branch in jaxprs.branches(eqn)]
    shapes = [jax.eval_shape(lambda *args, branch=branch: branch(args), *args[1:])[1] for branch in branches]

    def alone(n: int) -> Any:
        def run(*args: Any) -> tuple[list[Any], list[Found]]:
            made, own = branches[n](args)
            nothing = [jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape) for shape in shapes]
            return made, [own if m == n else nothing[m] for m in range(len(branches))]

        return run

    made, each = jax.lax.switch(args[0], [alone(n) for n in range(len(branches))], *args[1:])
    return made, [Branches(args[0], each, eqn)] if jax.tree.leaves(each) else []


def _sketches(values: Sequence[Any]) -> Array:
    """u32[values WORDS]; zeros of those without elements."""
    arrays = [_plain(x) for x in values]
    there = [n for n, x in enumerate(arrays) if x is not None and x.size]
    rows = jnp.zeros((len(arrays), WORDS), jnp.uint32)
    return rows.at[np.array(there)].set(together([arrays[n] for n in there])) if there else rows


def _plain(x: Any) -> Any:
    """An array that can be sketched: of keys their data, of complex numbers both parts; None: of no numbers."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(x)
    if x.dtype == jax.dtypes.float0:
        return None
    if jnp.iscomplexobj(x):
        return jnp.stack([x.real, x.imag], -1)
    return jnp.asarray(x)
