"""The output of a pretrained encoder: one of its hidden states, or a learned weighted sum of all.

Middle layers of speech encoders often tell more of emotion than the last (Pepino et al. 2021, arXiv 2104.03502). The
sum is weighed by a softmax of one learned number a hidden state (SUPERB, Yang et al. 2021, arXiv 2105.01051).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from emojax.parallel.sharding import constrain
from emojax.param import Param, zeros
from emojax.types import Array, Tree, Weight


@struct.dataclass
class MixedLayers:
    backbone: Tree  # the published weights, which a family's `names` speaks of
    mix: Weight | None  # [L + 1], a number a hidden state; equal weights at first


def declare(backbone: Tree, layers: int, layer: int | None) -> MixedLayers:
    """Raises ValueError where there is no hidden state `layer`."""
    if layer is not None and not -layers - 1 <= layer <= layers:
        raise ValueError(f"layer={layer}: {layers} layers have the hidden states 0..{layers}, or -1..{-layers - 1}")
    return MixedLayers(backbone, Param((layers + 1,), (None,), zeros) if layer is None else None)


def hidden_state(
    p: MixedLayers,
    layer: int | None,
    block: Callable[[Array, Tree], Array],
    last: Callable[[Array], Array],
    x: Array,
    remat: bool,
) -> Array:
    """Scans `p.backbone.layers` (stacked on L), as many as are needed. Hidden states are numbered thus:

        x -> block -> block -> ... -> block -> last
        0      1        2                        L

    (transformers 5 has a norm-first Wav2Vec2's state L without `last`; 4 had it with it, as we do.)

    Args:
      layer: number of the state that is read, negative ones counted from the end; None: the sum that `p.mix` weighs.
      block: (x, weights of a layer) -> x
      last: what is done to the last block's result, a norm in norm-first models.
      x: [B S D]
    Returns:
      [B S D] of x's type; the sum is float32.
    """

    def run(x: Array, p: Tree) -> Array:
        return constrain(block(x, p))

    x, layers = constrain(x), p.backbone.layers
    count = jax.tree.leaves(layers)[0].shape[0]
    if layer is not None:
        stop = range(count + 1)[layer]
        each = jax.checkpoint(run) if remat else run
        x, _ = jax.lax.scan(lambda x, p: (each(x, p), None), x, jax.tree.map(lambda w: w[:stop], layers))
        return last(x) if stop == count else x

    def add(carry: tuple[Array, Array], now: tuple[Array, Tree]) -> tuple[tuple[Array, Array], None]:
        (x, total), (weight, p) = carry, now
        return (run(x, p), total + weight * x.astype(jnp.float32)), None

    weights = jax.nn.softmax(jnp.asarray(p.mix, jnp.float32))
    start = (x, jnp.zeros(x.shape, jnp.float32))
    (x, total), _ = jax.lax.scan(jax.checkpoint(add) if remat else add, start, (weights[:-1], layers))
    return (total + weights[-1] * last(x).astype(jnp.float32)).astype(x.dtype)
