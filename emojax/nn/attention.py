"""Attention with grouped heads, and attention over (a prefix that a group shares, each sample's own suffix).

Masks are True where a query may look. Scores and softmax are float32. A row that may look nowhere gives zeros.

    shared_attention, one sample, T = 3 of 4 suffix positions, P = 5 prefix positions, the fourth of them padding:

                  prefix       suffix
        query 0   1 1 1 0 1    1 0 0
        query 1   1 1 1 0 1    1 1 0
        query 2   1 1 1 0 1    1 1 1

    The same with a window of 4 positions:

        query 0   0 1 1 0 1    1 0 0
        query 1   0 0 1 0 1    1 1 0
        query 2   0 0 0 0 1    1 1 1
"""

import functools
import itertools
import math
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct

from emojax.nn import kernels
from emojax.nn.layers import Linear, declare_linear, linear
from emojax.types import Array, KVCache


@struct.dataclass
class SelfAttention:
    q: Linear  # D -> N·H
    k: Linear  # D -> K·H
    v: Linear  # D -> K·H
    o: Linear  # N·H -> D


def declare_attention(
    d: int, heads: int, kv_heads: int, h: int, qkv_bias: bool, o_bias: bool, gain: float = 1.0
) -> SelfAttention:
    return SelfAttention(
        q=declare_linear(d, heads * h, "D N", qkv_bias),
        k=declare_linear(d, kv_heads * h, "D K", qkv_bias),
        v=declare_linear(d, kv_heads * h, "D K", qkv_bias),
        o=declare_linear(heads * h, d, "N D", o_bias, gain),
    )


def project(p: SelfAttention, x: Array, h: int) -> tuple[Array, Array, Array]:
    """[... positions D] -> queries [... positions N H], keys and values [... positions K H]."""
    q, k, v = (rearrange(linear(w, x), "... (n h) -> ... n h", h=h) for w in (p.q, p.k, p.v))
    return q, k, v


def merge(p: SelfAttention, y: Array) -> Array:
    """[... positions N H] -> [... positions D]"""
    return linear(p.o, rearrange(y, "... n h -> ... (n h)"))


def attention(q: Array, k: Array, v: Array, mask: Array | None, bias: Array | None = None) -> Array:
    """Scaled dot products, for encoders and the prefix.

    Long clips, whose scores would take more than `kernels.AT_ONCE`, are attended to a block of queries at a time, or by
    cuDNN's flash attention: bfloat16 alone, no `bias`, no more than a mask of keys, compiled for CUDA.

    Args:
      q: [B ... T N H]
      k, v: [B ... S K H]; each of the K heads serves N/K query heads.
      mask: bool, broadcast against [B ... T S]; None where all is seen.
      bias: added to the scaled scores, broadcast against [B ... N T S].
    Returns:
      [B ... T N H]
    """
    if kernels.blocks(q, k) > 1 and kernels.flash_fits(q, k, mask, bias):
        return jax.lax.platform_dependent(q, k, v, mask, cuda=kernels.flash, default=exact_attention)
    return exact_attention(q, k, v, mask, bias)


def exact_attention(q: Array, k: Array, v: Array, mask: Array | None, bias: Array | None = None) -> Array:
    """`attention`, never by cuDNN: what captions use, so that decoding and the update round alike."""
    count = kernels.blocks(q, k)
    if count > 1:
        return kernels.by_blocks(q, k, v, mask, bias, count)
    return kernels.whole(q, k, v, mask, bias)


def shared_attention(q: Array, parts: Sequence[tuple[Array, Array, Array]]) -> Array:
    """Attention of G samples over several parts, such as the prefix of their clip, read once per clip, and their own
    suffix: parts are never put together, for that would copy what was kept of them.

    One softmax over all, by einsum on every platform: the scores are few (P + T positions), and the rollout, one token
    at a time, must round as the update does.

    Args:
      q: [B G T N H]
      parts: keys and values, [B S K H] where samples share them or [B G S K H]; and a mask, bool, broadcast against
        [B G T S].
    Returns:
      [B G T N H]
    """
    b, g, t, _, h = q.shape
    q = rearrange(q, "b g t (k r) h -> b g t k r h", k=parts[0][0].shape[-2])
    axes = ["bskh" if k.ndim == 4 else "bgskh" for k, _, _ in parts]
    scores = [_product(f"bgtkrh,{of}->bkgtrs", q, k) for of, (k, _, _) in zip(axes, parts, strict=True)]
    visible = jnp.concatenate([jnp.broadcast_to(m, (b, g, t, k.shape[-3])) for k, _, m in parts], -1)
    weights = kernels.softmax(jnp.concatenate(scores, -1) / math.sqrt(h), visible[:, None, :, :, None])
    weights = weights.astype(parts[0][1].dtype)
    ends = itertools.accumulate(k.shape[-3] for k, _, _ in parts)
    shares = [
        _product(f"bkgtrs,{of}->bgtkrh", w, v)
        for of, w, (_, v, _) in zip(axes, jnp.split(weights, list(ends)[:-1], -1), parts, strict=True)
    ]
    return rearrange(functools.reduce(operator.add, shares), "b g t k r h -> b g t (k r) h").astype(q.dtype)


@struct.dataclass
class View:
    """What one layer's queries may look at beside their own positions' keys and values.

    Of captions, with queries [B G T N H]; or of the prefix itself, with queries [B P N H], then `prefix` is None.
    """

    prefix: tuple[KVCache, Array] | None  # [B P K H] of the clip; and what to see of it, broadcast against [B G T P]
    past: KVCache | None  # [B G S K H] of earlier positions: they stand before the queries' own
    mask: Array  # bool, broadcast against [B G T S+T]; of a prefix against [B P P]


def _product(axes: str, x: Array, y: Array) -> Array:
    """An einsum summed in float32. XLA's CPU has no product of bfloat16 for some layouts of it: there the same numbers
    are multiplied in float32, as it does by itself for the others."""

    def product(x: Array, y: Array) -> Array:
        return jnp.einsum(axes, x, y, preferred_element_type=jnp.float32)

    def widened(x: Array, y: Array) -> Array:
        return jnp.einsum(axes, x.astype(jnp.float32), y.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)

    if x.dtype == y.dtype == jnp.float32:
        return product(x, y)
    return jax.lax.platform_dependent(x, y, cpu=widened, default=product)


def attend(view: View, q: Array, k: Array, v: Array) -> Array:
    """Over the prefix and the own positions, in one softmax: what a causal decoder does."""
    if view.prefix is None:
        return attention(q, k, v, view.mask)
    shared, mask = view.prefix
    return shared_attention(q, [(shared.k, shared.v, mask), *_own(view, q, k, v)])


def attend_own(view: View, q: Array, k: Array, v: Array) -> Array:
    """Over the own positions alone."""
    if view.past is None:
        return exact_attention(q, k, v, view.mask)
    return shared_attention(q, _own(view, q, k, v))


def attend_prefix(view: View, q: Array) -> Array:
    """Over the prefix alone, read once per clip: what a decoder beside an encoder does."""
    assert view.prefix is not None, "these are no captions"
    (shared, mask), (b, g, t, *_) = view.prefix, q.shape
    mask = jnp.broadcast_to(mask, (b, g, t, shared.k.shape[1]))
    flat, mask = (rearrange(x, "b g t ... -> b (g t) ...") for x in (q, mask))
    return rearrange(exact_attention(flat, shared.k, shared.v, mask), "b (g t) ... -> b g t ...", g=g)


def _own(view: View, q: Array, k: Array, v: Array) -> list[tuple[Array, Array, Array]]:
    """The parts of `shared_attention` that are not the prefix."""
    if view.past is None:
        return [(k, v, view.mask)]
    earlier = view.past.k.shape[-3]
    mask = jnp.broadcast_to(view.mask, (*q.shape[:3], earlier + k.shape[-3]))
    return [(view.past.k, view.past.v, mask[..., :earlier]), (k, v, mask[..., earlier:])]
