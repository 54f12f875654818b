"""Clips a part at a time, so that memory is that of a part: rollouts, and gradients summed over micro-batches."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import rearrange

from emojax.types import Array, Tree


def cut(rows: Tree, size: int) -> Tree:
    """Rows [B ...] as parts [parts size ...], every n-th row in the same, so that each device keeps its share of each
    part."""
    return jax.tree.map(lambda x: rearrange(x, "(b m) ... -> m b ...", b=size), rows)


def together(parts: Tree) -> Tree:
    """The rows that `cut` took apart."""
    return jax.tree.map(lambda x: rearrange(x, "m b ... -> (b m) ..."), parts)


def in_parts(f: Callable[[Tree], Tree], rows: Tree, size: int) -> Tree:
    """f(rows) of a tree of arrays [B ...], `size` rows at a time; 0: of all at once."""
    if size in (0, _count(rows)):
        return f(rows)
    return together(jax.lax.map(f, cut(rows, size)))


def accumulate(
    loss: Callable[[Tree, Tree], tuple[Array, Tree]], params: Tree, rows: Tree, micro_batch: int
) -> tuple[Array, Tree, Tree]:
    """Sums `loss(params, rows) -> (loss, aux)` and its gradient over micro-batches of clips, one at a time.

    Args:
      rows: a tree of arrays with a leading axis B.
      micro_batch: clips at once; 0: all.
    Returns:
      The sum of losses, the sum of gradients, and `aux` of all clips in their order.
    """
    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    if micro_batch in (0, _count(rows)):
        (total, aux), grads = value_and_grad(params, rows)
        return total, grads, aux

    def one(sums: Tree, rows: Tree) -> tuple[Tree, Tree]:
        (value, aux), grads = value_and_grad(params, rows)
        return jax.tree.map(jnp.add, sums, (value, grads)), aux

    (total, grads), aux = jax.lax.scan(
        one, (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)), cut(rows, micro_batch)
    )
    return total, grads, together(aux)


def _count(rows: Tree) -> int:
    return jax.tree.leaves(rows)[0].shape[0]
