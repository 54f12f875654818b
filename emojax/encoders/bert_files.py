"""The files of BERT and its heirs as transformers has them: the configuration, and the weights' names."""

from collections.abc import Mapping
from typing import Any

from emojax.config import BertConfig
from emojax.hub import options
from emojax.hub.options import ANY
from emojax.hub.weights import Names, linear_names, norm_names
from emojax.nn.layers import ACTIVATIONS

_VOCAB = {"bert": 30_522, "roberta": 50_265, "xlm-roberta": 30_522, "camembert": 30_522}  # where a file does not say
_PADDING = options.Rule("a token's id, from which positions are counted", lambda token: isinstance(token, int))
LAYER = "encoder.layer.{l}"
MLP_NAMES = (
    *linear_names(f"{LAYER}.intermediate.dense", "layers.mlp.up"),
    *linear_names(f"{LAYER}.output.dense", "layers.mlp.down"),
    *norm_names(f"{LAYER}.output.LayerNorm", "layers.mlp_norm"),
)
OLD_NORMS = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
TEXT: options.Table = {  # of every encoder of text; MPNet's, too
    "hidden_act": ("gelu", tuple(ACTIVATIONS)),
    "position_embedding_type": ("absolute", ("absolute",)),
    "hidden_size": (768, ANY),
    "num_hidden_layers": (12, ANY),
    "num_attention_heads": (12, ANY),
    "intermediate_size": (3072, ANY),
    "max_position_embeddings": (512, ANY),
    "layer_norm_eps": (1e-12, ANY),
}


def config(json: Mapping[str, Any]) -> BertConfig:
    """Sizes from the `config.json` of transformers.

    Raises:
      ValueError: names every option which is not implemented.
    """
    kind = json.get("model_type", "bert")
    table: options.Table = {
        "model_type": ("bert", tuple(_VOCAB)),
        "is_decoder": (False, (False,)),
        "add_cross_attention": (False, (False,)),
        "vocab_size": (_VOCAB.get(kind), ANY),
        "type_vocab_size": (2, ANY),
        "pad_token_id": (1, ANY if kind == "bert" else _PADDING),
    }
    c, wrong = options.read(json, table | TEXT)
    options.require_none(wrong + options.not_multiples(c, "hidden_size", "num_attention_heads"), "BERT")
    return BertConfig(
        kind=kind,
        first_position=0 if kind == "bert" else c["pad_token_id"] + 1,
        types=c["type_vocab_size"],
        **text_sizes(c),
    )


def text_sizes(c: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that every encoder of text has, from its options."""
    return {
        "vocab": c["vocab_size"],
        "width": c["hidden_size"],
        "layers": c["num_hidden_layers"],
        "heads": c["num_attention_heads"],
        "ff": c["intermediate_size"],
        "activation": c["hidden_act"],
        "positions": c["max_position_embeddings"],
        "norm_eps": c["layer_norm_eps"],
    }


def names(sizes: BertConfig) -> Names:
    """Names of the weights, the same for all these models; in models with a head they follow the model's own name."""
    return Names(
        table=(
            ("embeddings.word_embeddings.weight", "tokens", "v d -> v d"),
            ("embeddings.position_embeddings.weight", "positions", "p d -> p d"),
            ("embeddings.token_type_embeddings.weight", "types", "t d -> t d"),
            *norm_names("embeddings.LayerNorm", "norm"),
            *linear_names(f"{LAYER}.attention.self.query", "layers.attention.q"),
            *linear_names(f"{LAYER}.attention.self.key", "layers.attention.k"),
            *linear_names(f"{LAYER}.attention.self.value", "layers.attention.v"),
            *linear_names(f"{LAYER}.attention.output.dense", "layers.attention.o"),
            *norm_names(f"{LAYER}.attention.output.LayerNorm", "layers.attention_norm"),
            *MLP_NAMES,
        ),
        ignore=("embeddings.position_ids", "embeddings.token_type_ids", "pooler.*", "cls.*", "lm_head.*"),
        prefix=("bert.",) if sizes.kind == "bert" else ("roberta.",),
        old=OLD_NORMS,
    )
