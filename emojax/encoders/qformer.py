"""A Q-Former: learned queries that attend to each other and to a stream's frames.

BLIP-2's (Li et al. 2023, arXiv 2301.12597): BERT's layers. The first of every `cross_every` attends to the frames, too:

    queries -> attention over queries -> [attention to frames] -> feed-forward -> ... -> a vector a query

It is transformers' `Blip2QFormerModel`, without the branch for text.
"""

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct

from emojax import param
from emojax.config import QFormerConfig
from emojax.encoders import bert
from emojax.nn.attention import SelfAttention, attention, merge, project
from emojax.nn.layers import Norm, declare_linear, declare_norm, layer_norm, linear, mlp, rounded
from emojax.parallel.sharding import constrain
from emojax.param import Param, normal
from emojax.types import Array, Weight

EPS = 1e-12  # of every norm, as BERT has it


@struct.dataclass
class Cross:
    attention: SelfAttention  # queries of the queries, keys and values of the frames
    norm: Norm


@struct.dataclass
class QFormer:
    queries: Weight  # [queries D]
    norm: Norm
    layers: bert.Layer  # stacked on L
    cross: Cross  # stacked on L / cross_every


def declare(sizes: QFormerConfig, d: int) -> QFormer:
    """Weights for frames of width `d`."""
    w = sizes.width
    q, k, o = declare_linear(w, w, "D N"), declare_linear(d, w, "D K"), declare_linear(w, w, "N D")
    cross = Cross(SelfAttention(q=q, k=k, v=k, o=o), declare_norm(w))
    return QFormer(
        queries=Param((sizes.queries, w), (None, "D"), normal(0.02)),
        norm=declare_norm(w),
        layers=bert.declare_layers(sizes),
        cross=param.stack(cross, sizes.layers // sizes.cross_every),
    )


def run(p: QFormer, frames: Array, mask: Array, sizes: QFormerConfig, remat: bool) -> Array:
    """Vectors of the queries after all layers.

    Args:
      frames: [B S d]
      mask: bool[B S], True on frames; a clip without any is answered from the queries alone.
    Returns:
      [B queries width] of the frames' type.
    """
    h = sizes.width // sizes.heads

    def block(x: Array, p: bert.Layer, cross: Cross | None) -> Array:
        y = merge(p.attention, attention(*project(p.attention, x, h), None))
        x = layer_norm(p.attention_norm, x + y, EPS)
        if cross is not None:
            q, k, v = _project(cross.attention, x, frames, h)
            x = layer_norm(cross.norm, x + merge(cross.attention, attention(q, k, v, mask[:, None])), EPS)
        return layer_norm(p.mlp_norm, x + mlp(p.mlp, x), EPS)

    def group(x: Array, weights: tuple[bert.Layer, Cross]) -> tuple[Array, None]:
        layers, cross = weights
        for i in range(sizes.cross_every):
            x = block(x, jax.tree.map(lambda w, i=i: w[i], layers), None if i else cross)
        return constrain(x), None

    frames = constrain(frames)
    queries = jnp.broadcast_to(rounded(p.queries, frames.dtype), (len(frames), sizes.queries, sizes.width))
    x = queries.astype(frames.dtype)
    groups = jax.tree.map(lambda w: rearrange(w, "(g n) ... -> g n ...", n=sizes.cross_every), p.layers)
    x, _ = jax.lax.scan(jax.checkpoint(group) if remat else group, layer_norm(p.norm, x, EPS), (groups, p.cross))
    return x


def _project(p: SelfAttention, x: Array, frames: Array, h: int) -> tuple[Array, Array, Array]:
    """Queries of x [B T D], keys and values of frames [B S d]: [B T N H], [B S N H] twice."""
    q, k, v = (
        rearrange(linear(w, y), "b t (n h) -> b t n h", h=h) for w, y in ((p.q, x), (p.k, frames), (p.v, frames))
    )
    return q, k, v
