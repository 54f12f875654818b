"""GPT-2 (Radford et al. 2019): learned positions, layer norm before each part, biases everywhere, the head tied."""

import math

from einops import rearrange
from flax import struct

from emojax.config import Gpt2Config
from emojax.decoder import causal
from emojax.decoder.causal import first_position as first_position
from emojax.decoder.causal import room as room
from emojax.decoder.gpt2_files import config as config
from emojax.decoder.gpt2_files import generation_json as generation_json
from emojax.decoder.gpt2_files import names as names
from emojax.decoder.gpt2_files import to_json as to_json
from emojax.nn.attention import View, attend
from emojax.nn.layers import Linear, Mlp, Norm, add_rows, declare_linear, declare_norm, layer_norm, linear, mlp
from emojax.parallel.sharding import constrain
from emojax.param import Param, normal, stack
from emojax.types import Array, KVCache, Weight


@struct.dataclass
class Layer:
    attention_norm: Norm
    qkv: Linear  # D -> 3·D: queries, keys, values
    o: Linear  # D -> D
    mlp_norm: Norm
    mlp: Mlp


@struct.dataclass
class Lm:
    embed: Weight  # [V D], also the head
    positions: Weight  # [positions D]
    layers: Layer  # stacked on L
    norm: Norm


def declare(sizes: Gpt2Config) -> Lm:
    d, gain = sizes.width, 1 / math.sqrt(2 * sizes.layers)
    # one product for queries, keys and values, as the files have it: equal shards of it would not be shards of heads
    layer = Layer(
        attention_norm=declare_norm(d),
        qkv=declare_linear(d, 3 * d, "D -"),
        o=declare_linear(d, d, "N D", gain=gain),
        mlp_norm=declare_norm(d),
        mlp=Mlp(declare_linear(d, sizes.ff, "D F"), declare_linear(sizes.ff, d, "F D", gain=gain)),
    )
    return Lm(
        embed=Param((sizes.vocab + sizes.padding, d), ("V", None), normal(0.02)),
        positions=Param((sizes.positions, d), (None, None), normal(0.02)),
        layers=stack(layer, sizes.layers),
        norm=declare_norm(d),
    )


def head(p: Lm) -> Weight:
    """The head, [V D]."""
    return p.embed


def scale(sizes: Gpt2Config) -> float:
    """The factor of embeddings."""
    return 1


def reach(sizes: Gpt2Config) -> None:
    """Positions that each layer looks back; None: all layers look at everything."""


def encode_prefix(p: Lm, x: Array, mask: Array, positions: Array, sizes: Gpt2Config, remat: bool) -> KVCache:
    """Keys and values of a prefix, see `causal.encode_prefix`; x is its embeddings [B P D]."""
    x = enter(p, x, positions, sizes)
    return causal.encode_prefix(block, p.layers, x, mask, positions, reach(sizes), sizes, remat)


def enter(p: Lm, x: Array, positions: Array, sizes: Gpt2Config) -> Array:
    """Input of the first layer."""
    return add_rows(x, p.positions[positions])


def block(layer: Layer, x: Array, positions: Array, view: View, sizes: Gpt2Config) -> tuple[Array, tuple[Array, Array]]:
    """One layer: the stream, and this layer's own keys and values, [... positions N H] each."""
    y = linear(layer.qkv, layer_norm(layer.attention_norm, x, sizes.norm_eps))
    lead = "B G - N" if view.prefix else "B - N"
    q, k, v = constrain(tuple(rearrange(y, "... (three n h) -> three ... n h", three=3, n=sizes.heads)), lead)
    x = x + linear(layer.o, rearrange(attend(view, q, k, v), "... n h -> ... (n h)"))
    return x + mlp(layer.mlp, layer_norm(layer.mlp_norm, x, sizes.norm_eps), sizes.activation), (k, v)


def leave(p: Lm, x: Array, sizes: Gpt2Config) -> Array:
    """Input of the head."""
    return layer_norm(p.norm, x, sizes.norm_eps)
