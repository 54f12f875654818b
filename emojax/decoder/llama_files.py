"""The files of Qwen2, Qwen3, Llama and Mistral as transformers has them: the configuration, and the weights' names.

Versions 4 and 5 of transformers write rotary positions and windows differently; both are read.
"""

import math
from collections.abc import Mapping
from typing import Any

from emojax.config import LlamaConfig, RopeScaling
from emojax.decoder import special_tokens
from emojax.decoder.special_tokens import generation_json as generation_json
from emojax.hub import options
from emojax.hub.options import ANY, HEADS, LAYERS, POSITIVE, ROWS, TOKEN, WIDTH, optional
from emojax.hub.weights import Names, linear_names
from emojax.nn.layers import ACTIVATIONS

TYPES = ("qwen2", "qwen3", "llama", "mistral")
_BASE = options.Kind("a number above 1", lambda base: POSITIVE.holds(base) and base > 1)
_ROPE: options.Table = {
    "rope_type": ("default", ("default", "linear", "llama3", "yarn")),
    "rope_theta": (10_000.0, _BASE),
    "partial_rotary_factor": (1, (1,)),
    "truncate": (True, (True,)),
    "factor": (None, optional(POSITIVE)),
    "original_max_position_embeddings": (None, optional(ROWS)),
    "low_freq_factor": (None, optional(POSITIVE)),
    "high_freq_factor": (None, optional(POSITIVE)),
    "beta_fast": (None, optional(POSITIVE)),
    "beta_slow": (None, optional(POSITIVE)),
    "mscale": (None, optional(options.NOT_BELOW_0)),
    "mscale_all_dim": (None, optional(options.NOT_BELOW_0)),
    "attention_factor": (None, optional(POSITIVE)),
}


def _table(kind: str) -> options.Table:
    """The options of a kind."""
    table: options.Table = {
        "vocab_size": (151_936, ROWS),
        "hidden_size": (4096, WIDTH),
        "intermediate_size": (22_016, WIDTH),
        "num_hidden_layers": (32, LAYERS),
        "num_attention_heads": (32, HEADS),
        "num_key_value_heads": (32, optional(HEADS)),
        "head_dim": (128 if kind == "qwen3" else None, optional(options.whole(2**14))),
        "hidden_act": ("silu", tuple(ACTIVATIONS)),
        "max_position_embeddings": (32_768, ROWS),
        "rms_norm_eps": (1e-6, ANY),
        "attention_bias": (False, ANY),  # a Qwen2 has no such option
        "tie_word_embeddings": (False, ANY),
        "bos_token_id": (None, optional(TOKEN)),
        "eos_token_id": (None, special_tokens.END),
        "rope_scaling": (None, optional(options.OBJECT)),
        "rope_parameters": (None, optional(options.OBJECT)),
        "original_max_position_embeddings": (None, optional(ROWS)),
    }
    if kind == "llama":
        return table | {
            "vocab_size": (32_000, ROWS),
            "intermediate_size": (11_008, WIDTH),
            "num_key_value_heads": (None, optional(HEADS)),
            "max_position_embeddings": (2048, ROWS),
            "mlp_bias": (False, ANY),
            "bos_token_id": (1, optional(TOKEN)),
            "eos_token_id": (2, special_tokens.END),
        }
    if kind == "mistral":
        return table | {
            "vocab_size": (32_000, ROWS),
            "intermediate_size": (14_336, WIDTH),
            "num_key_value_heads": (8, optional(HEADS)),
            "max_position_embeddings": (131_072, ROWS),
            "attention_bias": (False, (False,)),
            "sliding_window": (4096, optional(ROWS)),
            "layer_types": (None, (None,)),
            "bos_token_id": (1, optional(TOKEN)),
            "eos_token_id": (2, special_tokens.END),
        }
    return table | {
        "use_sliding_window": (False, ANY),
        "sliding_window": (4096, optional(ROWS)),
        "max_window_layers": (28, options.whole(1000, 0)),
        "layer_types": (None, optional(options.each(options.TEXT))),
    }


def config(json: Mapping[str, Any]) -> LlamaConfig:
    """Sizes from the `config.json` of transformers 4 and 5; padding and use stay at their defaults.

    Raises:
      ValueError: names every option that is not implemented, and what is.
    """
    found, wrong = options.read(json, {"model_type": (None, TYPES)})
    options.require_none(wrong, "decoder")
    kind = found["model_type"]
    c, wrong = options.read(json, _table(kind))
    c["num_key_value_heads"] = c["num_key_value_heads"] or c["num_attention_heads"]
    wrong += options.not_multiples(c, "num_attention_heads", "num_key_value_heads")
    if (head_width := c["head_dim"] or c["hidden_size"] // c["num_attention_heads"]) % 2 or not head_width:
        wrong.append(f"head_dim={head_width} (implemented: even numbers)")
    theta, scaling = _rope(json, c, wrong)
    if kind in ("llama", "mistral"):
        window, window_from = c.get("sliding_window"), 0
    else:
        window, window_from = _window(c, wrong)
    options.require_none(wrong, kind)
    start, end = special_tokens.read(c["bos_token_id"], c["eos_token_id"])
    return LlamaConfig(
        vocab=c["vocab_size"],
        width=c["hidden_size"],
        layers=c["num_hidden_layers"],
        heads=c["num_attention_heads"],
        kv_heads=c["num_key_value_heads"],
        head_width=head_width,
        ff=c["intermediate_size"],
        activation=c["hidden_act"],
        rope_theta=theta,
        rope_scaling=scaling,
        positions=c["max_position_embeddings"],
        window=window,
        window_from=window_from,
        norm_eps=c["rms_norm_eps"],
        qkv_bias=kind == "qwen2" or c["attention_bias"],
        o_bias=kind != "qwen2" and c["attention_bias"],
        mlp_bias=kind == "llama" and c["mlp_bias"],
        qk_norm=kind == "qwen3",
        tie=c["tie_word_embeddings"],
        start_token=start,
        end_token=end,
    )


def _rope(json: Mapping[str, Any], c: Mapping[str, Any], wrong: list[str]) -> tuple[float, RopeScaling | None]:
    """Base and scaling of rotary positions.

    transformers 5 writes rope_parameters, 4 wrote rope_theta and rope_scaling, with "type" before "rope_type".
    """
    given = dict(c["rope_scaling"] or c["rope_parameters"] or {})
    if "type" in given:
        given = {"rope_type": given["type"]} | given
    outside = {name: json[name] for name in ("rope_theta", "partial_rotary_factor", "truncate") if name in json}
    r, faults = options.read(outside | given, _ROPE)
    if nested := [name for name, value in given.items() if isinstance(value, Mapping)]:
        wrong.append(f"rope_parameters by layer type: {', '.join(nested)} (implemented: one for all layers)")
    wrong += faults
    kind, theta = r["rope_type"], r["rope_theta"]
    if kind == "llama3":
        lacking = [name for name in ("low_freq_factor", "high_freq_factor") if r[name] is None]
        wrong += [f"{name}=None (implemented: a number)" for name in lacking]
        if not lacking and (low := r["low_freq_factor"]) >= (high := r["high_freq_factor"]):
            wrong.append(f"low_freq_factor={low} is not below high_freq_factor={high}")
    if nested or kind not in ("linear", "llama3", "yarn"):
        return theta, None
    positions = c["max_position_embeddings"]
    original = c["original_max_position_embeddings"] or r["original_max_position_embeddings"] or positions
    factor = r["factor"] or positions / original
    if kind == "linear":
        return theta, RopeScaling("linear", factor)
    if kind == "llama3":
        return theta, RopeScaling(
            "llama3", factor, original, low_freq_factor=r["low_freq_factor"], high_freq_factor=r["high_freq_factor"]
        )
    size, all_dim, attention_factor = r["mscale"], r["mscale_all_dim"], r["attention_factor"]
    if attention_factor is None and size and all_dim and factor > 1:
        attention_factor = (0.1 * size * math.log(factor) + 1) / (0.1 * all_dim * math.log(factor) + 1)
    return theta, RopeScaling(
        "yarn",
        factor,
        original,
        beta_fast=r["beta_fast"] or 32.0,
        beta_slow=r["beta_slow"] or 1.0,
        attention_factor=attention_factor,
    )


def _window(c: Mapping[str, Any], wrong: list[str]) -> tuple[int | None, int]:
    """The window and the first layer that has it, of a Qwen: `max_window_layers` or a list of every layer's type."""
    layers = c["num_hidden_layers"]
    window = c["sliding_window"] if c["use_sliding_window"] else None
    start = layers if window is None else min(c["max_window_layers"], layers)
    given = c["layer_types"] or ["full_attention"] * start + ["sliding_attention"] * (layers - start)
    types = ["full_attention" if t == "attention" else t for t in given]
    start = types.index("sliding_attention") if "sliding_attention" in types else layers
    if types != ["full_attention"] * start + ["sliding_attention"] * (layers - start):
        told = f"full_attention, then sliding_attention, {layers} in all"
        wrong.append(f"layer_types={options.shown(given)} (implemented: {told})")
    if start == layers:
        return None, 0
    if window is None:
        wrong.append("layer_types with sliding_attention but no sliding_window in use (use_sliding_window)")
    return window, start


def to_json(sizes: LlamaConfig) -> dict[str, Any]:
    """The `config.json` with which transformers builds the same model. A Mistral that is a Llama is written as that.

    Raises:
      ValueError: neither a Qwen2, a Qwen3, a Llama nor a Mistral has these options together.
    """
    window, bare = sizes.window is not None, not (sizes.qkv_bias or sizes.o_bias or sizes.mlp_bias or sizes.qk_norm)
    if sizes.qk_norm and sizes.qkv_bias == sizes.o_bias and not sizes.mlp_bias:
        kind, name = "qwen3", "Qwen3ForCausalLM"
    elif sizes.qkv_bias and not (sizes.qk_norm or sizes.o_bias or sizes.mlp_bias):
        kind, name = "qwen2", "Qwen2ForCausalLM"
    elif sizes.qkv_bias == sizes.o_bias and not (sizes.qk_norm or window) and sizes.width % sizes.heads == 0:
        kind, name = "llama", "LlamaForCausalLM"
    elif bare and not (window and sizes.window_from):
        kind, name = "mistral", "MistralForCausalLM"
    else:
        raise ValueError(
            f"transformers has no such decoder: {sizes}; a Qwen2 has qkv_bias and no other bias, a Qwen3 has qk_norm, "
            "qkv_bias = o_bias and no mlp_bias, a Llama has qkv_bias = o_bias, no window and a width that is a "
            "multiple of heads, a Mistral has no bias and no qk_norm, and a window of all its layers or of none"
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
    if kind == "mistral":
        return json | {"sliding_window": sizes.window}
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


def names(sizes: LlamaConfig) -> Names:
    """Names of the weights in files of the language model, and of the bare model where the head is tied."""
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
