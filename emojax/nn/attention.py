"""Attention with grouped heads, and attention over (a prefix that a group shares, each sample's own suffix).

Masks are True where a query may look. Scores and softmax are float32. A row that may look nowhere gives zeros.

    shared_attention, one sample, T = 3 of 4 suffix positions, P = 5 prefix positions, the fourth of them padding:

                  prefix       suffix
        query 0   1 1 1 0 1    1 0 0
        query 1   1 1 1 0 1    1 1 0
        query 2   1 1 1 0 1    1 1 1
"""

import math

import jax.numpy as jnp
from einops import rearrange
from flax import struct

from emojax.nn.layers import Linear, declare_linear, linear
from emojax.types import Array

_HIDDEN = -1e30  # finite, so that a row without any visible key gives no NaN


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


def _softmax(scores: Array, visible: Array) -> Array:
    scores = jnp.where(visible, scores, _HIDDEN)
    weights = jnp.where(visible, jnp.exp(scores - scores.max(-1, keepdims=True)), 0)
    return weights / jnp.maximum(weights.sum(-1, keepdims=True), 1e-30)


def attention(q: Array, k: Array, v: Array, mask: Array, bias: Array | None = None) -> Array:
    """Scaled dot products.

    Args:
      q: [B T N H]
      k, v: [B S K H]; each of the K heads serves N/K query heads.
      mask: bool, broadcast against [B T S].
      bias: added to the scaled scores, broadcast against [B N T S].
    Returns:
      [B T N H]
    """
    b, t, _, h = q.shape
    q = rearrange(q, "b t (k r) h -> b t k r h", k=k.shape[2])
    scores = jnp.einsum("btkrh,bskh->bkrts", q, k, preferred_element_type=jnp.float32) / math.sqrt(h)
    if bias is not None:
        scores += rearrange(bias, "... (k r) t s -> ... k r t s", k=k.shape[2]).astype(jnp.float32)
    visible = jnp.broadcast_to(mask, (b, t, k.shape[1]))[:, None, None]
    weights = _softmax(scores, visible).astype(v.dtype)
    y = jnp.einsum("bkrts,bskh->btkrh", weights, v, preferred_element_type=jnp.float32)
    return rearrange(y, "b t k r h -> b t (k r) h").astype(q.dtype)


def shared_attention(
    q: Array, prefix: tuple[Array, Array], suffix: tuple[Array, Array], prefix_mask: Array, suffix_mask: Array
) -> Array:
    """Attention of G samples over the prefix of their clip and their own suffix, the prefix read once per clip.

    Args:
      q: [B G T N H]
      prefix: keys and values, [B P K H] each.
      suffix: keys and values, [B G S K H] each.
      prefix_mask: bool[B P]
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
    visible = jnp.concatenate(
        [jnp.broadcast_to(prefix_mask[:, None, None], (b, g, t, p)), jnp.broadcast_to(suffix_mask, (b, g, t, s))], -1
    )
    weights = _softmax(scores, visible[:, None, :, :, None]).astype(pv.dtype)
    y = jnp.einsum("bkgtrp,bpkh->bgtkrh", weights[..., :p], pv, preferred_element_type=jnp.float32)
    y += jnp.einsum("bkgtrs,bgskh->bgtkrh", weights[..., p:], sv, preferred_element_type=jnp.float32)
    return rearrange(y, "b g t k r h -> b g t (k r) h").astype(q.dtype)
