"""MPNet (Song et al. 2020, arXiv 2004.09297): BERT's layers, and what a position thinks of another by their distance.

That bias of the attention's scores is of buckets of distances (Raffel et al. 2019, arXiv 1910.10683, section 2.1),
one table for all layers.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct

from emojax.config import MpnetConfig
from emojax.encoders.bert import OLD_NORMS, Layer, counted, declare_layers, run, unsupported
from emojax.hub.weights import Names, linear_names, norm_names
from emojax.nn.layers import Norm, declare_norm, layer_norm
from emojax.param import Param, normal
from emojax.types import Array, Weight

_BUCKETS = 32  # half of them for what lies behind, half for what lies ahead
# the smallest distance of each bucket but the first: one by one up to 8, then eight to each factor of 16, up to 128
_NEAREST = np.array([*range(1, 8), *np.ceil(8 * 16 ** (np.arange(8) / 8))], np.int32)


@struct.dataclass
class Mpnet:
    tokens: Weight  # [V D]
    positions: Weight  # [positions D]
    norm: Norm
    distance: Weight  # [buckets N]
    layers: Layer  # stacked on L


def config(json: Mapping[str, Any]) -> MpnetConfig:
    """From the `config.json` of transformers. Raises ValueError that names every option which is not implemented."""
    wrong = unsupported(json, {"model_type": ("mpnet",), "relative_attention_num_buckets": (_BUCKETS,)})
    if wrong:
        raise ValueError(f"this MPNet is not supported: {'; '.join(wrong)}")
    return MpnetConfig(
        vocab=json.get("vocab_size", 30_527),
        width=json.get("hidden_size", 768),
        layers=json.get("num_hidden_layers", 12),
        heads=json.get("num_attention_heads", 12),
        ff=json.get("intermediate_size", 3072),
        activation=json.get("hidden_act", "gelu"),
        positions=json.get("max_position_embeddings", 512),
        norm_eps=json.get("layer_norm_eps", 1e-12),
    )


def declare(sizes: MpnetConfig) -> Mpnet:
    d, table = sizes.width, normal(0.02)
    return Mpnet(
        tokens=Param((sizes.vocab, d), ("V", "D"), table),
        positions=Param((sizes.positions, d), (None, "D"), table),
        norm=declare_norm(d),
        distance=Param((_BUCKETS, sizes.heads), (None, "N"), table),
        layers=declare_layers(sizes),
    )


def encode(params: Mpnet, ids: Array, mask: Array, sizes: MpnetConfig) -> Array:
    """Hidden states of the last layer.

    Args:
      ids: i32[N T], special tokens included; T + 2 rows of positions at most.
      mask: bool[N T], True on tokens; no position sees the others, and their own result means nothing.
    Returns:
      [N T D]
    """
    x = params.tokens[ids] + params.positions[counted(ids, mask, sizes.first_position)]
    place = jnp.arange(ids.shape[1])
    bias = rearrange(params.distance[bucket(place[None] - place[:, None])], "t s n -> n t s")
    return run(params.layers, layer_norm(params.norm, x, sizes.norm_eps), mask, sizes, bias)


def bucket(ahead: Array) -> Array:
    """The bucket of each distance i32[...] from a query to a key, negative where the key is before it."""
    return (ahead > 0) * (_BUCKETS // 2) + (jnp.abs(ahead)[..., None] >= _NEAREST).sum(-1)


def names(sizes: MpnetConfig) -> Names:
    """Theirs; those of models with a head stand after "mpnet."."""
    layer = "encoder.layer.{l}"
    return Names(
        table=(
            ("embeddings.word_embeddings.weight", "tokens", "v d -> v d"),
            ("embeddings.position_embeddings.weight", "positions", "p d -> p d"),
            *norm_names("embeddings.LayerNorm", "norm"),
            ("encoder.relative_attention_bias.weight", "distance", "b n -> b n"),
            *(line for at in "qkvo" for line in linear_names(f"{layer}.attention.attn.{at}", f"layers.attention.{at}")),
            *norm_names(f"{layer}.attention.LayerNorm", "layers.attention_norm"),
            *linear_names(f"{layer}.intermediate.dense", "layers.mlp.up"),
            *linear_names(f"{layer}.output.dense", "layers.mlp.down"),
            *norm_names(f"{layer}.output.LayerNorm", "layers.mlp_norm"),
        ),
        ignore=("embeddings.position_ids", "pooler.*", "lm_head.*"),
        prefix=("mpnet.",),
        old=OLD_NORMS,
    )
