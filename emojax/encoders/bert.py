"""BERT (Devlin et al. 2018, arXiv 1810.04805): token ids to vectors, layer norm after each residual, exact GELU."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
from flax import struct

from emojax.nn import param
from emojax.nn.attention import SelfAttention, attention, declare_attention, merge, project
from emojax.nn.layers import Mlp, Norm, declare_mlp, declare_norm, layer_norm, mlp
from emojax.nn.param import Param, normal
from emojax.types import Array, Weight
from emojax.weights import Names


@dataclass(frozen=True)
class BertConfig:
    vocab: int  # V
    width: int  # D
    layers: int  # L
    heads: int  # N
    ff: int  # F
    positions: int  # longest input, special tokens included
    types: int  # of segments; only the first is used here
    norm_eps: float


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
    implemented: dict[str, tuple] = {
        "model_type": ("bert",),
        "hidden_act": ("gelu",),
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "add_cross_attention": (False,),
    }
    wrong = [
        f"{name}={json[name]!r} (implemented: {values[0]!r})"
        for name, values in implemented.items()
        if json.get(name, values[0]) not in values
    ]
    if json["hidden_size"] % json["num_attention_heads"]:
        wrong.append(
            f"hidden_size={json['hidden_size']} is not a multiple of num_attention_heads={json['num_attention_heads']}"
        )
    if wrong:
        raise ValueError(f"this BERT is not supported: {'; '.join(wrong)}")
    return BertConfig(
        vocab=json["vocab_size"],
        width=json["hidden_size"],
        layers=json["num_hidden_layers"],
        heads=json["num_attention_heads"],
        ff=json["intermediate_size"],
        positions=json["max_position_embeddings"],
        types=json["type_vocab_size"],
        norm_eps=json["layer_norm_eps"],
    )


def declare(cfg: BertConfig) -> Bert:
    d, table = cfg.width, normal(0.02)
    layer = Layer(
        attention=declare_attention(d, cfg.heads, cfg.heads, d // cfg.heads, qkv_bias=True, o_bias=True),
        attention_norm=declare_norm(d),
        mlp=declare_mlp(d, cfg.ff),
        mlp_norm=declare_norm(d),
    )
    return Bert(
        tokens=Param((cfg.vocab, d), ("V", "D"), table),
        positions=Param((cfg.positions, d), (None, "D"), table),
        types=Param((cfg.types, d), (None, "D"), table),
        norm=declare_norm(d),
        layers=param.stack(layer, cfg.layers),
    )


def encode(params: Bert, ids: Array, mask: Array, cfg: BertConfig) -> Array:
    """Hidden states of the last layer.

    Args:
      ids: i32[N T], special tokens included, all of the first segment.
      mask: bool[N T], True on tokens; no position sees the others, and their own result means nothing.
    Returns:
      [N T D]
    """
    x = params.tokens[ids] + params.positions[: ids.shape[1]] + params.types[0]
    x = layer_norm(params.norm, x, cfg.norm_eps)

    def block(x: Array, p: Layer) -> tuple[Array, None]:
        q, k, v = project(p.attention, x, cfg.width // cfg.heads)
        y = merge(p.attention, attention(q, k, v, mask[:, None]))
        x = layer_norm(p.attention_norm, x + y, cfg.norm_eps)
        return layer_norm(p.mlp_norm, x + mlp(p.mlp, x), cfg.norm_eps), None

    return jax.lax.scan(block, x, params.layers)[0]


def _linear(theirs: str, ours: str) -> tuple[tuple[str, str, str], ...]:
    return (f"{theirs}.weight", f"{ours}.w", "o i -> i o"), (f"{theirs}.bias", f"{ours}.b", "o -> o")


def _norm(theirs: str, ours: str) -> tuple[tuple[str, str, str], ...]:
    return (f"{theirs}.weight", f"{ours}.scale", "d -> d"), (f"{theirs}.bias", f"{ours}.bias", "d -> d")


_LAYER = "encoder.layer.{l}"
NAMES = Names(
    table=(
        ("embeddings.word_embeddings.weight", "tokens", "v d -> v d"),
        ("embeddings.position_embeddings.weight", "positions", "p d -> p d"),
        ("embeddings.token_type_embeddings.weight", "types", "t d -> t d"),
        *_norm("embeddings.LayerNorm", "norm"),
        *_linear(f"{_LAYER}.attention.self.query", "layers.attention.q"),
        *_linear(f"{_LAYER}.attention.self.key", "layers.attention.k"),
        *_linear(f"{_LAYER}.attention.self.value", "layers.attention.v"),
        *_linear(f"{_LAYER}.attention.output.dense", "layers.attention.o"),
        *_norm(f"{_LAYER}.attention.output.LayerNorm", "layers.attention_norm"),
        *_linear(f"{_LAYER}.intermediate.dense", "layers.mlp.up"),
        *_linear(f"{_LAYER}.output.dense", "layers.mlp.down"),
        *_norm(f"{_LAYER}.output.LayerNorm", "layers.mlp_norm"),
    ),
    ignore=("embeddings.position_ids", "pooler.*", "cls.*"),  # a buffer, and heads of the pretraining
    prefix=("bert.",),
)
