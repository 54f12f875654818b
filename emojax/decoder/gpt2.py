"""GPT-2 (Radford et al. 2019): learned positions, layer norm before each part, biases everywhere, the head tied."""

import math
from collections.abc import Mapping
from typing import Any

from einops import rearrange
from flax import struct

from emojax.config import Gpt2Config
from emojax.hub.locate import unimplemented
from emojax.hub.weights import Names, norm_names
from emojax.nn.attention import View, attend
from emojax.nn.layers import ACTIVATIONS, Linear, Mlp, Norm, declare_linear, declare_norm, layer_norm, linear, mlp
from emojax.parallel.sharding import constrain
from emojax.param import Param, normal, stack
from emojax.types import Array, Weight


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


def config(json: Mapping[str, Any]) -> Gpt2Config:
    """From the `config.json` of transformers; padding and use stay at their defaults.

    Raises:
      ValueError: names every option that is not implemented, and what is.
    """
    implemented: dict[str, tuple[Any, ...]] = {
        "model_type": ("gpt2",),
        "activation_function": tuple(ACTIVATIONS),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
        "tie_word_embeddings": (True,),
    }
    wrong = unimplemented(json, implemented)
    width, heads = json.get("n_embd", 768), json.get("n_head", 12)
    start, end = json.get("bos_token_id", 50_256), json.get("eos_token_id", 50_256)
    ends = end if isinstance(end, list) else [end]
    if width % heads:
        wrong.append(f"n_embd={width} is not a multiple of n_head={heads}")
    if None in ends:
        wrong.append("eos_token_id=None (wanted: the token that ends a caption)")
    if wrong:
        raise ValueError(f"this GPT-2 is not supported: {'; '.join(wrong)}")
    return Gpt2Config(
        vocab=json.get("vocab_size", 50_257),
        width=width,
        layers=json.get("n_layer", 12),
        heads=heads,
        ff=json.get("n_inner") or 4 * width,
        activation=json.get("activation_function", "gelu_new"),
        positions=json.get("n_positions", 1024),
        norm_eps=json.get("layer_norm_epsilon", 1e-5),
        start_token=ends[0] if start is None else start,
        end_token=ends[0],
    )


def to_json(sizes: Gpt2Config) -> dict[str, Any]:
    """The `config.json` with which transformers builds the same model."""
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": sizes.vocab,
        "n_embd": sizes.width,
        "n_layer": sizes.layers,
        "n_head": sizes.heads,
        "n_inner": sizes.ff,
        "activation_function": sizes.activation,
        "n_positions": sizes.positions,
        "layer_norm_epsilon": sizes.norm_eps,
        "tie_word_embeddings": True,
        "bos_token_id": sizes.start_token,
        "eos_token_id": sizes.end_token,
    }


def generation_json(sizes: Gpt2Config) -> dict[str, Any]:
    """The `generation_config.json`."""
    return {"bos_token_id": sizes.start_token, "eos_token_id": sizes.end_token, "pad_token_id": sizes.end_token}


def declare(sizes: Gpt2Config) -> Lm:
    d, gain = sizes.width, 1 / math.sqrt(2 * sizes.layers)
    # one product for queries, keys and values, as the files have it: no cut of it in equal parts would be one of heads
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


def enter(p: Lm, x: Array, positions: Array, sizes: Gpt2Config) -> Array:
    """What the first layer reads."""
    return x + p.positions[positions].astype(x.dtype)


def block(layer: Layer, x: Array, positions: Array, view: View, sizes: Gpt2Config) -> tuple[Array, tuple[Array, Array]]:
    """One layer: the stream, and this layer's own keys and values, [... positions N H] each."""
    y = linear(layer.qkv, layer_norm(layer.attention_norm, x, sizes.norm_eps))
    lead = "B G - N" if view.prefix else "B - N"
    q, k, v = constrain(tuple(rearrange(y, "... (three n h) -> three ... n h", three=3, n=sizes.heads)), lead)
    x = x + linear(layer.o, rearrange(attend(view, q, k, v), "... n h -> ... (n h)"))
    return x + mlp(layer.mlp, layer_norm(layer.mlp_norm, x, sizes.norm_eps), sizes.activation), (k, v)


def leave(p: Lm, x: Array, sizes: Gpt2Config) -> Array:
    """What the head reads."""
    return layer_norm(p.norm, x, sizes.norm_eps)


def names(sizes: Gpt2Config) -> Names:
    """Of files of the language model and of the bare model; their linear maps are [in out], as ours."""
    at = "transformer.h.{l}"
    norms = (
        ("transformer.ln_f", "norm"),
        (f"{at}.ln_1", "layers.attention_norm"),
        (f"{at}.ln_2", "layers.mlp_norm"),
    )
    maps = (("attn.c_attn", "qkv"), ("attn.c_proj", "o"), ("mlp.c_fc", "mlp.up"), ("mlp.c_proj", "mlp.down"))
    table = [("transformer.wte.weight", "embed", "v d -> v d"), ("transformer.wpe.weight", "positions", "p d -> p d")]
    for theirs, ours in norms:
        table += norm_names(theirs, ours)
    for theirs, ours in maps:
        table.append((f"{at}.{theirs}.weight", f"layers.{ours}.w", "i o -> i o"))
        table.append((f"{at}.{theirs}.bias", f"layers.{ours}.b", "o -> o"))
    return Names(
        table=tuple(table),
        ignore=("h.*.attn.bias", "h.*.attn.masked_bias", "lm_head.weight"),  # masks, and the embeddings once more
        prefix=("transformer.",),
        rows={"embed": sizes.vocab},
    )
