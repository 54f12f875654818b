"""Linear maps, convolutions, norms, feed-forward blocks, rotary positions: functions of arrays.

Operands may be bfloat16; sums are accumulated in float32, and a result has the type of its input `x`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct

from emojax.config import Activation, RopeScaling
from emojax.nn.adapter import Adapted, Effective, dense, effective
from emojax.nn.quantize import Quantized
from emojax.parallel.sharding import on_one_device
from emojax.param import Param, ones, scaled, zeros
from emojax.types import Array, Weight


@struct.dataclass
class Linear:
    w: Weight  # [in out]; Quantized or Adapted (nn/) where it is kept or trained so
    b: Weight | None  # [out]


@struct.dataclass
class Norm:
    scale: Weight  # [D]
    bias: Weight | None  # [D]


@struct.dataclass
class Mlp:
    up: Linear  # D -> F
    down: Linear  # F -> D


@struct.dataclass
class SwiGlu:
    gate: Linear  # D -> F
    up: Linear  # D -> F
    down: Linear  # F -> D


def declare_linear(d_in: int, d_out: int, axes: str = "- -", bias: bool = True, gain: float = 1.0) -> Linear:
    """`axes` names the input and the output axis, "D F"; "-" is an axis without a name."""
    i, o = (None if a == "-" else a for a in axes.split())
    return Linear(Param((d_in, d_out), (i, o), scaled(d_in, gain)), Param((d_out,), (o,), zeros) if bias else None)


def declare_norm(d: int, bias: bool = True) -> Norm:
    return Norm(Param((d,), ("D",), ones), Param((d,), ("D",), zeros) if bias else None)


def declare_mlp(d: int, f: int) -> Mlp:
    return Mlp(declare_linear(d, f, "D F"), declare_linear(f, d, "F D"))


def declare_swiglu(d: int, f: int, gain: float = 1.0, bias: bool = False) -> SwiGlu:
    up = declare_linear(d, f, "D F", bias)
    return SwiGlu(gate=up, up=up, down=declare_linear(f, d, "F D", bias, gain))


def linear(p: Linear, x: Array) -> Array:
    """[... in] -> [... out]

    On one device as a product of two matrices: XLA takes twice as long on a CPU for the gradient of `p.w` as a sum over
    several axes. Axes that are sharded apart stay apart, or devices would send each other rows.
    """
    rows = x.reshape(-1, x.shape[-1]) if on_one_device() else x
    y = _product(rows, p.w)
    y = (y if p.b is None else y + beside(y, p.b)).astype(x.dtype)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def _product(x: Array, w: Weight) -> Array:
    """x W in float32, of a weight in any form."""
    match w:
        case Quantized():
            y = _product(x, w.int8.astype(x.dtype))
            return y * beside(y, w.scale[0])
        case Adapted():
            return _product(x, effective(w, w.base, x.dtype))
        case Effective():
            y = _product(x, w.base) + _product(_product(x, w.a).astype(x.dtype), w.b)
            return y if w.gain is None else y * beside(y, w.gain)
    return jnp.einsum("...i,io->...o", x, w, preferred_element_type=jnp.float32)


def conv1d(
    p: Linear, x: Array, width: int, stride: int = 1, padding: tuple[int, int] | None = None, groups: int = 1
) -> Array:
    """Convolution over positions: [B S in] -> [B S' out], `p.w` [width * in / groups, out].

    S' is ceil(S/stride) unless `padding` (positions before, after) says otherwise. Left out, it depends on `width`
    alone ("SAME" depends on S too), so that a longer bucket changes nothing.
    """
    y = jax.lax.conv_general_dilated(
        x,
        rearrange(dense(p.w), "(w i) o -> w i o", w=width).astype(x.dtype),
        (stride,),
        [_around(width) if padding is None else padding],
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
        preferred_element_type=jnp.float32,
    )
    return (y if p.b is None else y + beside(y, p.b)).astype(x.dtype)


def conv2d(p: Linear, x: Array, width: int, stride: int = 1) -> Array:
    """Convolution over two axes: [B height width in] -> [B ceil(height/stride) ceil(width/stride) out]."""
    y = jax.lax.conv_general_dilated(
        x,
        rearrange(dense(p.w), "(h w i) o -> h w i o", h=width, w=width).astype(x.dtype),
        (stride, stride),
        [_around(width)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=jnp.float32,
    )
    return (y if p.b is None else y + beside(y, p.b)).astype(x.dtype)


def _around(width: int) -> tuple[int, int]:
    return (width - 1) // 2, width // 2


def beside(x: Array, rows: Array | np.ndarray) -> Array:
    """Rows [... D] as they are added to x or multiplied with it: of its type, and of its rank."""
    return jax.lax.broadcast_to_rank(jnp.asarray(rows, x.dtype), x.ndim)


def layer_norm(p: Norm, x: Array, eps: float = 1e-5) -> Array:
    y = x.astype(jnp.float32)
    y = y - y.mean(-1, keepdims=True)
    y = y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + eps) * beside(y, p.scale)
    return (y if p.bias is None else y + beside(y, p.bias)).astype(x.dtype)


def rms_norm(p: Norm, x: Array, eps: float = 1e-6) -> Array:
    y = x.astype(jnp.float32)
    return (y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + eps) * beside(y, p.scale)).astype(x.dtype)


def rounded(w: Array, dtype: jnp.dtype) -> Array:
    """A weight as `dtype` has it, in float32: what it is broadcast to may be summed up in its gradient without loss."""
    return w.astype(dtype).astype(jnp.float32)


def add_rows(x: Array, rows: Array) -> Array:
    """x + rows, broadcast, with `rows` rounded to x's type; the gradient of `rows` is summed in float32."""
    wide = x.astype(jnp.float32)
    return (wide + beside(wide, rounded(rows, x.dtype))).astype(x.dtype)


def gelu(x: Array) -> Array:
    """The exact GELU by `erf`, as torch has it; `jax.nn.gelu` goes by `erfc`, nine times slower on a CPU."""
    return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {  # by their names in a `config.json`
    "gelu": gelu,
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


def mlp(p: Mlp, x: Array, activation: Activation = "gelu") -> Array:
    """Two linear maps with an activation between."""
    return linear(p.down, ACTIVATIONS[activation](linear(p.up, x)))


def swiglu(p: SwiGlu, x: Array, activation: Activation = "silu") -> Array:
    """Shazeer 2020, arXiv 2002.05202."""
    return linear(p.down, ACTIVATIONS[activation](linear(p.gate, x)) * linear(p.up, x))


def rope(x: Array, positions: Array, theta: float, scaling: RopeScaling | None = None) -> Array:
    """Rotary positions (Su et al. 2021, arXiv 2104.09864), halves rotated against each other as Llama and Qwen do.

    Args:
      x: [... positions heads H]
      positions: i32[... positions]

    >>> x = jnp.ones((3, 1, 2))  # three positions, one head of width 2
    >>> y = rope(x, jnp.arange(3), theta=10_000.0)
    >>> y[0, 0].tolist()  # position 0 is not rotated
    [1.0, 1.0]
    >>> [round(float(y[a, 0] @ y[b, 0]), 3) for a, b in ((0, 1), (1, 2))]  # products depend on the distance alone
    [1.081, 1.081]
    """
    frequency, size = _frequencies(x.shape[-1], theta, scaling)
    angle = positions[..., None, None].astype(jnp.float32)
    angle = angle * beside(angle, frequency)
    a, b = jnp.split(x.astype(jnp.float32), 2, -1)
    cos, sin = size * jnp.cos(angle), size * jnp.sin(angle)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1).astype(x.dtype)


def _frequencies(h: int, theta: float, scaling: RopeScaling | None) -> tuple[np.ndarray, float]:
    """Radians a position, f32[H/2], from the fastest to the slowest; and what the rotated vectors are multiplied by."""
    pair = np.arange(h // 2)
    full = theta ** (-2.0 * pair / h)
    if scaling is None:
        return full.astype(np.float32), 1.0
    slow = full / scaling.factor
    turns = scaling.original_positions * full / (2 * math.pi)  # over the length that the model was trained at
    match scaling.kind:
        case "linear":
            kept = np.zeros_like(full)
        case "llama3":  # Llama 3.1, arXiv 2407.21783
            low, high = scaling.low_freq_factor, scaling.high_freq_factor
            kept = np.clip((turns - low) / (high - low), 0, 1)
        case "yarn":  # Peng et al. 2023, arXiv 2309.00071, bounds rounded outwards as in its reference code
            first, last = (
                h * math.log(scaling.original_positions / (2 * math.pi * beta)) / (2 * math.log(theta))
                for beta in (scaling.beta_fast, scaling.beta_slow)
            )
            first, last = max(math.floor(first), 0), min(math.ceil(last), h - 1)
            kept = 1 - np.clip((pair - first) / (last - first or 0.001), 0, 1)
    size = scaling.attention_factor
    if size is None:
        size = 1 + 0.1 * math.log(max(scaling.factor, 1)) if scaling.kind == "yarn" else 1.0
    return (slow + (full - slow) * kept).astype(np.float32), size
