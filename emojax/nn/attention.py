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

import math

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


def shared_attention(
    q: Array, prefix: tuple[Array, Array], suffix: tuple[Array, Array], prefix_mask: Array, suffix_mask: Array
) -> Array:
    """Attention of G samples over the prefix of their clip and their own suffix, the prefix read once per clip.

    One softmax over both, by einsum on every platform: the scores are few (P + T positions), and the rollout, one token
    at a time, must round as the update does.

    Args:
      q: [B G T N H]
      prefix: keys and values, [B P K H] each.
      suffix: keys and values, [B G S K H] each.
      prefix_mask: bool, broadcast against [B G T P].
      suffix_mask: bool, broadcast against [B G T S].
    Returns:
      [B G T N H]
    """
    (pk, pv), (sk, sv) = prefix, suffix
    b, g, t, _, h = q.shape
    p, s = pk.shape[1], sk.shape[2]
    q = rearrange(q, "b g t (k r) h -> b g t k r h", k=pk.shape[2])
    on_prefix = jnp.einsum("bgtkrh,bpkh->bkgtrp", q, pk, preferred_element_type=jnp.float32)
    on_suffix = jnp.einsum("bgtkrh,bgskh->bkgtrs", q, sk, preferred_element_type=jnp.float32)
    scores = jnp.concatenate([on_prefix, on_suffix], -1) / math.sqrt(h)
    masks = (jnp.broadcast_to(m, (b, g, t, n)) for m, n in ((prefix_mask, p), (suffix_mask, s)))
    visible = jnp.concatenate(list(masks), -1)
    weights = kernels.softmax(scores, visible[:, None, :, :, None]).astype(pv.dtype)
    y = jnp.einsum("bkgtrp,bpkh->bgtkrh", weights[..., :p], pv, preferred_element_type=jnp.float32)
    y += jnp.einsum("bkgtrs,bgskh->bgtkrh", weights[..., p:], sv, preferred_element_type=jnp.float32)
    return rearrange(y, "b g t k r h -> b g t (k r) h").astype(q.dtype)


@struct.dataclass
class View:
    """What one layer's queries may look at beside their own positions' keys and values.

    Of captions, with queries [B G T N H]; or of the prefix itself, with queries [B P N H], then `prefix` is None.
    """

    prefix: tuple[KVCache, Array] | None  # [B P K H] of the clip; and what to see of it, broadcast against [B G T P]
    past: KVCache | None  # [B G S K H] of earlier positions: they stand before the queries' own
    mask: Array  # bool, broadcast against [B G T S+T]; of a prefix against [B P P]


def attend(view: View, q: Array, k: Array, v: Array) -> Array:
    """Over the prefix and the own positions, in one softmax: what a causal decoder does."""
    if view.prefix is None:
        return attention(q, k, v, view.mask)
    shared, mask = view.prefix
    return shared_attention(q, (shared.k, shared.v), _after(view.past, k, v), mask, view.mask)


def attend_own(view: View, q: Array, k: Array, v: Array) -> Array:
    """Over the own positions alone."""
    return exact_attention(q, *_after(view.past, k, v), view.mask)


def attend_prefix(view: View, q: Array) -> Array:
    """Over the prefix alone, read once per clip: what a decoder beside an encoder does."""
    assert view.prefix is not None, "these are no captions"
    (shared, mask), (b, g, t, *_) = view.prefix, q.shape
    mask = jnp.broadcast_to(mask, (b, g, t, shared.k.shape[1]))
    flat, mask = (rearrange(x, "b g t ... -> b (g t) ...") for x in (q, mask))
    return rearrange(exact_attention(flat, shared.k, shared.v, mask), "b (g t) ... -> b g t ...", g=g)


def _after(past: KVCache | None, k: Array, v: Array) -> tuple[Array, Array]:
    if past is None:
        return k, v
    return jnp.concatenate([past.k, k], -3), jnp.concatenate([past.v, v], -3)
