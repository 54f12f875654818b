"""The transformer that both media encoders are made of: pre-norm, bidirectional, layers stacked and scanned."""

import jax
import jax.numpy as jnp
from flax import struct

from emojax.nn.attention import SelfAttention, attention, declare_attention, merge, project
from emojax.nn.layers import Mlp, Norm, declare_mlp, declare_norm, layer_norm, mlp
from emojax.parallel.sharding import constrain
from emojax.param import stack
from emojax.types import Array


@struct.dataclass
class Layer:
    attention_norm: Norm
    attention: SelfAttention
    mlp_norm: Norm
    mlp: Mlp


@struct.dataclass
class Transformer:
    layers: Layer  # stacked on L
    norm: Norm


def declare_transformer(d: int, layers: int, heads: int, ff: int) -> Transformer:
    layer = Layer(
        attention_norm=declare_norm(d),
        attention=declare_attention(d, heads, heads, d // heads, qkv_bias=True, o_bias=True),
        mlp_norm=declare_norm(d),
        mlp=declare_mlp(d, ff),
    )
    return Transformer(layers=stack(layer, layers), norm=declare_norm(d))


def transformer(p: Transformer, x: Array, mask: Array, heads: int, remat: bool) -> Array:
    """[B S D] -> [B S D]; positions off `mask` (bool[B S]) are seen by none and their results mean nothing."""

    def block(x: Array, layer: Layer) -> tuple[Array, None]:
        q, k, v = project(layer.attention, layer_norm(layer.attention_norm, x), x.shape[-1] // heads)
        x = x + merge(layer.attention, attention(q, k, v, mask[:, None, :]))
        return constrain(x + mlp(layer.mlp, layer_norm(layer.mlp_norm, x))), None

    x, _ = jax.lax.scan(jax.checkpoint(block) if remat else block, constrain(x), p.layers)
    return layer_norm(p.norm, x)


def sinusoids(positions: int, d: int) -> Array:
    """[positions d], a tenth of Vaswani et al. 2017, arXiv 1706.03762, sines and cosines side by side.

    At full size they drown what stands at a position: untrained clips would differ in 1 % of their variance.
    """
    half = (d + 1) // 2
    frequency = 10_000.0 ** (-jnp.arange(half) / max(half - 1, 1))
    angle = jnp.arange(positions, dtype=jnp.float32)[:, None] * frequency[None]
    return 0.1 * jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)[:, :d]


def pool(x: Array, mask: Array, tokens: int) -> tuple[Array, Array]:
    """Averages the valid positions of each row in `tokens` equal shares of their number, as adaptive pooling does.

    Args:
      x: [B S D]
      mask: bool[B S], True on the first n positions of a row (n may differ by row).
    Returns:
      [B tokens D], and bool[B tokens], False throughout where n = 0.
    """
    n = mask.sum(-1)[:, None, None]
    i, j = jnp.arange(x.shape[1])[None, None], jnp.arange(tokens)[None, :, None]
    share = (i >= j * n // tokens) & (i < -(-(j + 1) * n // tokens))  # [B tokens S], none empty when n > 0
    weights = share.astype(jnp.float32) / jnp.maximum(share.sum(-1, keepdims=True), 1).astype(jnp.float32)
    y = jnp.einsum("bts,bsd->btd", weights.astype(x.dtype), x, preferred_element_type=jnp.float32).astype(x.dtype)
    return y, jnp.broadcast_to(n[..., 0] > 0, y.shape[:2])
