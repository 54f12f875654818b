"""Qwen2, Qwen2.5 (arXiv 2407.10671, 2412.15115), Qwen3 (2505.09388), Llama 2 and 3 (2307.09288, 2407.21783).

RMSNorm before each part, rotary positions, grouped-query attention, a gated feed-forward block. The three differ in
where they have biases and in Qwen3's norm of queries and keys: options, by which they are told apart.
"""

import math
from collections.abc import Mapping
from typing import Any

from flax import struct

from emojax.config import LlamaConfig, RopeScaling
from emojax.hub.weights import Names, linear_names
from emojax.nn.attention import SelfAttention, View, attend, declare_attention, merge, project
from emojax.nn.layers import ACTIVATIONS, Norm, SwiGlu, declare_norm, declare_swiglu, rms_norm, rope, swiglu
from emojax.param import Param, normal, ones, stack
from emojax.types import Array, Weight


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


def config(json: Mapping[str, Any]) -> LlamaConfig:
    """From the `config.json` of transformers, whether version 4 or 5 wrote it; padding and use stay at their defaults.

    Raises:
      ValueError: names every option that is not implemented, and what is.
    """
    kind = json.get("model_type")
    if kind not in ("qwen2", "qwen3", "llama"):
        raise ValueError(f"model_type={kind!r} is not implemented here (implemented: qwen2, qwen3, llama)")
    of_llama = kind == "llama"
    c: dict[str, Any] = {  # defaults of that kind
        "vocab_size": 32_000 if of_llama else 151_936,
        "hidden_size": 4096,
        "intermediate_size": 11_008 if of_llama else 22_016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": None if of_llama else 32,
        "head_dim": 128 if kind == "qwen3" else None,
        "hidden_act": "silu",
        "max_position_embeddings": 2048 if of_llama else 32_768,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "bos_token_id": 1 if of_llama else None,
        "eos_token_id": 2 if of_llama else None,
    }
    c |= json
    wrong: list[str] = []
    heads, end = c["num_attention_heads"], c["eos_token_id"]
    kv_heads = c["num_key_value_heads"] or heads
    ends = end if isinstance(end, list) else [end]
    if c["hidden_act"] not in ACTIVATIONS:
        wrong.append(f"hidden_act={c['hidden_act']!r} (implemented: {', '.join(ACTIVATIONS)})")
    if heads % kv_heads:
        wrong.append(f"num_attention_heads={heads} is not a multiple of num_key_value_heads={kv_heads}")
    if (head_width := c["head_dim"] or c["hidden_size"] // heads) % 2:
        wrong.append(f"head_dim={head_width} (implemented: even numbers)")
    if None in ends:
        wrong.append("eos_token_id=None (wanted: the token that ends a caption)")
    theta, scaling = _rope(c, wrong)
    window, window_from = (None, 0) if of_llama else _window(c, wrong)
    if wrong:
        raise ValueError(f"this {kind} is not supported: {'; '.join(wrong)}")
    bias = c.get("attention_bias", False)  # a Qwen2 has no such option
    return LlamaConfig(
        vocab=c["vocab_size"],
        width=c["hidden_size"],
        layers=c["num_hidden_layers"],
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        ff=c["intermediate_size"],
        activation=c["hidden_act"],
        rope_theta=theta,
        rope_scaling=scaling,
        positions=c["max_position_embeddings"],
        window=window,
        window_from=window_from,
        norm_eps=c["rms_norm_eps"],
        qkv_bias=kind == "qwen2" or bias,
        o_bias=kind != "qwen2" and bias,
        mlp_bias=of_llama and c.get("mlp_bias", False),
        qk_norm=kind == "qwen3",
        tie=c["tie_word_embeddings"],
        start_token=ends[0] if c["bos_token_id"] is None else c["bos_token_id"],
        end_token=ends[0],
    )


def _rope(c: Mapping[str, Any], wrong: list[str]) -> tuple[float, RopeScaling | None]:
    """transformers 5 writes rope_parameters, 4 wrote rope_theta and rope_scaling, with "type" before "rope_type"."""
    r = dict(c.get("rope_scaling") or c.get("rope_parameters") or {})
    kind = r.get("rope_type", r.get("type", "default"))
    theta = r.get("rope_theta", c.get("rope_theta", 10_000.0))
    if nested := [name for name, value in r.items() if isinstance(value, Mapping)]:
        wrong.append(f"rope_parameters by layer type: {', '.join(nested)} (implemented: one for all layers)")
    if kind not in ("default", "linear", "llama3", "yarn"):
        wrong.append(f"rope_type={kind!r} (implemented: default, linear, llama3, yarn)")
    for name, only in (("partial_rotary_factor", 1), ("truncate", True)):
        if (value := r.get(name, c.get(name, only))) != only:
            wrong.append(f"{name}={value!r} (implemented: {only!r})")
    if nested or kind not in ("linear", "llama3", "yarn"):
        return theta, None
    positions = c["max_position_embeddings"]
    original = c.get("original_max_position_embeddings") or r.get("original_max_position_embeddings") or positions
    factor = r.get("factor") or positions / original
    if kind == "linear":
        return theta, RopeScaling("linear", factor)
    if kind == "llama3":
        return theta, RopeScaling(
            "llama3", factor, original, low_freq_factor=r["low_freq_factor"], high_freq_factor=r["high_freq_factor"]
        )
    size, all_dim, attention_factor = (r.get(name) for name in ("mscale", "mscale_all_dim", "attention_factor"))
    if attention_factor is None and size and all_dim and factor > 1:
        attention_factor = (0.1 * size * math.log(factor) + 1) / (0.1 * all_dim * math.log(factor) + 1)
    return theta, RopeScaling(
        "yarn",
        factor,
        original,
        beta_fast=r.get("beta_fast") or 32.0,
        beta_slow=r.get("beta_slow") or 1.0,
        attention_factor=attention_factor,
    )


def _window(c: Mapping[str, Any], wrong: list[str]) -> tuple[int | None, int]:
    """The window and the first layer that has it, of a Qwen: `max_window_layers` or a list of every layer's type."""
    layers = c["num_hidden_layers"]
    window = c.get("sliding_window", 4096) if c.get("use_sliding_window", False) else None
    start = layers if window is None else min(c.get("max_window_layers", 28), layers)
    given = c.get("layer_types") or ["full_attention"] * start + ["sliding_attention"] * (layers - start)
    types = ["full_attention" if t == "attention" else t for t in given]
    start = types.index("sliding_attention") if "sliding_attention" in types else layers
    if types != ["full_attention"] * start + ["sliding_attention"] * (layers - start):
        wrong.append(f"layer_types={given!r} (implemented: full_attention, then sliding_attention, {layers} in all)")
    if start == layers:
        return None, 0
    if window is None:
        wrong.append("layer_types with sliding_attention but no sliding_window in use (use_sliding_window)")
    return window, start


def to_json(sizes: LlamaConfig) -> dict[str, Any]:
    """The `config.json` with which transformers builds the same model.

    Raises:
      ValueError: neither a Qwen2, a Qwen3 nor a Llama has these options together.
    """
    window = sizes.window is not None
    if sizes.qk_norm and sizes.qkv_bias == sizes.o_bias and not sizes.mlp_bias:
        kind, name = "qwen3", "Qwen3ForCausalLM"
    elif sizes.qkv_bias and not (sizes.qk_norm or sizes.o_bias or sizes.mlp_bias):
        kind, name = "qwen2", "Qwen2ForCausalLM"
    elif sizes.qkv_bias == sizes.o_bias and not (sizes.qk_norm or window) and sizes.width % sizes.heads == 0:
        kind, name = "llama", "LlamaForCausalLM"
    else:
        raise ValueError(
            f"transformers has no such decoder: {sizes}; a Qwen2 has qkv_bias and no other bias, a Qwen3 has qk_norm, "
            f"qkv_bias = o_bias and no mlp_bias, a Llama has qkv_bias = o_bias, no window and width a multiple of heads"
        )
    json: dict[str, Any] = {
        "model_type": kind,
        "architectures": [name],
        "vocab_size": sizes.vocab,
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_width,
        "intermediate_size": sizes.ff,
        "hidden_act": sizes.activation,
        "max_position_embeddings": sizes.positions,
        "rms_norm_eps": sizes.norm_eps,
        "tie_word_embeddings": sizes.tie,
        "rope_parameters": _rope_json(sizes),
        "rope_theta": sizes.rope_theta,  # this and the next for transformers 4
        "rope_scaling": _rope_json(sizes) if sizes.rope_scaling else None,
        "bos_token_id": sizes.start_token,
        "eos_token_id": sizes.end_token,
    }
    if kind != "qwen2":
        json["attention_bias"] = sizes.qkv_bias
    if kind == "llama":
        return json | {"mlp_bias": sizes.mlp_bias}
    start = sizes.window_from if window else sizes.layers
    types = ["full_attention"] * start + ["sliding_attention"] * (sizes.layers - start)
    return json | {
        "use_sliding_window": window,
        "sliding_window": sizes.window,
        "max_window_layers": start,
        "layer_types": types,
    }


def _rope_json(sizes: LlamaConfig) -> dict[str, Any]:
    s, theta = sizes.rope_scaling, sizes.rope_theta
    if s is None:
        return {"rope_type": "default", "rope_theta": theta}
    json: dict[str, Any] = {"rope_type": s.kind, "rope_theta": theta, "factor": s.factor}
    if s.kind != "linear":
        json["original_max_position_embeddings"] = s.original_positions
    if s.kind == "llama3":
        json |= {"low_freq_factor": s.low_freq_factor, "high_freq_factor": s.high_freq_factor}
    if s.kind == "yarn":
        json |= {"beta_fast": s.beta_fast, "beta_slow": s.beta_slow, "attention_factor": s.attention_factor}
    return json


def generation_json(sizes: LlamaConfig) -> dict[str, Any]:
    """The `generation_config.json`."""
    return {"bos_token_id": sizes.start_token, "eos_token_id": sizes.end_token, "pad_token_id": sizes.end_token}


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
    # not cut along D: a table cut over the data axis is gathered whole for every look-up
    table = Param((sizes.vocab + sizes.padding, d), ("V", None), normal(0.02))
    return Lm(
        embed=table, layers=stack(layer, sizes.layers), norm=declare_norm(d, False), head=None if sizes.tie else table
    )


def enter(p: Lm, x: Array, positions: Array, sizes: LlamaConfig) -> Array:
    """What the first layer reads."""
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
    """What the head reads."""
    return rms_norm(p.norm, x, sizes.norm_eps)


def names(sizes: LlamaConfig) -> Names:
    """Of files of the language model, and of the bare model where the head is tied."""
    at = "model.layers.{l}"
    table = [("model.embed_tokens.weight", "embed", "v d -> v d"), ("lm_head.weight", "head", "v d -> v d")]
    for theirs, ours in (
        ("model.norm", "norm"),
        (f"{at}.input_layernorm", "layers.attention_norm"),
        (f"{at}.post_attention_layernorm", "layers.mlp_norm"),
        (f"{at}.self_attn.q_norm", "layers.q_norm"),
        (f"{at}.self_attn.k_norm", "layers.k_norm"),
    ):
        table.append((f"{theirs}.weight", f"{ours}.scale", "d -> d"))
    for theirs, ours in (
        *((f"self_attn.{x}_proj", f"attention.{x}") for x in "qkvo"),
        *((f"mlp.{x}_proj", f"mlp.{x}") for x in ("gate", "up", "down")),
    ):
        table += linear_names(f"{at}.{theirs}", f"layers.{ours}")
    return Names(
        table=tuple(table),
        ignore=("*rotary_emb.inv_freq", *(("lm_head.weight",) if sizes.tie else ())),
        prefix=("model.",),
        rows={"embed": sizes.vocab, "head": sizes.vocab},
    )
