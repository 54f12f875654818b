"""A leaf as a few whole numbers, from which two runs' leaves are compared without having either.

    hash     two sums, those of `digests`: whether the leaves are the same
    sum, place, weighted
             of the elements as ordered numbers (one ulp apart: one apart), of each times its place, and of each times
             a random number of its place: subtracted, they name the element where one alone differs, and by how much
    odd      how many elements are not finite
    largest  bits of the largest magnitude that is finite
    signed   sums with random signs of the elements as fixed-point numbers, of four signs at four quanta: subtracted,
             they estimate the distance of two leaves (Alon, Matias and Szegedy 1996), alone the norm of one

All of them are sums of integers modulo 2^32 (and one maximum), so they depend on no order, mesh or number of processes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from emojax.training.digests import bits, hashes, mix
from emojax.types import Array

QUANTA = (12, 32, 52, 72)  # 2^-12 and so on, coarse to fine
SIGNS = 4
HASH, SUM, PLACE, WEIGHTED, ODD, LARGEST, SIGNED = slice(0, 2), 2, 3, 4, 5, 6, 7
WORDS = SIGNED + SIGNS * len(QUANTA)
_WEIGHTS, _RANDOM = np.uint32(0xC2B2AE3D), np.uint32(0x27D4EB2F)  # seeds of the weights and of the signs
_TOP = np.uint32(1 << 31)
_BLOCK, _SMALL = 1024, 1 << 22  # elements that are summed at once; of a leaf that is summed with others


def sketches(leaves: Sequence[Array], mesh: jax.sharding.Mesh, specs: Sequence[PartitionSpec]) -> Array:
    """u32[leaves WORDS], replicated; inside a program. Every device sums the parts that it holds."""
    shapes = [leaf.shape for leaf in leaves]

    def here(*parts: Array) -> Array:
        held = [_held(part, spec, shape, mesh) for part, spec, shape in zip(parts, specs, shapes, strict=True)]
        rows = _rows(held)
        largest = jax.lax.pmax(rows[:, LARGEST], mesh.axis_names)
        return jax.lax.psum(rows, mesh.axis_names).at[:, LARGEST].set(largest)

    return jax.shard_map(here, mesh=mesh, in_specs=tuple(specs), out_specs=PartitionSpec(), check_vma=False)(*leaves)


def together(leaves: Sequence[Array]) -> Array:
    """u32[leaves WORDS], inside a program that sees them whole, wherever they lie."""
    one, every = np.uint32(0), np.bool_(True)
    return _rows([_Held(bits(x), jnp.issubdtype(x.dtype, jnp.floating), one, [(x.size, 1)], every) for x in leaves])


@dataclass(frozen=True)
class _Held:
    """The part of a leaf that a device holds."""

    raw: Array  # u32[...]
    floating: bool
    first: Any  # u32[] place of its first element
    along: list[tuple[int, int]]  # how many elements lie along each run of axes, and how far apart their places are
    counted: Any  # bool[]: of several devices that hold the same one counts


def _held(part: Array, spec: PartitionSpec, shape: Sequence[int], mesh: jax.sharding.Mesh) -> _Held:
    first: Any = np.uint32(0)
    along, sharded = [(1, 1)], set()
    for axis in reversed(range(part.ndim)):
        names = spec[axis] if axis < len(spec) else None
        stride = math.prod(shape[axis + 1 :])
        if names:
            first += (jax.lax.axis_index(names) * part.shape[axis]).astype(jnp.uint32) * np.uint32(stride % 2**32)
            sharded |= {names} if isinstance(names, str) else {*names}
        count, step = along[0]
        if count * step == stride:  # goes on where the axis behind it ends
            along[0] = count * part.shape[axis], step
        else:
            along.insert(0, (part.shape[axis], stride))
    others = tuple(name for name in mesh.axis_names if name not in sharded)
    counted = jax.lax.axis_index(others) == 0 if mesh.size > 1 and others else np.bool_(True)
    return _Held(bits(part), jnp.issubdtype(part.dtype, jnp.floating), first, along, counted)


def _rows(held: Sequence[_Held]) -> Array:
    """u32[leaves WORDS]. The small ones go through one loop: a kernel for each would compile for minutes."""
    small = [n for n, part in enumerate(held) if part.raw.size <= _SMALL]
    large = [n for n in range(len(held)) if n not in small]
    rows = [_in_a_loop([held[n] for n in small])] if small else []
    for n in large:
        part = held[n]
        place = part.first + _spread(jnp.arange(part.raw.size, dtype=jnp.uint32), part.along)
        rows.append(_reduce(_terms(part.raw.reshape(-1), place, part.floating, jnp))[None])
    rows = jnp.concatenate(rows)[np.argsort(small + large)]
    return jnp.where(_stack([part.counted for part in held])[:, None], rows, np.uint32(0))


def _stack(numbers: Sequence[Any]) -> Any:
    return jnp.stack(numbers) if any(isinstance(x, jax.Array) for x in numbers) else np.stack(numbers)


def _in_a_loop(held: Sequence[_Held]) -> Array:
    sizes = [part.raw.size for part in held]
    blocks = [-(-size // _BLOCK) for size in sizes]
    leaf = np.repeat(np.arange(len(held)), blocks)  # of each block
    at = np.concatenate([np.arange(count, dtype=np.uint32) for count in blocks]) * np.uint32(_BLOCK)  # in its leaf
    begin = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)  # of each leaf, among all
    runs = max(len(part.along) for part in held)
    along = np.array([[(1, 0)] * (runs - len(part.along)) + part.along for part in held], np.int64) % 2**32
    about = {
        "begin": begin[leaf] + at.astype(np.int32),
        "at": at,
        "size": np.array(sizes, np.uint32)[leaf],
        "along": along.astype(np.uint32)[leaf],
        "floating": np.array([part.floating for part in held])[leaf],
        "first": _stack([part.first for part in held])[leaf],
    }
    raw = jnp.concatenate([part.raw.reshape(-1) for part in held] + [jnp.zeros(_BLOCK, jnp.uint32)])

    def block(_: None, xs: dict[str, Array]) -> tuple[None, Array]:
        own = jax.lax.dynamic_slice(raw, (xs["begin"],), (_BLOCK,))
        number = xs["at"] + jnp.arange(_BLOCK, dtype=jnp.uint32)
        place = xs["first"] + _spread(number, [(xs["along"][n, 0], xs["along"][n, 1]) for n in range(runs)])
        terms = _terms(own, place, xs["floating"], jnp)
        return None, _reduce([jnp.where(number < xs["size"], term, np.uint32(0)) for term in terms])

    _, rows = jax.lax.scan(block, None, jax.tree.map(jnp.asarray, about))
    summed = jax.ops.segment_sum(rows, leaf, len(held), indices_are_sorted=True)
    largest = jax.ops.segment_max(rows[:, LARGEST], leaf, len(held), indices_are_sorted=True)
    return summed.at[:, LARGEST].set(largest)


def _spread(number: Array, along: Sequence[tuple[Any, Any]]) -> Array:
    """Places of elements from their numbers in the part: digits of mixed radix, times how far apart they are."""
    if len(along) == 1:
        return number * jnp.uint32(along[0][1])
    place = jnp.zeros_like(number)
    for count, step in reversed(along):
        place += number % jnp.uint32(count) * jnp.uint32(step)
        number //= jnp.uint32(count)
    return place


def _reduce(terms: Sequence[Array]) -> Array:
    """u32[WORDS]: the terms summed; the largest is the largest."""

    def both(a: Sequence[Array], b: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(jnp.maximum(x, y) if n == LARGEST else x + y for n, (x, y) in enumerate(zip(a, b, strict=True)))

    return jnp.stack(jax.lax.reduce(tuple(terms), (np.uint32(0),) * WORDS, both, (0,)))


def on_host(x: np.ndarray) -> np.ndarray:
    """u32[WORDS] of one leaf, by NumPy."""
    x = np.asarray(x)
    raw, place = bits(x).reshape(-1), np.arange(x.size, dtype=np.uint32)
    each = _terms(raw, place, jnp.issubdtype(x.dtype, jnp.floating), np)
    return np.stack([one.max(initial=0) if n == LARGEST else one.sum(dtype=np.uint32) for n, one in enumerate(each)])


def _terms(raw: Any, place: Any, floating: Any, xp: ModuleType) -> list[Any]:
    """Of every element what is summed, in the order of the words."""
    ordered = xp.where(floating, order(raw), raw)
    odd = (((raw >> 23) & 0xFF) == 0xFF) & floating
    magnitude = xp.where(odd, np.uint32(0), xp.where(floating, raw & ~_TOP, raw))
    signs = mix(place ^ _RANDOM)
    signed = []
    for quantum in QUANTA:
        fixed = xp.where(floating, _fixed(raw, magnitude, quantum, xp), raw)
        signed += [_negated(fixed, (signs >> sign) & 1) for sign in range(SIGNS)]
    weighted = mix(place ^ _WEIGHTS) * ordered
    return [*hashes(raw, place), ordered, place * ordered, weighted, odd.astype(xp.uint32), magnitude, *signed]


def order(raw: Any) -> Any:
    """Bits of float32 -> u32 in the order of the numbers.

    >>> numbers = np.array([-1, -1e-45, -0.0, 0, 1e-45], np.float32)
    >>> np.diff(order(numbers.view(np.uint32)).astype(np.int64))[1:].tolist()
    [1, 1, 1]
    """
    return raw ^ ((np.uint32(0) - (raw >> 31)) | _TOP)


def unordered(ordered: int) -> float:
    """The float32 that has this place in the order.

    >>> unordered(int(order(np.float32([-1.5]).view(np.uint32))[0]))
    -1.5
    """
    raw = ordered ^ (0x80000000 if ordered >> 31 else 0xFFFFFFFF)
    return float(np.uint32(raw).view(np.float32))


def _fixed(raw: Any, magnitude: Any, quantum: int, xp: ModuleType) -> Any:
    """The number in units of 2^-quantum, rounded towards zero, modulo 2^32."""
    exponent = magnitude >> 23
    mantissa = (magnitude & np.uint32(0x7FFFFF)) | xp.where(exponent > 0, np.uint32(1 << 23), np.uint32(0))
    exponent = xp.maximum(exponent, np.uint32(1))
    zero = 150 - quantum  # the exponent at which a mantissa counts as it is
    up, down = exponent - np.uint32(zero), np.uint32(zero) - exponent  # one of them has passed zero: it is huge
    large = xp.where(up < 32, mantissa << xp.minimum(up, np.uint32(31)), np.uint32(0))
    small = xp.where(down < 32, mantissa >> xp.minimum(down, np.uint32(31)), np.uint32(0))
    return _negated(xp.where(exponent >= zero, large, small), raw >> 31)


def _negated(x: Any, when: Any) -> Any:
    return (x ^ (np.uint32(0) - when)) + when


def norm(sketch: np.ndarray) -> float:
    """Estimate of the norm of what a sketch is of: of a leaf, or, of the difference of two sketches, their distance.

    It is within a factor of two as a rule, more exactly where many leaves' squares are added; exact for one element.
    """
    sketch, found = np.asarray(sketch, np.uint32), 0.0
    for n, quantum in enumerate(QUANTA):
        sums = sketch[SIGNED + SIGNS * n :][:SIGNS].view(np.int32).astype(np.float64)
        found = math.sqrt((sums**2).mean()) * 2.0**-quantum
        if np.abs(sums).max() >= 2**9:  # at the next quantum, 2^20 times as fine, the sums may have passed 2^31
            break
    return found


def alone(difference: np.ndarray, size: int) -> tuple[int, int] | None:
    """The place of the one element that differs and by how many ulps (of integers: by how much); None: several do.

    Args:
      difference: of two sketches, modulo 2^32.
      size: elements of the leaf.
    """
    step, place, weighted = (int(difference[n]) for n in (SUM, PLACE, WEIGHTED))
    if not step:
        return None
    twos = (step & -step).bit_length() - 1
    if place & ((1 << twos) - 1):
        return None
    modulus = 1 << (32 - twos)
    first = (place >> twos) * pow(step >> twos, -1, modulus) % modulus
    at = np.arange(first, min(size, 2**32), modulus, dtype=np.uint32)
    found = at[mix(at ^ _WEIGHTS) * np.uint32(step) == weighted]
    return (int(found[0]), step - (1 << 32) * (step >> 31)) if len(found) == 1 else None
