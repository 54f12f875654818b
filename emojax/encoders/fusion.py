"""Convolution-attention pre-fusion: both streams made into a few common positions before the decoder reads them.

Our reading of Emotion-LLaMAv2's Conv Attention module (Peng et al. 2026, arXiv 2601.16449), by the code in the public
repository ooochen-30/Emotion-LLaMA-v2. Streams are brought to the same number of positions; then, at every position,

    h_s   = MLP_s(x_s)                                    of each stream s
    y     = Σ_s a_s h_s + conv(linear(h))                 h: all h_s side by side; a = MLP(h), one number a stream
    fused = linear(y)

The sum weighs the streams against each other; the convolutions, residual with SiLU, see neighbouring positions. The
fused positions stand in the prefix beside the streams' own. As in that code, the weights a are not normalised. Ours:
the shares of the frames are normed on the way in; a stream that a clip lacks has no term in any of these sums, where
zeros went through its MLP; and their last two linear maps, with nothing between them, are one.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct

from emojax.config import PreFusionConfig
from emojax.nn.layers import Linear, Mlp, Norm, conv1d, declare_linear, declare_norm, layer_norm, linear
from emojax.nn.transformer import pool
from emojax.param import stack
from emojax.types import Array

KERNEL = 3  # positions


@struct.dataclass
class Fusion:
    norms: tuple[Norm, ...]  # one a stream, as are the next
    streams: tuple[Mlp, ...]  # d -> F -> D
    mix: Mlp  # of the streams side by side, 2·D -> F -> D
    weights: Linear  # D -> streams
    enter: Linear  # 2·D -> D
    convolutions: Linear  # stacked on L
    linear: Linear  # D -> the decoder's


def declare(sizes: PreFusionConfig, widths: tuple[int, ...], width: int) -> Fusion:
    """Weights for streams of these widths and a decoder of width `width`."""
    w, f, n = sizes.width, sizes.ff, len(widths)

    def two(d: int) -> Mlp:
        return Mlp(declare_linear(d, f, "- F"), declare_linear(f, w, "F D"))

    return Fusion(
        norms=tuple(declare_norm(d) for d in widths),
        streams=tuple(two(d) for d in widths),
        mix=two(n * w),
        weights=declare_linear(w, n, "D -"),
        enter=declare_linear(n * w, w, "- D"),
        convolutions=stack(declare_linear(KERNEL * w, w, "- D"), sizes.convolutions),
        linear=declare_linear(w, width, "- D"),
    )


def run(p: Fusion, streams: Sequence[tuple[Array, Array]], sizes: PreFusionConfig) -> tuple[Array, Array]:
    """The fused part of the prefix.

    Args:
      streams: frames [B S d], finite, and their mask bool[B S], True on the first n of a row; S, d and n by stream.
    Returns:
      [B tokens D], and bool[B tokens], False throughout where a clip has no stream at all.
    """
    hidden, present = [], []
    for norm, two, (frames, mask) in zip(p.norms, p.streams, streams, strict=True):
        x, there = pool(frames, mask, sizes.tokens)
        hidden.append(jnp.where(there[..., None], _relu_mlp(two, layer_norm(norm, x)), 0))
        present.append(there)
    side_by_side = jnp.concatenate(hidden, -1)
    weight = linear(p.weights, _relu_mlp(p.mix, side_by_side))
    mixed = jnp.einsum("bts,btsd->btd", weight, jnp.stack(hidden, 2), preferred_element_type=jnp.float32)

    def convolve(x: Array, conv: Linear) -> tuple[Array, None]:
        return x + jax.nn.silu(conv1d(conv, x, KERNEL)), None

    local, _ = jax.lax.scan(convolve, linear(p.enter, side_by_side), p.convolutions)
    return linear(p.linear, mixed.astype(local.dtype) + local), jnp.stack(present).any(0)


def _relu_mlp(p: Mlp, x: Array) -> Array:
    """Two linear maps, a ReLU after each."""
    return jax.nn.relu(linear(p.down, jax.nn.relu(linear(p.up, x))))
