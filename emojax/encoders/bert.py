"""BERT (Devlin et al. 2018, arXiv 1810.04805) and its heirs: token ids to vectors, layer norm after each residual.

RoBERTa (Liu et al. 2019, arXiv 1907.11692), XLM-R (Conneau et al. 2019, arXiv 1911.02116) and CamemBERT (Martin et al.
2019, arXiv 1911.03894) differ from BERT in nothing but where positions begin, DistilBERT (Sanh et al. 2019, arXiv
1910.01108) in that it knows no segments, ERNIE (Sun et al. 2021, arXiv 2107.02137) in that it knows tasks.
"""

import jax
import jax.numpy as jnp
from flax import struct

from emojax import param
from emojax.config import BertConfig, QFormerConfig, TextConfig
from emojax.encoders.bert_files import TYPES as TYPES
from emojax.encoders.bert_files import config as config
from emojax.encoders.bert_files import names as names
from emojax.nn.attention import SelfAttention, attention, declare_attention, merge, project
from emojax.nn.layers import Mlp, Norm, declare_mlp, declare_norm, layer_norm, mlp
from emojax.parallel.sharding import constrain
from emojax.param import Param, normal
from emojax.types import Array, Weight


@struct.dataclass
class Layer:
    attention: SelfAttention
    attention_norm: Norm
    mlp: Mlp
    mlp_norm: Norm


@struct.dataclass
class Bert:
    tokens: Weight  # [V D]
    positions: Weight  # [positions D]
    types: Weight | None  # [types D]
    tasks: Weight | None  # [tasks D]
    norm: Norm
    layers: Layer  # stacked on L


def declare(sizes: BertConfig) -> Bert:
    d, table = sizes.width, normal(0.02)
    return Bert(
        tokens=Param((sizes.vocab, d), ("V", "D"), table),
        positions=Param((sizes.positions, d), (None, "D"), table),
        types=Param((sizes.types, d), (None, "D"), table) if sizes.types else None,
        tasks=Param((sizes.tasks, d), (None, "D"), table) if sizes.tasks else None,
        norm=declare_norm(d),
        layers=declare_layers(sizes),
    )


def declare_layers(sizes: TextConfig | QFormerConfig) -> Layer:
    d = sizes.width
    layer = Layer(
        attention=declare_attention(d, sizes.heads, sizes.heads, d // sizes.heads, qkv_bias=True, o_bias=True),
        attention_norm=declare_norm(d),
        mlp=declare_mlp(d, sizes.ff),
        mlp_norm=declare_norm(d),
    )
    return param.stack(layer, sizes.layers)


def encode(params: Bert, ids: Array, mask: Array, sizes: BertConfig) -> Array:
    """Hidden states of the last layer.

    Args:
      ids: i32[N T], special tokens included, all of the first segment and the first task; T + `first_position` rows of
        positions at most.
      mask: bool[N T], True on tokens; no position attends to the others, whose own result means nothing.
    Returns:
      [N T D]
    """
    if sizes.first_position == 0:
        x = params.tokens[ids] + params.positions[None, : ids.shape[1]]
    else:
        x = params.tokens[ids] + params.positions[counted(ids, mask, sizes.first_position)]
    for table in (params.types, params.tasks):
        x = x if table is None else x + table[None, :1]
    return run(params.layers, layer_norm(params.norm, x, sizes.norm_eps), mask, sizes)


def counted(ids: Array, mask: Array, first: int) -> Array:
    """Rows of the table of positions i32[N T], counted over the tokens as fairseq does.

    The padding's id is `first - 1`. A text that holds it as a token is not moved on by it, in transformers neither.
    """
    real = mask & (ids != first - 1)
    return jnp.where(real, first - 1 + jnp.cumsum(real, -1), first - 1)


def run(layers: Layer, x: Array, mask: Array, sizes: TextConfig, bias: Array | None = None) -> Array:
    """All layers: x [N T D], mask bool[N T], bias of the scores [N T T] of heads and positions -> [N T D]."""

    def block(x: Array, p: Layer) -> tuple[Array, None]:
        q, k, v = project(p.attention, x, sizes.width // sizes.heads)
        y = merge(p.attention, attention(q, k, v, mask[:, None], bias))
        x = layer_norm(p.attention_norm, x + y, sizes.norm_eps)
        return constrain(layer_norm(p.mlp_norm, x + mlp(p.mlp, x, sizes.activation), sizes.norm_eps)), None

    return jax.lax.scan(block, constrain(x), layers)[0]
