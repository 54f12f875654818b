"""Attention three ways: all scores at once, a block of queries at a time, and cuDNN's flash attention.

`whole` and `by_blocks` are one arithmetic and agree to rounding, on every platform. `flash` rounds otherwise: it is
for what is computed once a step by one function (encoders, the prefix), never for what is decoded and scored again.
"""

import functools
import math
import re

import jax
import jax.numpy as jnp
from einops import rearrange

from emojax.nn.layers import beside
from emojax.types import Array

AT_ONCE = 1 << 24  # bytes of float32 scores of one clip (all its heads): 1,500 positions of 8 heads are 72 MB
HIDDEN = -1e30  # finite, so that a row without any visible key gives no NaN
_OFF = -(2.0**20)  # what `flash` adds to the dot product of a hidden key: exact in bfloat16, and exp of it is 0
_STEP = 8  # head widths that cuDNN takes are multiples of it
_WIDEST = 128
_AMPERE = 8.0  # the first compute capability that cuDNN has flash attention for


def softmax(scores: Array, visible: Array) -> Array:
    """Softmax of the last axis. The largest score is a constant to the gradient, as it is in truth: differentiated, it
    is found again by comparing, and a program that computes the scores anew and rounds otherwise finds none, and gives
    NaN.
    """
    scores = jnp.where(visible, scores, HIDDEN)
    weights = jnp.where(visible, jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True))), 0)
    total = weights.sum(-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1)


def whole(q: Array, k: Array, v: Array, mask: Array | None, bias: Array | None) -> Array:
    """`attention` with an array of all scores, float32[B ... N T S]."""
    *lead, t, _, h = q.shape
    q = rearrange(q, "... t (k r) h -> ... t k r h", k=k.shape[-2])
    scores = jnp.einsum("...tkrh,...skh->...krts", q, k, preferred_element_type=jnp.float32) / math.sqrt(h)
    if bias is not None:
        bias = rearrange(bias, "... (k r) t s -> ... k r t s", k=k.shape[-2]).astype(jnp.float32)
        scores += beside(scores, bias)
    visible = jnp.broadcast_to(True if mask is None else mask, (*lead, t, k.shape[-3]))[..., None, None, :, :]
    weights = softmax(scores, visible).astype(v.dtype)
    y = jnp.einsum("...krts,...skh->...tkrh", weights, v, preferred_element_type=jnp.float32)
    return rearrange(y, "... t k r h -> ... t (k r) h").astype(q.dtype)


def blocks(q: Array, k: Array) -> int:
    """In how many blocks of queries the scores of a clip must come, so that those of one take AT_ONCE at most."""
    return min(q.shape[-3], -(-4 * math.prod(q.shape[1:-1]) * k.shape[-3] // AT_ONCE))


def by_blocks(q: Array, k: Array, v: Array, mask: Array | None, bias: Array | None, count: int) -> Array:
    """`whole` of `count` blocks of queries, one after the other, rematerialised: memory grows with T + S, not T·S.

    Exact, because a row of the softmax belongs to one query. What each block says of the gradient of keys and values
    is summed in float32.
    """
    t = q.shape[-3]
    size = -(-t // count)
    count = -(-t // size)

    def blocks(x: Array | None, axis: int) -> Array | None:
        """[... T ...] -> [blocks ... size ...]; what is the same for every query stays as it is."""
        if x is None or x.ndim < -axis or x.shape[axis] == 1:
            return None
        x = jnp.moveaxis(x, axis, 0)
        x = jnp.pad(x, ((0, count * size - t), *[(0, 0)] * (x.ndim - 1)))
        return jnp.moveaxis(rearrange(x, "(c t) ... -> c t ...", c=count), 1, axis)

    wide = k.astype(jnp.float32), v.astype(jnp.float32)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def block(wide: tuple[Array, Array], xs: tuple[Array, Array | None, Array | None]) -> Array:
        part, *rest = xs
        seen, added = (given if own is None else own for own, given in zip(rest, (mask, bias), strict=True))
        return whole(part, wide[0].astype(k.dtype), wide[1].astype(v.dtype), seen, added)

    _, y = jax.lax.scan(
        lambda _, xs: (None, block(wide, xs)), None, (blocks(q, -3), blocks(mask, -2), blocks(bias, -2))
    )
    return rearrange(jnp.moveaxis(y, 0, -4), "... c t n h -> ... (c t) n h")[..., :t, :, :]


def flash_fits(q: Array, k: Array, mask: Array | None, bias: Array | None) -> bool:
    """Whether `flash` takes these shapes, and this process has a GPU that runs it.

    Without one jax refuses to trace it: a program that a machine without a GPU lowers for CUDA does without.
    """
    keys_only = mask is None or mask.ndim < 2 or mask.shape[-2] == 1
    if bias is not None or not keys_only or q.ndim != 4 or q.dtype != jnp.bfloat16 or k.dtype != jnp.bfloat16:
        return False
    width = q.shape[-1] + (0 if mask is None and k.shape[1] % 2 == 0 else _STEP)
    return width % _STEP == 0 and width <= _WIDEST and has_flash()


def has_flash() -> bool:
    """Whether the default device is of NVIDIA and of compute capability 8.0 or later."""
    if jax.default_backend() != "gpu":
        return False
    capability = str(getattr(jax.local_devices()[0], "compute_capability", ""))  # AMD's is a name, "gfx942"
    return re.fullmatch(r"\d+\.\d+", capability) is not None and float(capability) >= _AMPERE


def flash(q: Array, k: Array, v: Array, mask: Array | None) -> Array:
    """`attention` by cuDNN, bfloat16: q [B T N H], k and v [B S K H], `mask` broadcast against [B 1 S].

    Hidden keys are told by one more number a head (of _STEP, for the width must be a multiple): 1 in a query, 0 or
    _OFF in a key. A mask given as a bias would be an array [B T S], with a gradient that some versions of jax always
    compute. Its gradient wants even T and S: odd ones get one more query, and one more key, which is hidden.
    """
    t, s, h, scale = q.shape[1], k.shape[1], q.shape[-1], 1 / math.sqrt(q.shape[-1])
    q, k, v = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (q, k, v))
    if mask is None and s % 2 == 0:
        return jax.nn.dot_product_attention(q, k, v, scale=scale, implementation="cudnn")[:, :t]
    seen = jnp.broadcast_to(True if mask is None else mask, (len(q), 1, s))[:, 0]

    def widen(x: Array, number: Array | float) -> Array:
        told = jnp.broadcast_to(jnp.asarray(number, x.dtype), x.shape[:-1])[..., None]
        return jnp.concatenate([x, told, jnp.zeros((*x.shape[:-1], _STEP - 1), x.dtype)], -1)

    hidden = jnp.where(jnp.pad(seen, ((0, 0), (0, s % 2))), 0.0, _OFF)[..., None]
    y = jax.nn.dot_product_attention(
        widen(q, 1.0), widen(k, hidden), widen(v, 0.0), scale=scale, implementation="cudnn"
    )
    return jnp.where(seen.any(-1)[:, None, None, None], y[:, :t, :, :h], 0)
