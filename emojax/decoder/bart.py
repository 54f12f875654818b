"""BART (Lewis et al. 2019, arXiv 1910.13461): its encoder reads the prefix, its decoder attends to that and to itself.

Both have learned positions and a layer norm after each part; the head is tied to the embeddings that both share.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
from einops import rearrange
from flax import struct

from emojax.config import BartConfig
from emojax.hub.locate import unimplemented
from emojax.hub.weights import Names, linear_names, norm_names
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
from emojax.nn.layers import ACTIVATIONS, Mlp, Norm, declare_linear, declare_norm, layer_norm, linear, mlp
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


def config(json: Mapping[str, Any]) -> BartConfig:
    """From the `config.json` of transformers; padding and use stay at their defaults.

    Raises:
      ValueError: names every option that is not implemented, and what is.
    """
    implemented: dict[str, tuple[Any, ...]] = {
        "model_type": ("bart",),
        "activation_function": tuple(ACTIVATIONS),
        "is_encoder_decoder": (True,),
        "tie_word_embeddings": (True,),
    }
    wrong = unimplemented(json, implemented)
    width, start, end = json.get("d_model", 1024), json.get("decoder_start_token_id", 2), json.get("eos_token_id", 2)
    ends = end if isinstance(end, list) else [end]
    for name in ("encoder_attention_heads", "decoder_attention_heads"):
        if width % json.get(name, 16):
            wrong.append(f"d_model={width} is not a multiple of {name}={json[name]}")
    if None in ends:
        wrong.append("eos_token_id=None (wanted: the token that ends a caption)")
    if wrong:
        raise ValueError(f"this BART is not supported: {'; '.join(wrong)}")
    return BartConfig(
        vocab=json.get("vocab_size", 50_265),
        width=width,
        encoder_layers=json.get("encoder_layers", 12),
        layers=json.get("decoder_layers", 12),
        encoder_heads=json.get("encoder_attention_heads", 16),
        heads=json.get("decoder_attention_heads", 16),
        encoder_ff=json.get("encoder_ffn_dim", 4096),
        ff=json.get("decoder_ffn_dim", 4096),
        activation=json.get("activation_function", "gelu"),
        positions=json.get("max_position_embeddings", 1024),
        scale_embedding=json.get("scale_embedding", False),
        start_token=ends[0] if start is None else start,
        end_token=ends[0],
    )


def to_json(sizes: BartConfig) -> dict[str, Any]:
    """The `config.json` with which transformers builds the same model."""
    return {
        "model_type": "bart",
        "architectures": ["BartForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": sizes.vocab,
        "d_model": sizes.width,
        "encoder_layers": sizes.encoder_layers,
        "decoder_layers": sizes.layers,
        "encoder_attention_heads": sizes.encoder_heads,
        "decoder_attention_heads": sizes.heads,
        "encoder_ffn_dim": sizes.encoder_ff,
        "decoder_ffn_dim": sizes.ff,
        "activation_function": sizes.activation,
        "max_position_embeddings": sizes.positions,
        "scale_embedding": sizes.scale_embedding,
        "tie_word_embeddings": True,
        "bos_token_id": sizes.start_token,
        "eos_token_id": sizes.end_token,
        "pad_token_id": sizes.end_token if sizes.end_token < sizes.vocab else None,  # it must have a row
        "decoder_start_token_id": sizes.start_token,
        "forced_eos_token_id": None,  # a caption that is cut off is cut off
    }


def generation_json(sizes: BartConfig) -> dict[str, Any]:
    """The `generation_config.json`."""
    ids = {"bos_token_id": sizes.start_token, "eos_token_id": sizes.end_token, "pad_token_id": sizes.end_token}
    return ids | {"decoder_start_token_id": sizes.start_token}


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


def encode(p: Lm, x: Array, mask: Array, positions: Array, sizes: BartConfig, remat: bool) -> KVCache:
    """Reads the prefix: what each layer of the decoder attends to, [L B P N H].

    Args:
      x: embeddings of the prefix, [B P D].
      mask: bool[B P]; what is off it is seen by none.
      positions: i32[B P]
    """

    def block(x: Array, layer: EncoderLayer) -> tuple[Array, None]:
        q, k, v = project(layer.attention, x, sizes.width // sizes.encoder_heads)
        y = merge(layer.attention, attention(q, k, v, mask[:, None]))
        x = layer_norm(layer.attention_norm, x + y)
        return constrain(layer_norm(layer.mlp_norm, x + mlp(layer.mlp, x, sizes.activation))), None

    x = layer_norm(p.encoder.norm, x + p.encoder.positions[FREE + positions].astype(x.dtype))
    x, _ = jax.lax.scan(jax.checkpoint(block) if remat else block, x, p.encoder.layers)

    def seen(_: None, cross: SelfAttention) -> tuple[None, tuple[Array, Array]]:
        k, v = (rearrange(linear(w, x), "... (n h) -> ... n h", n=sizes.heads) for w in (cross.k, cross.v))
        return None, constrain((k, v), "B - K")

    _, (k, v) = jax.lax.scan(seen, None, p.layers.cross)
    return KVCache(k, v)


def enter(p: Lm, x: Array, positions: Array, sizes: BartConfig) -> Array:
    """What the decoder's first layer reads."""
    return layer_norm(p.norm, x + p.positions[FREE + positions].astype(x.dtype))


def block(layer: Layer, x: Array, positions: Array, view: View, sizes: BartConfig) -> tuple[Array, tuple[Array, Array]]:
    """One layer of the decoder: the stream, and its own keys and values, [B G T N H] each."""
    q, k, v = project(layer.attention, x, sizes.width // sizes.heads)
    x = layer_norm(layer.attention_norm, x + merge(layer.attention, attend_own(view, q, k, v)))
    q = rearrange(linear(layer.cross.q, x), "... (n h) -> ... n h", n=sizes.heads)
    x = layer_norm(layer.cross_norm, x + merge(layer.cross, attend_prefix(view, q)))
    return layer_norm(layer.mlp_norm, x + mlp(layer.mlp, x, sizes.activation)), (k, v)


def leave(p: Lm, x: Array, sizes: BartConfig) -> Array:
    """What the head reads: the last layer's norm came last."""
    return x


def names(sizes: BartConfig) -> Names:
    """Of files of the generator and of the bare model."""
    table = [("model.shared.weight", "embed", "v d -> v d")]
    for theirs, ours in (("model.encoder", "encoder."), ("model.decoder", "")):
        at, layers = f"{theirs}.layers.{{l}}", f"{ours}layers"
        table.append((f"{theirs}.embed_positions.weight", f"{ours}positions", "p d -> p d"))
        norms = (
            (f"{theirs}.layernorm_embedding", f"{ours}norm"),
            (f"{at}.self_attn_layer_norm", f"{layers}.attention_norm"),
            (f"{at}.encoder_attn_layer_norm", f"{layers}.cross_norm"),
            (f"{at}.final_layer_norm", f"{layers}.mlp_norm"),
        )
        maps = [("fc1", "mlp.up"), ("fc2", "mlp.down")]
        for part, name in (("self_attn", "attention"), ("encoder_attn", "cross")):
            maps += [(f"{part}.{'out' if x == 'o' else x}_proj", f"{name}.{x}") for x in "qkvo"]
        for a, b in norms:
            table += norm_names(a, b)
        for a, b in maps:
            table += linear_names(f"{at}.{a}", f"{layers}.{b}")
    return Names(
        table=tuple(table),
        ignore=(  # the shared embeddings once more; zeros; a number; heads of classifiers
            "encoder.embed_tokens.weight",
            "decoder.embed_tokens.weight",
            "lm_head.weight",
            "final_logits_bias",
            "*coder.version",
            "classification_head.*",
        ),
        prefix=("model.",),
        rows={"embed": sizes.vocab},
    )
