"""A weight is declared once: shape, axes and initial values in one place.

A model declares a tree (nested frozen dataclasses) with a `Param` at every leaf. Random weights, abstract shapes
and shardings are maps over that tree, so none of them can disagree with another.
"""

import dataclasses
import math
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp

from emojax.types import Array, Tree

Init = Callable[[Array, tuple[int, ...]], Array]


def normal(std: float) -> Init:
    return lambda key, shape: std * jax.random.normal(key, shape, jnp.float32)


def scaled(fan_in: int, gain: float = 1.0) -> Init:
    """Normal with deviation gain/sqrt(fan_in): with gain 1 it keeps the scale of activations (LeCun et al. 1998)."""
    return normal(gain / math.sqrt(fan_in))


def zeros(key: Array, shape: tuple[int, ...]) -> Array:
    return jnp.zeros(shape, jnp.float32)


def ones(key: Array, shape: tuple[int, ...]) -> Array:
    return jnp.ones(shape, jnp.float32)


@dataclasses.dataclass(frozen=True)
class Param:
    """One weight: its shape, one axis letter (or None) a dimension, and how it starts. A leaf, not a pytree."""

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    init: Init

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.axes):
            raise ValueError(f"a Param of shape {self.shape} needs {len(self.shape)} axis names, got {self.axes}")


def stack(layer: Tree, layers: int) -> Tree:
    """The declaration of `layers` copies of `layer` on a leading axis L, to be run by `jax.lax.scan`.

    >>> stack({"w": Param((8, 4), ("D", "F"), zeros)}, 3)["w"].shape
    (3, 8, 4)
    """

    def lift(p: Param) -> Param:
        def init(key: Array, shape: tuple[int, ...]) -> Array:
            return jax.vmap(lambda k: p.init(k, shape[1:]))(jax.random.split(key, shape[0]))

        return Param((layers, *p.shape), ("L", *p.axes), init)

    return jax.tree.map(lift, layer)


def init(tree: Tree, key: Array) -> Tree:
    """Random float32 weights. A weight's values depend on `key` and its own path, not on what else is declared."""

    def one(path: tuple, p: Param) -> Array:
        return p.init(jax.random.fold_in(key, zlib.crc32(jax.tree_util.keystr(path).encode())), p.shape)

    return jax.tree_util.tree_map_with_path(one, tree)


def abstract(tree: Tree) -> Tree:
    """The shapes alone, float32."""
    return jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, jnp.float32), tree)


def count(tree: Tree) -> int:
    """Number of weights, of a declaration or of arrays."""
    return sum(math.prod(p.shape) for p in jax.tree.leaves(tree))


def split(tree: Tree, chosen: Callable[[str], bool]) -> tuple[Tree, Tree]:
    """Two trees of the same form: leaves whose dotted path is chosen, and the others; None in their place.

    >>> split({"norm": 1, "mlp": {"up": 2, "down": 3}}, lambda path: path.startswith("mlp."))
    ({'mlp': {'down': 3, 'up': 2}, 'norm': None}, {'mlp': {'down': None, 'up': None}, 'norm': 1})
    """

    def part(wanted: bool) -> Tree:
        return jax.tree_util.tree_map_with_path(lambda at, leaf: leaf if chosen(dotted(at)) is wanted else None, tree)

    return part(True), part(False)


def merge(first: Tree, second: Tree) -> Tree:
    """The tree that `split` took apart; where both have a leaf, that of `first`.

    >>> merge({"a": 1, "b": None}, {"a": 5, "b": 2})
    {'a': 1, 'b': 2}
    """
    return jax.tree.map(lambda a, b: b if a is None else a, first, second, is_leaf=lambda x: x is None)


def dotted(path: tuple) -> str:
    """A path of a tree as it is written in configurations and name tables: layers.attention.q.w

    >>> [dotted(path) for path, _ in jax.tree_util.tree_leaves_with_path({"mlp": {"up": 1, "down": 2}})]
    ['mlp.down', 'mlp.up']
    """
    return jax.tree_util.keystr(path, simple=True, separator=".")
