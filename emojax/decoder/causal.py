"""What causal decoders have in common: a prefix runs through the same layers as the captions that follow it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from emojax.config import DecoderConfig
from emojax.nn.attention import View
from emojax.parallel.sharding import constrain
from emojax.types import Array, KVCache, Tree

# (weights of a layer, stream, positions, view, sizes) -> (stream, (keys, values))
Block = Callable[[Any, Array, Array, View, Any], tuple[Array, tuple[Array, Array]]]


def encode_prefix(
    block: Block,
    layers: Tree,
    x: Array,
    mask: Array,
    positions: Array,
    reach: Array | None,
    sizes: DecoderConfig,
    remat: bool,
) -> KVCache:
    """Keys and values of a prefix at every layer, [L B P K H].

    Args:
      layers: stacked on L.
      x: input of the first layer, [B P D].
      mask: bool[B P]; no position attends to what is off it.
      positions: i32[B P]
      reach: i32[L] or None, see `near`.
    """
    step = _step(block, mask, positions, sizes)
    _, (k, v) = jax.lax.scan(jax.checkpoint(step) if remat else step, x, (layers, reach))
    return KVCache(k, v)


def last_stream(
    block: Block, layers: Tree, x: Array, mask: Array, positions: Array, reach: Array | None, sizes: DecoderConfig
) -> Array:
    """The stream after the last layer instead, [B P D]."""
    step = _step(block, mask, positions, sizes)
    return jax.lax.scan(lambda x, xs: (step(x, xs)[0], None), x, (layers, reach))[0]


def _step(block: Block, mask: Array, positions: Array, sizes: DecoderConfig) -> Callable[[Array, Any], Any]:
    """One layer, for a scan: the stream, and its own keys and values."""
    visible = jnp.tri(mask.shape[1], dtype=bool)[None] & mask[:, None, :]
    distance = positions[:, :, None] - positions[:, None, :]

    def step(x: Array, xs: tuple[Any, Array | None]) -> tuple[Array, tuple[Array, Array]]:
        layer, reach = xs
        view = View(prefix=None, past=None, mask=near(visible, distance, reach))
        x, own = block(layer, x, positions, view, sizes)
        return constrain(x), constrain(own, "B - K")

    return step


def near(visible: Array, distance: Array, reach: Array | None) -> Array:
    """A mask without what lies `reach` positions back or further; None: everything is within reach."""
    return visible if reach is None else visible & (distance < reach)


def first_position(prefix_mask: Array) -> Array:
    """Position number i32[B] of a caption's first token: positions are counted on from the prefix."""
    return prefix_mask.sum(-1)


def room(prefix: int, caption: int) -> int:
    """Positions that a prefix and a caption take together."""
    return prefix + caption
