"""A causal language model of the Qwen2 / Llama kind: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

A caption is read in two parts. `prefill` runs the prefix of a clip once and keeps its keys and values; then `suffix`
(all positions at once) or `extend` (one token of each sample) lets the G captions of that clip attend to them. The
suffix starts with the start token, so the head is never applied to the prefix.
"""

import math

import jax
import jax.numpy as jnp
from flax import struct

from emojax.families import Decoder
from emojax.nn.attention import SelfAttention, attention, declare_attention, merge, project, shared_attention
from emojax.nn.layers import Norm, SwiGlu, declare_norm, declare_swiglu, rms_norm, rope, swiglu
from emojax.nn.param import Param, normal, stack
from emojax.sharding import constrain
from emojax.types import Array, KVCache, Prefix, Weight


@struct.dataclass
class Layer:
    attention_norm: Norm
    attention: SelfAttention
    mlp_norm: Norm
    mlp: SwiGlu


@struct.dataclass
class Lm:
    embed: Weight  # [V D]
    layers: Layer  # stacked on L
    norm: Norm
    head: Weight | None  # [V D]; None: tied to `embed`


def declare(cfg: Decoder) -> Lm:
    d, gain = cfg.width, 1 / math.sqrt(2 * cfg.layers)  # what all layers add up to keeps its scale (GPT-2)
    layer = Layer(
        attention_norm=declare_norm(d, bias=False),
        attention=declare_attention(d, cfg.heads, cfg.kv_heads, cfg.head_width, cfg.qkv_bias, o_bias=False, gain=gain),
        mlp_norm=declare_norm(d, bias=False),
        mlp=declare_swiglu(d, cfg.ff, gain),
    )
    # not cut along D: a table cut over the data axis is gathered whole for every look-up
    table = Param((cfg.vocab, d), ("V", None), normal(0.02))
    return Lm(
        embed=table, layers=stack(layer, cfg.layers), norm=declare_norm(d, False), head=None if cfg.tie else table
    )


def head(p: Lm) -> Array:
    """[V D]: logits are hidden states times this table, transposed."""
    return p.embed if p.head is None else p.head


def _block(layer: Layer, x: Array, positions: Array, attend, cfg: Decoder) -> tuple[Array, tuple[Array, Array]]:
    """One layer; `attend(q, k, v)` says what is seen. Returns the stream and this layer's own keys and values."""
    q, k, v = project(layer.attention, rms_norm(layer.attention_norm, x, cfg.norm_eps), cfg.head_width)
    q, k = rope(q, positions, cfg.rope_theta), rope(k, positions, cfg.rope_theta)
    x = x + merge(layer.attention, attend(q, k, v))
    x = x + swiglu(layer.mlp, rms_norm(layer.mlp_norm, x, cfg.norm_eps))
    return constrain(x), (k, v)


def prefill(p: Lm, prefix: Prefix, cfg: Decoder, remat: bool = False) -> KVCache:
    """Keys and values of a prefix, [L B P K H]. Padding takes no position number and is seen by none."""
    positions = jnp.cumsum(prefix.mask, -1) - 1
    causal = jnp.tri(prefix.mask.shape[1], dtype=bool)
    visible = causal & prefix.mask[:, None, :]

    def block(x: Array, layer: Layer) -> tuple[Array, tuple[Array, Array]]:
        return _block(layer, x, positions, lambda q, k, v: attention(q, k, v, visible), cfg)

    _, (k, v) = jax.lax.scan(jax.checkpoint(block) if remat else block, constrain(prefix.embed), p.layers)
    return KVCache(k, v)


def suffix(p: Lm, cache: KVCache, prefix_mask: Array, ids: Array, cfg: Decoder, remat: bool = False) -> Array:
    """Hidden states [B G T D] of the captions i32[B G T] (start token first), normed, ready for the head."""
    positions = prefix_mask.sum(-1)[:, None, None] + jnp.arange(ids.shape[-1])
    causal = jnp.tri(ids.shape[-1], dtype=bool)

    def block(x: Array, xs: tuple[Layer, KVCache]) -> tuple[Array, None]:
        layer, own = xs

        def attend(q: Array, k: Array, v: Array) -> Array:
            return shared_attention(q, (own.k, own.v), (k, v), prefix_mask, causal)

        return _block(layer, x, positions, attend, cfg)[0], None

    x = constrain(p.embed[ids])
    x, _ = jax.lax.scan(jax.checkpoint(block) if remat else block, x, (p.layers, cache))
    return rms_norm(p.norm, x, cfg.norm_eps)


def extend(
    p: Lm, cache: KVCache, own: KVCache, prefix_mask: Array, ids: Array, t: Array, cfg: Decoder
) -> tuple[Array, KVCache]:
    """One more token of each sample.

    Args:
      cache: the prefixes, [L B P K H].
      own: the captions so far, [L B G T K H], filled before position t.
      ids: i32[B G], the tokens at position t (the start token at 0).
    Returns:
      Hidden states [B G D] and `own` filled up to and including t.
    """
    positions = jnp.broadcast_to(prefix_mask.sum(-1)[:, None, None] + t, (*ids.shape, 1))
    earlier = jnp.arange(own.k.shape[3]) < t
    visible = jnp.append(
        earlier, True
    )  # the new token's own key stands last: the cache is written once, after all layers

    def block(x: Array, xs: tuple[Layer, KVCache, KVCache]) -> tuple[Array, tuple[Array, Array]]:
        layer, shared, past = xs

        def attend(q: Array, k: Array, v: Array) -> Array:
            k, v = jnp.concatenate([past.k, k], 2), jnp.concatenate([past.v, v], 2)
            return shared_attention(q, (shared.k, shared.v), (k, v), prefix_mask, visible)

        return _block(layer, x, positions, attend, cfg)

    x, (k, v) = jax.lax.scan(block, constrain(p.embed[ids][:, :, None]), (p.layers, cache, own))
    own = KVCache(*(jax.lax.dynamic_update_slice_in_dim(a, b, t, 3) for a, b in ((own.k, k), (own.v, v))))
    return rms_norm(p.norm, x[:, :, 0], cfg.norm_eps), own
