"""The files of GPT-2 as transformers has them: the configuration, and the weights' names."""

from collections.abc import Mapping
from typing import Any

from emojax.config import Gpt2Config
from emojax.decoder import special_tokens
from emojax.decoder.special_tokens import generation_json as generation_json
from emojax.hub import options
from emojax.hub.options import ANY, HEADS, LAYERS, ROWS, TOKEN, WIDTH, optional
from emojax.hub.weights import Names, norm_names
from emojax.nn.layers import ACTIVATIONS

_TABLE: options.Table = {
    "model_type": ("gpt2", ("gpt2",)),
    "vocab_size": (50_257, ROWS),
    "n_embd": (768, WIDTH),
    "n_layer": (12, LAYERS),
    "n_head": (12, HEADS),
    "n_inner": (None, optional(WIDTH)),
    "activation_function": ("gelu_new", tuple(ACTIVATIONS)),
    "n_positions": (1024, ROWS),
    "layer_norm_epsilon": (1e-5, ANY),
    "scale_attn_weights": (True, (True,)),
    "scale_attn_by_inverse_layer_idx": (False, (False,)),
    "add_cross_attention": (False, (False,)),
    "tie_word_embeddings": (True, (True,)),
    "bos_token_id": (50_256, optional(TOKEN)),
    "eos_token_id": (50_256, special_tokens.END),
}


def config(json: Mapping[str, Any]) -> Gpt2Config:
    """Sizes from the `config.json` of transformers; padding and use stay at their defaults.

    Raises:
      ValueError: names every option that is not implemented, and what is.
    """
    c, wrong = options.read(json, _TABLE)
    options.require_none(wrong + options.not_multiples(c, "n_embd", "n_head"), "GPT-2")
    start, end = special_tokens.read(c["bos_token_id"], c["eos_token_id"])
    return Gpt2Config(
        vocab=c["vocab_size"],
        width=c["n_embd"],
        layers=c["n_layer"],
        heads=c["n_head"],
        ff=c["n_inner"] or 4 * c["n_embd"],
        activation=c["activation_function"],
        positions=c["n_positions"],
        norm_eps=c["layer_norm_epsilon"],
        start_token=start,
        end_token=end,
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


def names(sizes: Gpt2Config) -> Names:
    """Names of the weights in files of the language model and of the bare model; linear maps are [in out], as ours."""
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
