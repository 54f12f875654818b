"""BERT (Devlin et al. 2018, arXiv 1810.04805) and its heirs: token ids to vectors, layer norm after each residual.

RoBERTa (Liu et al. 2019, arXiv 1907.11692), XLM-R (Conneau et al. 2019, arXiv 1911.02116) and CamemBERT (Martin et al.
2019, arXiv 1911.03894) differ from BERT in nothing but where positions begin.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from emojax import param
from emojax.config import BertConfig, QFormerConfig, TextConfig
from emojax.hub.weights import Names, linear_names, norm_names
from emojax.nn.attention import SelfAttention, attention, declare_attention, merge, project
from emojax.nn.layers import ACTIVATIONS, Mlp, Norm, declare_mlp, declare_norm, layer_norm, mlp
from emojax.parallel.sharding import constrain
from emojax.param import Param, normal
from emojax.types import Array, Weight

_VOCAB = {"bert": 30_522, "roberta": 50_265, "xlm-roberta": 30_522, "camembert": 30_522}  # where a file does not say


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
    types: Weight  # [types D]
    norm: Norm
    layers: Layer  # stacked on L


def config(json: Mapping[str, Any]) -> BertConfig:
    """From the `config.json` of transformers. Raises ValueError that names every option which is not implemented."""
    kind = json.get("model_type", "bert")
    wrong = unsupported(json, {"model_type": tuple(_VOCAB), "is_decoder": (False,), "add_cross_attention": (False,)})
    padding = json.get("pad_token_id", 1)
    if kind != "bert" and not isinstance(padding, int):
        wrong.append(f"pad_token_id={padding!r} (implemented: a token's id, from which positions are counted)")
    if wrong:
        raise ValueError(f"this BERT is not supported: {'; '.join(wrong)}")
    return BertConfig(
        kind=kind,
        vocab=json.get("vocab_size", _VOCAB[kind]),
        width=json.get("hidden_size", 768),
        layers=json.get("num_hidden_layers", 12),
        heads=json.get("num_attention_heads", 12),
        ff=json.get("intermediate_size", 3072),
        activation=json.get("hidden_act", "gelu"),
        positions=json.get("max_position_embeddings", 512),
        first_position=0 if kind == "bert" else padding + 1,
        types=json.get("type_vocab_size", 2),
        norm_eps=json.get("layer_norm_eps", 1e-12),
    )


def unsupported(json: Mapping[str, Any], implemented: Mapping[str, tuple]) -> list[str]:
    """What a `config.json` asks for beyond the values in `implemented`, and beyond what all encoders here have."""
    implemented = dict(implemented) | {"hidden_act": tuple(ACTIVATIONS), "position_embedding_type": ("absolute",)}
    wrong = [
        f"{name}={json[name]!r} (implemented: {', '.join(map(repr, values))})"
        for name, values in implemented.items()
        if json.get(name, values[0]) not in values
    ]
    width, heads = json.get("hidden_size", 768), json.get("num_attention_heads", 12)
    if width % heads:
        wrong.append(f"hidden_size={width} is not a multiple of num_attention_heads={heads}")
    return wrong


def declare(sizes: BertConfig) -> Bert:
    d, table = sizes.width, normal(0.02)
    return Bert(
        tokens=Param((sizes.vocab, d), ("V", "D"), table),
        positions=Param((sizes.positions, d), (None, "D"), table),
        types=Param((sizes.types, d), (None, "D"), table),
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
      ids: i32[N T], special tokens included, all of the first segment; T + `first_position` rows of positions at most.
      mask: bool[N T], True on tokens; no position sees the others, and their own result means nothing.
    Returns:
      [N T D]
    """
    if sizes.kind == "bert":
        place = params.positions[: ids.shape[1]]
    else:
        place = params.positions[counted(ids, mask, sizes.first_position)]
    x = layer_norm(params.norm, params.tokens[ids] + place + params.types[0], sizes.norm_eps)
    return run(params.layers, x, mask, sizes)


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


def names(sizes: BertConfig) -> Names:
    """Theirs, the same for all these models; those of models with a head stand after the model's own name."""
    layer = "encoder.layer.{l}"
    return Names(
        table=(
            ("embeddings.word_embeddings.weight", "tokens", "v d -> v d"),
            ("embeddings.position_embeddings.weight", "positions", "p d -> p d"),
            ("embeddings.token_type_embeddings.weight", "types", "t d -> t d"),
            *norm_names("embeddings.LayerNorm", "norm"),
            *linear_names(f"{layer}.attention.self.query", "layers.attention.q"),
            *linear_names(f"{layer}.attention.self.key", "layers.attention.k"),
            *linear_names(f"{layer}.attention.self.value", "layers.attention.v"),
            *linear_names(f"{layer}.attention.output.dense", "layers.attention.o"),
            *norm_names(f"{layer}.attention.output.LayerNorm", "layers.attention_norm"),
            *linear_names(f"{layer}.intermediate.dense", "layers.mlp.up"),
            *linear_names(f"{layer}.output.dense", "layers.mlp.down"),
            *norm_names(f"{layer}.output.LayerNorm", "layers.mlp_norm"),
        ),
        ignore=("embeddings.position_ids", "embeddings.token_type_ids", "pooler.*", "cls.*", "lm_head.*"),
        prefix=("bert.",) if sizes.kind == "bert" else ("roberta.",),
        old=OLD_NORMS,
    )


OLD_NORMS = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
