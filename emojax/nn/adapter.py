"""A linear map's weight with a low-rank adapter beside it: LoRA (arXiv 2106.09685) and DoRA (arXiv 2402.09353).

The node stands where the weight stood. With V = W + scale · A B the map is x V + bias, and in DoRA

    x (V · magnitude / ‖V‖) + bias          ‖V‖ of each column, without gradient (section 4.3), as peft has it

A begins random and B at zero, so that a new adapter changes nothing; a magnitude begins at ‖W‖.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from emojax.nn.quantize import Quantized, dequantize
from emojax.param import Init, Param, ones, stack, zeros
from emojax.types import Array, Weight


@struct.dataclass
class Adapted:
    base: Weight | Quantized  # [... in out]; None where only what is trained of a tree is meant
    a: Weight  # [... in rank]
    b: Weight  # [... rank out]
    magnitude: Weight | None  # [... out] (DoRA)
    scale: float = struct.field(pytree_node=False)  # alpha / rank


@struct.dataclass
class Effective:
    """An adapted weight made ready for products, in the type that they are computed in."""

    base: Weight | Quantized
    a: Weight
    b: Weight  # times the scale
    gain: Array | None  # f32[... out], magnitude / ‖V‖


def uniform(bound: float) -> Init:
    return lambda key, shape: jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def declare(base: Param, rank: int, alpha: float, dora: bool) -> Adapted:
    """Adapter of a weight [in out], or stacked on L. The rank has no axis name: it is never sharded."""
    (*layers, d_in, d_out), (*_, i, o) = base.shape, base.axes
    # He et al. 2015 with gain 1/√3, as torch begins a linear map and peft its A
    a = Param((d_in, rank), (i, None), uniform(1 / math.sqrt(d_in)))
    b = Param((rank, d_out), (None, o), zeros)
    magnitude = Param((d_out,), (o,), ones) if dora else None
    parts = Adapted(base=None, a=a, b=b, magnitude=magnitude, scale=alpha / rank)
    return dataclasses.replace(stack(parts, layers[0]) if layers else parts, base=base)


def is_weight(node: Any) -> bool:
    """What a map over a model's weights takes for one."""
    return isinstance(node, Adapted | Quantized)


def dense(w: Weight | Quantized | Adapted | Effective) -> Array:
    """The weight [... in out] that a product with `w` amounts to."""
    match w:
        case Quantized():
            return dequantize(w)
        case Adapted():
            gain = None if w.magnitude is None else w.magnitude / column_norm(w)
            return _added(w.base, w.a, w.scale * w.b, gain)
        case Effective():
            return _added(w.base, w.a, w.b, w.gain)
    return w


def _added(base: Weight | Quantized, a: Array, b: Array, gain: Array | None) -> Array:
    a, b = (x.astype(jnp.float32) for x in (a, b))
    v = dense(base) + jnp.einsum("...ir,...ro->...io", a, b, precision=jax.lax.Precision.HIGHEST)
    return v if gain is None else v * gain[..., None, :]


def column_norm(w: Weight | Quantized | Adapted) -> Array:
    """‖V‖ of each column, f32[... out]; of a stack a layer at a time, so that V is never there whole."""
    bare = dataclasses.replace(w, magnitude=None) if isinstance(w, Adapted) else w

    def norm(w: Any) -> Array:
        return jnp.sqrt(jnp.square(dense(w).astype(jnp.float32)).sum(-2))

    leaf = jax.tree.leaves(bare)[0]
    return jax.lax.map(norm, bare) if leaf.ndim == 3 else norm(bare)


def effective(w: Adapted, base: Weight | Quantized, dtype: Any) -> Effective:
    """`base` is that of `w` in the type of computation."""
    gain = None if w.magnitude is None else w.magnitude / jax.lax.stop_gradient(column_norm(w))
    return Effective(base, w.a.astype(dtype), (w.scale * w.b).astype(dtype), gain)
