"""What each token counts in a loss: the mean that a loss is, fixed before micro-batches are cut, so that sums over
micro-batches are the sum over the batch."""

import math

import jax.numpy as jnp
from einops import rearrange

from emojax.config import Grpo
from emojax.types import Array


def kept(mask: Array, ended: Array, grpo: Grpo) -> Array:
    """Tokens that can be learnt from, bool[B G T]: with `mask_truncated` no caption that was cut off."""
    return mask & ended[..., None] if grpo.mask_truncated else mask


def token_weights(kept: Array, grpo: Grpo, micro_batches: int = 1) -> Array:
    """f32[B G T] of the tokens `kept` (bool), by `grpo.loss`.

    A mean over captions of means over tokens ("grpo", "gspo", "gspo_token"), over tokens ("dapo", "cispo"), over the
    tokens of a micro-batch and then over these ("bnpo"), over B·G·T ("dr_grpo"), or over captions of sums over tokens
    ("reinforce"). A caption of which nothing is kept leaves the divisor, too (TRL divides by all captions); that of
    "dr_grpo" is fixed.

    Args:
      micro_batches: in how many the clips are learnt from, every n-th clip in the same.

    >>> kept = jnp.array([[[True, True, False, False], [True, True, True, True]]])  # two captions: two tokens, four
    >>> token_weights(kept, Grpo(loss="grpo"))[0].tolist()  # a caption counts as much as the other
    [[0.25, 0.25, 0.0, 0.0], [0.125, 0.125, 0.125, 0.125]]
    >>> token_weights(kept, Grpo(loss="dr_grpo"))[0].tolist()  # a token counts as much as any other
    [[0.125, 0.125, 0.0, 0.0], [0.125, 0.125, 0.125, 0.125]]
    """
    one = kept.astype(jnp.float32)
    captions = jnp.maximum(kept.any(-1).sum(), 1).astype(jnp.float32)
    match grpo.loss:
        case "dr_grpo":
            return one / math.prod(kept.shape)
        case "dapo" | "cispo":
            return one / jnp.maximum(one.sum(), 1)
        case "bnpo":
            each = rearrange(one, "(b m) g t -> b m g t", m=micro_batches).sum((0, 2, 3))
            return one / jnp.tile(jnp.maximum(each, 1), len(kept) // micro_batches)[:, None, None] / micro_batches
        case "reinforce":
            return one / captions
    return one / jnp.maximum(one.sum(-1, keepdims=True), 1) / captions


def uncertain(entropy: Array, kept: Array, share: float) -> Array:
    """bool[B G T] of the `share` of the tokens `kept` that have the highest entropy (arXiv 2506.01939), as in TRL."""
    bound = jnp.nanquantile(jnp.where(kept, entropy, jnp.nan), 1 - share)
    return kept & (entropy >= bound)


def narrowed(weight: Array, counted: Array, grpo: Grpo) -> Array:
    """The weights f32[B G T] where only some tokens count (bool[B G T]); divisors stay those of all.

    "gspo" has one ratio a caption, so a caption keeps the share of its weight, spread over its tokens.
    """
    some = jnp.where(counted, weight, 0)
    if grpo.loss != "gspo":
        return some
    return weight * some.sum(-1, keepdims=True) / jnp.maximum(weight.sum(-1, keepdims=True), 1e-30)
