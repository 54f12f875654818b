"""Qwen2, Qwen2.5 (arXiv 2407.10671, 2412.15115), Qwen3 (2505.09388), Llama 2 and 3 (2307.09288, 2407.21783), Mistral
(2310.06825).

RMSNorm before each part, rotary positions, grouped-query attention, a gated feed-forward block. They differ in where
they have biases, in windows and in Qwen3's norm of queries and keys: options, by which they are told apart.
"""

import math

import jax.numpy as jnp
from flax import struct

from emojax.config import LlamaConfig
from emojax.decoder import causal
from emojax.decoder.causal import first_position as first_position
from emojax.decoder.causal import room as room
from emojax.decoder.llama_files import TYPES as TYPES
from emojax.decoder.llama_files import config as config
from emojax.decoder.llama_files import generation_json as generation_json
from emojax.decoder.llama_files import names as names
from emojax.decoder.llama_files import to_json as to_json
from emojax.nn.attention import SelfAttention, View, attend, declare_attention, merge, project
from emojax.nn.layers import Norm, SwiGlu, declare_norm, declare_swiglu, rms_norm, rope, swiglu
from emojax.parallel.sharding import constrain
from emojax.param import Param, normal, ones, stack
from emojax.types import Array, KVCache, Weight


@struct.dataclass
class Layer:
    attention_norm: Norm
    attention: SelfAttention
    mlp_norm: Norm
    mlp: SwiGlu


@struct.dataclass
class Qwen3Layer(Layer):  # apart, so that the trees of the others are those of their checkpoints
    q_norm: Norm  # of each head's queries, [H]
    k_norm: Norm


@struct.dataclass
class Lm:
    embed: Weight  # [V D]
    layers: Layer  # stacked on L
    norm: Norm
    head: Weight | None  # [V D]; None: tied to `embed`


def declare(sizes: LlamaConfig) -> Lm:
    d, gain = sizes.width, 1 / math.sqrt(2 * sizes.layers)  # what all layers add up to keeps its scale (GPT-2)
    parts = {
        "attention_norm": declare_norm(d, bias=False),
        "attention": declare_attention(
            d, sizes.heads, sizes.kv_heads, sizes.head_width, sizes.qkv_bias, sizes.o_bias, gain
        ),
        "mlp_norm": declare_norm(d, bias=False),
        "mlp": declare_swiglu(d, sizes.ff, gain, sizes.mlp_bias),
    }
    norm = Norm(Param((sizes.head_width,), (None,), ones), None)
    layer = Qwen3Layer(**parts, q_norm=norm, k_norm=norm) if sizes.qk_norm else Layer(**parts)
    # not sharded along D: a table sharded over the data axis is gathered for every look-up
    table = Param((sizes.vocab + sizes.padding, d), ("V", None), normal(0.02))
    return Lm(
        embed=table, layers=stack(layer, sizes.layers), norm=declare_norm(d, False), head=None if sizes.tie else table
    )


def head(p: Lm) -> Weight:
    """The head, [V D]."""
    return p.embed if p.head is None else p.head


def scale(sizes: LlamaConfig) -> float:
    """The factor of embeddings."""
    return 1


def reach(sizes: LlamaConfig) -> Array | None:
    """Positions that each layer looks back, its own included, i32[L]; None: all layers look at everything."""
    if sizes.window is None:
        return None
    return jnp.where(jnp.arange(sizes.layers) < sizes.window_from, jnp.iinfo(jnp.int32).max, sizes.window)


def encode_prefix(p: Lm, x: Array, mask: Array, positions: Array, sizes: LlamaConfig, remat: bool) -> KVCache:
    """Keys and values of a prefix, see `causal.encode_prefix`; x is its embeddings [B P D]."""
    x = enter(p, x, positions, sizes)
    return causal.encode_prefix(block, p.layers, x, mask, positions, reach(sizes), sizes, remat)


def encode(p: Lm, ids: Array, mask: Array, sizes: LlamaConfig) -> Array:
    """Texts as vectors: hidden states of the last layer, each of what stands before it alone.

    Args:
      ids: i32[N T]
      mask: bool[N T], True on tokens, which are left-aligned; the results of the others mean nothing.
    Returns:
      [N T D]
    """
    positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    x = causal.last_stream(block, p.layers, constrain(p.embed[ids]), mask, positions, reach(sizes), sizes)
    return leave(p, x, sizes)


def enter(p: Lm, x: Array, positions: Array, sizes: LlamaConfig) -> Array:
    """Input of the first layer."""
    return x


def block(
    layer: Layer, x: Array, positions: Array, view: View, sizes: LlamaConfig
) -> tuple[Array, tuple[Array, Array]]:
    """One layer: the stream, and this layer's own keys and values, [... positions K H] each."""
    q, k, v = project(layer.attention, rms_norm(layer.attention_norm, x, sizes.norm_eps), sizes.head_width)
    if isinstance(layer, Qwen3Layer):
        q, k = rms_norm(layer.q_norm, q, sizes.norm_eps), rms_norm(layer.k_norm, k, sizes.norm_eps)
    q, k = (rope(y, positions, sizes.rope_theta, sizes.rope_scaling) for y in (q, k))
    x = x + merge(layer.attention, attend(view, q, k, v))
    return x + swiglu(layer.mlp, rms_norm(layer.mlp_norm, x, sizes.norm_eps), sizes.activation), (k, v)


def leave(p: Lm, x: Array, sizes: LlamaConfig) -> Array:
    """Input of the head."""
    return rms_norm(p.norm, x, sizes.norm_eps)
