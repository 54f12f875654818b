"""Weights that are read and not trained, in 8 bits: whole numbers, and a scale for each output channel.

Symmetric and weight-only: W ≈ int8 · scale, so x W = (x int8) · scale exactly, and a product needs no float copy of the
weight beyond the layer that is at work.
"""

import jax
import jax.numpy as jnp
from flax import struct

from emojax.types import Array, Weight

LEVELS = 127


@struct.dataclass
class Quantized:
    """A linear map's weight [... in out]."""

    int8: Weight  # i8[... in out]
    scale: Weight  # f32[... 1 out]


@jax.jit
def quantize(w: Array) -> Quantized:
    """The nearest multiple of the scale, which is a channel's largest weight / 127: no weight is off by more than half
    of it, but for float32's rounding. One program wherever it is called: the same bits."""
    w = w.astype(jnp.float32)
    scale = jnp.abs(w).max(-2, keepdims=True) / LEVELS
    steps = jnp.round(w / jnp.where(scale > 0, scale, 1))
    return Quantized(jnp.clip(steps, -LEVELS, LEVELS).astype(jnp.int8), scale)


def dequantize(w: Quantized) -> Array:
    """f32[... in out]"""
    return w.int8.astype(jnp.float32) * w.scale
