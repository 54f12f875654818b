"""The files of BART as transformers has them: the configuration, and the weights' names."""

from collections.abc import Mapping
from typing import Any

from emojax.config import BartConfig
from emojax.decoder import special_tokens
from emojax.hub import options
from emojax.hub.options import ANY, HEADS, LAYERS, ROWS, TOKEN, WIDTH, optional
from emojax.hub.weights import Names, linear_names, norm_names
from emojax.nn.layers import ACTIVATIONS

_TABLE: options.Table = {
    "model_type": ("bart", ("bart",)),
    "vocab_size": (50_265, ROWS),
    "d_model": (1024, WIDTH),
    "encoder_layers": (12, LAYERS),
    "decoder_layers": (12, LAYERS),
    "encoder_attention_heads": (16, HEADS),
    "decoder_attention_heads": (16, HEADS),
    "encoder_ffn_dim": (4096, WIDTH),
    "decoder_ffn_dim": (4096, WIDTH),
    "activation_function": ("gelu", tuple(ACTIVATIONS)),
    "max_position_embeddings": (1024, ROWS),
    "scale_embedding": (False, ANY),
    "is_encoder_decoder": (True, (True,)),
    "tie_word_embeddings": (True, (True,)),
    "decoder_start_token_id": (2, optional(TOKEN)),
    "eos_token_id": (2, special_tokens.END),
}


def config(json: Mapping[str, Any]) -> BartConfig:
    """Sizes from the `config.json` of transformers; padding and use stay at their defaults.

    Raises:
      ValueError: names every option that is not implemented, and what is.
    """
    c, wrong = options.read(json, _TABLE)
    wrong += options.not_multiples(c, "d_model", "encoder_attention_heads", "decoder_attention_heads")
    options.require_none(wrong, "BART")
    start, end = special_tokens.read(c["decoder_start_token_id"], c["eos_token_id"])
    return BartConfig(
        vocab=c["vocab_size"],
        width=c["d_model"],
        encoder_layers=c["encoder_layers"],
        layers=c["decoder_layers"],
        encoder_heads=c["encoder_attention_heads"],
        heads=c["decoder_attention_heads"],
        encoder_ff=c["encoder_ffn_dim"],
        ff=c["decoder_ffn_dim"],
        activation=c["activation_function"],
        positions=c["max_position_embeddings"],
        scale_embedding=c["scale_embedding"],
        start_token=start,
        end_token=end,
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
    return special_tokens.generation_json(sizes) | {"decoder_start_token_id": sizes.start_token}


def names(sizes: BartConfig) -> Names:
    """Names of the weights in files of the generator and of the bare model."""
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
