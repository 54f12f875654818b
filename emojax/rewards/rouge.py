"""ROUGE-L (Lin 2004) of token ids, traceable: the rule-based baseline of the rewards."""

import jax
import jax.numpy as jnp

from emojax.types import Array

BETA = 1.2  # weight of recall, as in the captioning literature


def common_length(a: Array, a_mask: Array, b: Array, b_mask: Array) -> Array:
    """Length of the longest common subsequence.

    A scan over `a` carries one row of the usual table. A row never falls, so its recursion along `b`,
    new[j] = max(old[j], new[j - 1], old[j - 1] + match[j]), is a running maximum.

    Args:
      a, a_mask: i32, bool [... S]
      b, b_mask: i32, bool [... T]; leading axes broadcast against those of `a`.
    Returns:
      i32[...]
    """
    leading = jnp.broadcast_shapes(a.shape[:-1], b.shape[:-1])

    def step(old: Array, token: tuple[Array, Array]) -> tuple[Array, None]:
        match = (token[0][..., None] == b) & token[1][..., None] & b_mask
        best = jnp.maximum(old[..., 1:], old[..., :-1] + match.astype(jnp.int32))
        return old.at[..., 1:].set(jax.lax.cummax(best, best.ndim - 1)), None

    row = jnp.zeros((*leading, b.shape[-1] + 1), jnp.int32)
    return jax.lax.scan(step, row, (jnp.moveaxis(a, -1, 0), jnp.moveaxis(a_mask, -1, 0)))[0][..., -1]


def rouge_l(ids: Array, mask: Array, references: Array, references_mask: Array, present: Array) -> Array:
    """ROUGE-L in [0, 1], 0 where nothing is common.

    As in the COCO caption evaluation, with the length of the longest common subsequence over that of the caption as
    precision and over that of the reference as recall, the best precision P and the best recall R over the references
    give (1 + beta^2) P R / (R + beta^2 P).

    Args:
      ids, mask: i32, bool [B G S]
      references, references_mask: i32, bool [B R T]
      present: bool[B R]
    Returns:
      f32[B G]
    """
    a, a_mask, b, b_mask = ids[:, :, None], mask[:, :, None], references[:, None], references_mask[:, None]
    common = jnp.where(present[:, None], common_length(a, a_mask, b, b_mask), 0).astype(jnp.float32)
    p, r = ((common / jnp.maximum(m.sum(-1), 1).astype(jnp.float32)).max(-1) for m in (a_mask, b_mask))
    total = r + BETA**2 * p
    return jnp.where(total > 0, (1 + BETA**2) * p * r / jnp.where(total > 0, total, 1), 0)
