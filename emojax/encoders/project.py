"""How a stream's frames become prefix positions of the decoder's width: a projector a stream, by configuration.

LinearProjector   shares of the frames averaged -> norm -> linear
MlpProjector      shares of the frames averaged -> norm -> linear, GELU, linear
QFormer           norm -> learned queries that attend to the frames -> linear
"""

import jax.numpy as jnp
from flax import struct

from emojax.config import LinearProjectorConfig, MlpProjectorConfig, ProjectorConfig, QFormerConfig
from emojax.encoders import qformer
from emojax.nn.layers import Linear, Mlp, Norm, declare_linear, declare_norm, layer_norm, linear, mlp
from emojax.nn.transformer import pool, sinusoids
from emojax.types import Array


@struct.dataclass
class Projector:
    norm: Norm
    linear: Linear


@struct.dataclass
class Deep:
    """Projector of LLaVA-1.5 (Liu et al. 2023, arXiv 2310.03744): two linear maps, both to the decoder's width."""

    norm: Norm
    mlp: Mlp


@struct.dataclass
class Queries:
    norm: Norm  # of the frames, BLIP-2's `ln_vision`
    qformer: qformer.QFormer
    linear: Linear


def declare(sizes: ProjectorConfig, d: int, width: int) -> Projector | Deep | Queries:
    """Weights for frames of width `d` and a decoder of width `width`."""
    match sizes:
        case LinearProjectorConfig():
            return Projector(declare_norm(d), declare_linear(d, width, "- D"))
        case MlpProjectorConfig():
            both = Mlp(declare_linear(d, width, "- F"), declare_linear(width, width, "F D"))
            return Deep(declare_norm(d), both)
        case QFormerConfig():
            return Queries(declare_norm(d), qformer.declare(sizes, d), declare_linear(sizes.width, width, "- D"))


def run(
    p: Projector | Deep | Queries, frames: Array, mask: Array, tokens: int, sizes: ProjectorConfig, remat: bool
) -> tuple[Array, Array]:
    """A stream's part of the prefix.

    Args:
      frames: [B S d], finite; those off the mask are not read.
      mask: bool[B S], True on the first n frames of a row (n may differ by row).
      tokens: prefix positions; a Q-Former has its queries instead.
    Returns:
      [B tokens D], and bool[B tokens], False throughout where n = 0.
    """
    if isinstance(p, Queries):
        assert isinstance(sizes, QFormerConfig)
        # frames of an image encoder bear no position; a table of them as in Video-LLaMA, but not learned
        x = layer_norm(p.norm, frames) + sinusoids(*frames.shape[1:])[None].astype(frames.dtype)
        x = linear(p.linear, qformer.run(p.qformer, x, mask, sizes, remat))
        return x, jnp.broadcast_to(mask.any(-1, keepdims=True), x.shape[:2])
    x, there = pool(frames, mask, tokens)
    x = layer_norm(p.norm, x)
    return (linear(p.linear, x) if isinstance(p, Projector) else mlp(p.mlp, x)), there
