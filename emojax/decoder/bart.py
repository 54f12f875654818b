"""BART (Lewis et al. 2019, arXiv 1910.13461): an encoder of the prefix, a decoder that attends to it.

Both have learned positions and a layer norm after each part; the head is tied to the embeddings that both share.
"""

import math

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct

from emojax.config import BartConfig
from emojax.decoder.bart_files import config as config
from emojax.decoder.bart_files import generation_json as generation_json
from emojax.decoder.bart_files import names as names
from emojax.decoder.bart_files import to_json as to_json
from emojax.nn.attention import (
    SelfAttention,
    View,
    attend_own,
    attend_prefix,
    attention,
    declare_attention,
    merge,
    project,
)
from emojax.nn.layers import Mlp, Norm, add_rows, declare_linear, declare_norm, layer_norm, linear, mlp
from emojax.parallel.sharding import constrain
from emojax.param import Param, normal, stack
from emojax.types import Array, KVCache, Weight

FREE = 2  # rows of the tables of positions before the first position's


@struct.dataclass
class EncoderLayer:
    attention: SelfAttention
    attention_norm: Norm
    mlp: Mlp
    mlp_norm: Norm


@struct.dataclass
class Layer:
    attention: SelfAttention
    attention_norm: Norm
    cross: SelfAttention  # queries of the caption; keys and values of the encoder's result
    cross_norm: Norm
    mlp: Mlp
    mlp_norm: Norm


@struct.dataclass
class Encoder:
    positions: Weight  # [FREE + positions D]
    norm: Norm  # of the embeddings
    layers: EncoderLayer  # stacked


@struct.dataclass
class Lm:
    embed: Weight  # [V D], also the head
    encoder: Encoder
    positions: Weight  # [FREE + positions D]
    norm: Norm  # of the embeddings
    layers: Layer  # stacked on L


def declare(sizes: BartConfig) -> Lm:
    d = sizes.width

    def own(heads: int, gain: float) -> SelfAttention:
        return declare_attention(d, heads, heads, d // heads, qkv_bias=True, o_bias=True, gain=gain)

    def two(f: int, gain: float) -> Mlp:
        return Mlp(declare_linear(d, f, "D F"), declare_linear(f, d, "F D", gain=gain))

    into, out = 1 / math.sqrt(2 * sizes.encoder_layers), 1 / math.sqrt(3 * sizes.layers)
    norm, table = declare_norm(d), Param((FREE + sizes.positions, d), (None, None), normal(0.02))
    encoder_layer = EncoderLayer(own(sizes.encoder_heads, into), norm, two(sizes.encoder_ff, into), norm)
    layer = Layer(own(sizes.heads, out), norm, own(sizes.heads, out), norm, two(sizes.ff, out), norm)
    return Lm(
        embed=Param((sizes.vocab + sizes.padding, d), ("V", None), normal(0.02)),
        encoder=Encoder(positions=table, norm=norm, layers=stack(encoder_layer, sizes.encoder_layers)),
        positions=table,
        norm=norm,
        layers=stack(layer, sizes.layers),
    )


def head(p: Lm) -> Weight:
    """The head, [V D]."""
    return p.embed


def scale(sizes: BartConfig) -> float:
    """The factor of embeddings."""
    return sizes.width**0.5 if sizes.scale_embedding else 1


def first_position(prefix_mask: Array) -> Array:
    """Position number i32[B] of a caption's first token: 0, for the decoder counts its own."""
    return jnp.zeros_like(prefix_mask.sum(-1))


def reach(sizes: BartConfig) -> None:
    """Positions that each layer looks back; None: all layers look at everything."""


def room(prefix: int, caption: int) -> int:
    """Positions that the longer of prefix and caption takes: encoder and decoder have a table each."""
    return max(prefix, caption)


def encode_prefix(p: Lm, x: Array, mask: Array, positions: Array, sizes: BartConfig, remat: bool) -> KVCache:
    """Keys and values that each layer of the decoder attends to, [L B P N H].

    Args:
      x: embeddings of the prefix, [B P D].
      mask: bool[B P]; no position attends to what is off it.
      positions: i32[B P]
    """

    def block(x: Array, layer: EncoderLayer) -> tuple[Array, None]:
        q, k, v = project(layer.attention, x, sizes.width // sizes.encoder_heads)
        y = merge(layer.attention, attention(q, k, v, mask[:, None]))
        x = layer_norm(layer.attention_norm, x + y)
        return constrain(layer_norm(layer.mlp_norm, x + mlp(layer.mlp, x, sizes.activation))), None

    x = layer_norm(p.encoder.norm, add_rows(x, p.encoder.positions[FREE + positions]))
    x, _ = jax.lax.scan(jax.checkpoint(block) if remat else block, x, p.encoder.layers)

    def project_keys_values(_: None, cross: SelfAttention) -> tuple[None, tuple[Array, Array]]:
        k, v = (rearrange(linear(w, x), "... (n h) -> ... n h", n=sizes.heads) for w in (cross.k, cross.v))
        return None, constrain((k, v), "B - K")

    _, (k, v) = jax.lax.scan(project_keys_values, None, p.layers.cross)
    return KVCache(k, v)


def enter(p: Lm, x: Array, positions: Array, sizes: BartConfig) -> Array:
    """Input of the decoder's first layer."""
    return layer_norm(p.norm, add_rows(x, p.positions[FREE + positions]))


def block(layer: Layer, x: Array, positions: Array, view: View, sizes: BartConfig) -> tuple[Array, tuple[Array, Array]]:
    """One layer of the decoder: the stream, and its own keys and values, [B G T N H] each."""
    q, k, v = project(layer.attention, x, sizes.width // sizes.heads)
    x = layer_norm(layer.attention_norm, x + merge(layer.attention, attend_own(view, q, k, v)))
    q = rearrange(linear(layer.cross.q, x), "... (n h) -> ... n h", n=sizes.heads)
    x = layer_norm(layer.cross_norm, x + merge(layer.cross, attend_prefix(view, q)))
    return layer_norm(layer.mlp_norm, x + mlp(layer.mlp, x, sizes.activation)), (k, v)


def leave(p: Lm, x: Array, sizes: BartConfig) -> Array:
    """Input of the head: the last layer's norm came last."""
    return x
