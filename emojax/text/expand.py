"""Laying out variable-length items side by side, in the graph: cumulative sums and a binary search, no scatter."""

import jax
import jax.numpy as jnp
import numpy as np

from emojax.types import Array

Table = Array | np.ndarray  # numpy where it is built, a device array in the program


def expand(counts: Array, size: int) -> tuple[Array, Array, Array]:
    """Item i of a row fills `counts[i]` positions, one item after the other; what lies beyond `size` is cut.

        counts 2 0 3   ->   source 0 0 2 2 2 .    copy 0 1 0 1 2 .    filled 1 1 1 1 1 0

    Args:
      counts: i32[N I], not negative.
    Returns:
      source i32[N size], the item at each position; copy i32[N size], which of the item's positions it is;
      filled bool[N size], False past the last item, where source and copy are in range but mean nothing.
    """
    ends = jnp.cumsum(counts, -1, dtype=jnp.int32)
    position = jnp.arange(size, dtype=jnp.int32)
    search = jax.vmap(lambda row: jnp.searchsorted(row, position, side="right", method="scan"))
    source = jnp.minimum(search(ends).astype(jnp.int32), counts.shape[1] - 1)
    filled = position[None] < ends[:, -1:]
    return source, jnp.where(filled, position[None] - take(ends - counts, source), 0), filled


def take(values: Array, index: Array) -> Array:
    """values[n, index[n, j]] for indices in range: [N I], i32[N J] -> [N J]"""
    return jnp.take_along_axis(values, index, 1, mode="promise_in_bounds")


def lookup(table: Table, index: Array | tuple[Array, ...]) -> Array:
    """table[index] for indices in range."""
    return jnp.asarray(table).at[index].get(mode="promise_in_bounds")
