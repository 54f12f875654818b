"""The distribution that tokens are drawn from: repetition penalty, temperature, then top-k, top-p, min-p.

The sampler and the update both call `restrict`, so a token is scored under the distribution that it was drawn from.
Thresholds are found by bisection over the bits of a float32, 32 passes, exact, without sorting the vocabulary; tokens
that tie with the threshold are kept.
"""

import jax
import jax.numpy as jnp

from emojax.config import Sampling
from emojax.nn.layers import beside
from emojax.types import Array

NEVER = -1e30  # the logit of a token outside the support: its exponential is an exact zero


def logits(hidden: Array, head: Array, vocab: int) -> Array:
    """f32[... V] of hidden states [... D] and a table [V D]; rows after the first `vocab` are padding, and NEVER."""
    y = jnp.einsum("...d,vd->...v", hidden, head, preferred_element_type=jnp.float32)
    return y if vocab == head.shape[0] else jnp.where(jnp.arange(head.shape[0]) < vocab, y, NEVER)


def sharpened(hidden: Array, sharpness: Array | None) -> Array:
    """Hidden states whose logits are those of `hidden` times `sharpness`, f32[]; None: the same. A temperature that is
    a number of the program, where `Sampling` has a constant."""
    return hidden if sharpness is None else (hidden.astype(jnp.float32) * sharpness).astype(hidden.dtype)


def earlier(ids: Array) -> Array:
    """Tokens of a caption before each of its positions, i32[... T T] of i32[... T]; -1 where there is none."""
    t = jnp.arange(ids.shape[-1])
    return jnp.where(t[:, None] > t[None], jnp.expand_dims(ids, -2), -1)


def penalty(logits: Array, before: Array | None, sampling: Sampling) -> Array | float:
    """What logits f32[... V] are multiplied by, so that tokens `before` (i32[... T]; -1: none) are less likely to come
    again: 1/θ above zero and θ below, θ = `repetition_penalty` (CTRL, arXiv 1909.05858, §4.1).

    >>> penalty(jnp.array([2.0, -2.0, 2.0]), jnp.array([0, 1, -1]), Sampling(repetition_penalty=2)).tolist()
    [0.5, 2.0, 1.0]
    """
    theta = sampling.repetition_penalty
    if theta == 1 or before is None:
        return 1.0
    vocab = logits.shape[-1]
    seen = jnp.zeros((*logits.shape[:-1], vocab + 1), bool)  # the last one is for what is no token
    seen = jnp.put_along_axis(seen, jnp.where(before < 0, vocab, before), True, -1, inplace=False)[..., :vocab]
    return jnp.where(seen, jnp.where(logits > 0, 1 / theta, theta), 1.0)


def restricts(sampling: Sampling) -> bool:
    """Some tokens are outside the support."""
    return sampling.top_k > 0 or sampling.top_p < 1 or sampling.min_p > 0


def restrict(logits: Array, sampling: Sampling, drawn: Array | None = None) -> Array:
    """Float32 logits [... V] of the sampling distribution; tokens outside its support are NEVER.

    `drawn` (i32[...]) are tokens known to have been in the support: they stay in it, whatever rounding does to a
    threshold between two evaluations of the same logits.

    >>> p = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
    >>> [(restrict(p, s) > NEVER).tolist() for s in (Sampling(top_k=1), Sampling(top_p=0.7), Sampling(min_p=0.2))]
    [[True, False, False, False], [True, True, False, False], [True, True, True, False]]
    """
    logits = logits.astype(jnp.float32)
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    full = logits
    if 0 < sampling.top_k < logits.shape[-1]:
        logits = _keep(logits, lambda kept: kept.sum(-1) >= sampling.top_k)
    if sampling.top_p < 1:
        p = jax.nn.softmax(logits)
        logits = _keep(logits, lambda kept: jnp.where(kept, p, 0).sum(-1) >= sampling.top_p)
    if sampling.min_p > 0:
        floor = logits.max(-1, keepdims=True) + jnp.log(sampling.min_p)
        logits = jnp.where(logits >= floor, logits, NEVER)
    if drawn is not None and logits is not full:
        drawn = drawn[..., None]
        logits = jnp.where(beside(drawn, jnp.arange(logits.shape[-1])) == drawn, full, logits)
    return logits


def _keep(logits: Array, enough) -> Array:
    """Keeps the fewest largest logits of which `enough(kept: bool[... V]) -> bool[...]` holds."""
    bits = jax.lax.bitcast_convert_type(logits, jnp.int32)
    order = jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # ordered as the floats are

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds  # enough at `low`, not enough beyond `high`
        middle = (low & high) + ((low ^ high) >> 1) + ((low ^ high) & 1)  # upper middle, without overflow
        yes = enough(order >= middle[..., None])
        return jnp.where(yes, middle, low), jnp.where(yes, high, middle - 1)

    low, _ = jax.lax.fori_loop(0, 32, halve, (order.min(-1), order.max(-1)))
    return jnp.where(order >= low[..., None], logits, NEVER)
