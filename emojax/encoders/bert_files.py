"""The files of BERT and its heirs as transformers has them: the configuration, and the weights' names."""

from collections.abc import Mapping
from typing import Any

from emojax.config import BertConfig
from emojax.hub import options
from emojax.hub.options import ANY, HEADS, LAYERS, ROWS, WIDTH
from emojax.hub.weights import Names, linear_names, norm_names
from emojax.nn.layers import ACTIVATIONS

_VOCAB = {  # where a file does not say
    "bert": 30_522,
    "roberta": 50_265,
    "xlm-roberta": 30_522,
    "camembert": 30_522,
    "distilbert": 30_522,
    "ernie": 30_522,
}
TYPES = tuple(_VOCAB)
_COUNTED = ("roberta", "xlm-roberta", "camembert")  # their positions begin after the padding's id
_DISTILBERT = {  # its options, and what the others call them
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
}
_PADDING = options.Rule("a token's id, from which positions are counted", options.whole(2**24, 0).holds)
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
    "hidden_size": (768, WIDTH),
    "num_hidden_layers": (12, LAYERS),
    "num_attention_heads": (12, HEADS),
    "intermediate_size": (3072, WIDTH),
    "max_position_embeddings": (512, ROWS),
    "layer_norm_eps": (1e-12, ANY),
}


def config(json: Mapping[str, Any]) -> BertConfig:
    """Sizes from the `config.json` of transformers.

    Raises:
      ValueError: names every option which is not implemented.
    """
    kind = json.get("model_type", "bert")
    distilled = kind == "distilbert"
    if distilled:
        defaults = {"num_hidden_layers": 6, "type_vocab_size": 0, "layer_norm_eps": 1e-12}
        json = dict(json) | defaults | {ours: json[theirs] for theirs, ours in _DISTILBERT.items() if theirs in json}
    table: options.Table = {
        "model_type": ("bert", TYPES),
        "is_decoder": (False, (False,)),
        "add_cross_attention": (False, (False,)),
        "vocab_size": (_VOCAB.get(kind), ROWS),
        "type_vocab_size": (2, options.whole(2**24, 0)),  # DistilBERT has none
        "use_task_id": (False, ANY),
        "task_type_vocab_size": (3, ROWS),
    }
    if kind in _COUNTED:
        table["pad_token_id"] = (1, _PADDING)
    c, wrong = options.read(json, table | TEXT)
    first = c["pad_token_id"] + 1 if kind in _COUNTED and not wrong else 0
    if first >= c["max_position_embeddings"]:
        wrong.append(f"pad_token_id={first - 1}, from which positions are counted, leaves none of them")
    options.require_none(wrong + options.not_multiples(c, "hidden_size", "num_attention_heads"), "BERT")
    return BertConfig(
        kind=kind,
        first_position=first,
        types=c["type_vocab_size"],
        tasks=c["task_type_vocab_size"] if kind == "ernie" and c["use_task_id"] else 0,
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
    """Names of the weights, the same for all but DistilBERT; in models with a head they follow the model's own name."""
    if sizes.kind == "distilbert":
        return _distilbert_names()
    return Names(
        table=(
            ("embeddings.word_embeddings.weight", "tokens", "v d -> v d"),
            ("embeddings.position_embeddings.weight", "positions", "p d -> p d"),
            ("embeddings.token_type_embeddings.weight", "types", "t d -> t d"),
            ("embeddings.task_type_embeddings.weight", "tasks", "t d -> t d"),
            *norm_names("embeddings.LayerNorm", "norm"),
            *linear_names(f"{LAYER}.attention.self.query", "layers.attention.q"),
            *linear_names(f"{LAYER}.attention.self.key", "layers.attention.k"),
            *linear_names(f"{LAYER}.attention.self.value", "layers.attention.v"),
            *linear_names(f"{LAYER}.attention.output.dense", "layers.attention.o"),
            *norm_names(f"{LAYER}.attention.output.LayerNorm", "layers.attention_norm"),
            *MLP_NAMES,
        ),
        ignore=("embeddings.position_ids", "embeddings.token_type_ids", "pooler.*", "cls.*", "lm_head.*"),
        prefix=("roberta." if sizes.kind in _COUNTED else f"{sizes.kind}.",),
        old=OLD_NORMS,
    )


def _distilbert_names() -> Names:
    layer = "transformer.layer.{l}"
    return Names(
        table=(
            ("embeddings.word_embeddings.weight", "tokens", "v d -> v d"),
            ("embeddings.position_embeddings.weight", "positions", "p d -> p d"),
            *norm_names("embeddings.LayerNorm", "norm"),
            *(line for x in "qkv" for line in linear_names(f"{layer}.attention.{x}_lin", f"layers.attention.{x}")),
            *linear_names(f"{layer}.attention.out_lin", "layers.attention.o"),
            *norm_names(f"{layer}.sa_layer_norm", "layers.attention_norm"),
            *linear_names(f"{layer}.ffn.lin1", "layers.mlp.up"),
            *linear_names(f"{layer}.ffn.lin2", "layers.mlp.down"),
            *norm_names(f"{layer}.output_layer_norm", "layers.mlp_norm"),
        ),
        ignore=(
            *("embeddings.position_ids", "vocab_transform.*", "vocab_layer_norm.*", "vocab_projector.*"),
            *("pre_classifier.*", "classifier.*", "qa_outputs.*"),
        ),
        prefix=("distilbert.",),
        old=OLD_NORMS,
    )
