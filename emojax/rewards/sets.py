"""How well the values that captions name agree with those that are true of their clips, in the graph."""

from typing import Literal

import jax.numpy as jnp

from emojax.types import Array

Measure = Literal["f1", "precision", "recall", "exact"]


def agreement(named: Array, true: Array, owner: Array, groups: int, measure: Measure) -> Array:
    """The mean over groups of values of their F1, precision or recall, or of their equality, f32[B G].

    A group of which nothing is true of a clip does not count there; NaN where none counts. Precision and recall are 0
    where a caption names nothing.

    Args:
      named: bool[B G V]. true: bool[B V].
      owner: i32[V] the group that each value belongs to.
    """
    member = (owner[:, None] == jnp.arange(groups)[None]).astype(jnp.float32)  # [V groups]
    ours, theirs = named.astype(jnp.float32), true[:, None].astype(jnp.float32)
    both, said, wanted = (jnp.einsum("bgv,vw->bgw", x, member) for x in (ours * theirs, ours, theirs))
    precision, recall = both / jnp.maximum(said, 1), both / jnp.maximum(wanted, 1)
    match measure:
        case "f1":
            found = 2 * both / jnp.maximum(said + wanted, 1)
        case "precision":
            found = precision
        case "recall":
            found = recall
        case "exact":
            found = ((both == said) & (both == wanted)).astype(jnp.float32)
    counts = jnp.broadcast_to(wanted > 0, found.shape)
    return jnp.where(counts, found, 0).sum(-1) / counts.sum(-1).astype(jnp.float32)  # 0 / 0 where none counts
