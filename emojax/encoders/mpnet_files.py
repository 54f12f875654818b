"""The files of MPNet as transformers has them: the configuration, and the weights' names."""

from collections.abc import Mapping
from typing import Any

from emojax.config import MpnetConfig
from emojax.encoders.bert_files import LAYER, MLP_NAMES, OLD_NORMS, TEXT, text_sizes
from emojax.hub import options
from emojax.hub.options import ROWS
from emojax.hub.weights import Names, linear_names, norm_names

BUCKETS = 32  # of distances, half of them for what lies behind, half for what lies ahead
_TABLE: options.Table = {
    "model_type": ("mpnet", ("mpnet",)),
    "relative_attention_num_buckets": (BUCKETS, (BUCKETS,)),
    "vocab_size": (30_527, ROWS),
} | TEXT


def config(json: Mapping[str, Any]) -> MpnetConfig:
    """Sizes from the `config.json` of transformers.

    Raises:
      ValueError: names every option which is not implemented.
    """
    c, wrong = options.read(json, _TABLE)
    options.require_none(wrong + options.not_multiples(c, "hidden_size", "num_attention_heads"), "MPNet")
    return MpnetConfig(**text_sizes(c))


def names(sizes: MpnetConfig) -> Names:
    """Names of the weights; in models with a head they follow "mpnet."."""
    return Names(
        table=(
            ("embeddings.word_embeddings.weight", "tokens", "v d -> v d"),
            ("embeddings.position_embeddings.weight", "positions", "p d -> p d"),
            *norm_names("embeddings.LayerNorm", "norm"),
            ("encoder.relative_attention_bias.weight", "distance", "b n -> b n"),
            *(line for at in "qkvo" for line in linear_names(f"{LAYER}.attention.attn.{at}", f"layers.attention.{at}")),
            *norm_names(f"{LAYER}.attention.LayerNorm", "layers.attention_norm"),
            *MLP_NAMES,
        ),
        ignore=("embeddings.position_ids", "pooler.*", "lm_head.*"),
        prefix=("mpnet.",),
        old=OLD_NORMS,
    )
