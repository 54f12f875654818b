"""CLIP's image encoder (Radford et al. 2021, arXiv 2103.00020), ViT (Dosovitskiy et al. 2020, arXiv 2010.11929),
DINOv2 (Oquab et al. 2023, arXiv 2304.07193) and SigLIP's (Zhai et al. 2023, arXiv 2303.15343; SigLIP 2, 2502.14786):
patches of a frame and a class token, all attend to all.

CLIP has a norm before the blocks; DINOv2 scales what each half of a block adds, its giant has gated feed-forwards, and
it may have registers (Darcet et al. 2023, arXiv 2309.16588) beside the class token. SigLIP has no class token: a
learned query attends to the patches after the blocks. Chinese-CLIP's image encoder (2211.01335) is CLIP's.
"""

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct

from emojax import param
from emojax.config import Activation, VitConfig
from emojax.encoders.pixels import normalise
from emojax.encoders.vit_files import TYPES as TYPES
from emojax.encoders.vit_files import config as config
from emojax.encoders.vit_files import frames as frames
from emojax.encoders.vit_files import names as names
from emojax.encoders.vit_files import preprocessor_json as preprocessor_json
from emojax.encoders.vit_files import to_json as to_json
from emojax.nn.attention import SelfAttention, attention, declare_attention, merge, project
from emojax.nn.layers import (
    Linear,
    Mlp,
    Norm,
    add_rows,
    beside,
    declare_linear,
    declare_mlp,
    declare_norm,
    layer_norm,
    linear,
    mlp,
    rounded,
)
from emojax.parallel.sharding import constrain
from emojax.param import Param, normal, ones
from emojax.types import Array, Weight


@struct.dataclass
class Gated:
    up: Linear  # D -> 2·F, the gate first
    down: Linear  # F -> D


@struct.dataclass
class Layer:
    attention_norm: Norm
    attention: SelfAttention
    attention_scale: Weight | None  # [D] DINOv2
    mlp_norm: Norm
    mlp: Mlp | Gated
    mlp_scale: Weight | None  # [D] DINOv2


@struct.dataclass
class Pool:
    """One learned query that attends to the patches, then half a block (SigLIP)."""

    query: Weight  # [D]
    qkv: Linear  # D -> 3·D
    o: Linear
    norm: Norm
    mlp: Mlp


@struct.dataclass
class Vit:
    patch: Linear  # pixels of a patch -> D
    token: Weight | None  # [D] the class token; SigLIP has none
    registers: Weight | None  # [registers D] tokens without a position, after the class token (DINOv2)
    positions: Weight  # [positions D] the class token's first
    first_norm: Norm | None  # CLIP
    layers: Layer  # stacked on L
    norm: Norm
    pool: Pool | None  # SigLIP


def declare(sizes: VitConfig) -> Vit:
    d, f, dino, siglip, table = sizes.width, sizes.ff, sizes.kind == "dinov2", sizes.kind == "siglip", normal(0.02)
    scale = Param((d,), ("D",), ones) if dino else None
    gated = Gated(up=declare_linear(d, 2 * f, "D F"), down=declare_linear(f, d, "F D"))
    layer = Layer(
        attention_norm=declare_norm(d),
        attention=declare_attention(d, sizes.heads, sizes.heads, d // sizes.heads, sizes.qkv_bias, o_bias=True),
        attention_scale=scale,
        mlp_norm=declare_norm(d),
        mlp=gated if sizes.swiglu else declare_mlp(d, f),
        mlp_scale=scale,
    )
    pool = Pool(
        query=Param((d,), ("D",), normal(1)),
        qkv=declare_linear(d, 3 * d, "D -"),
        o=declare_linear(d, d, "- D"),
        norm=declare_norm(d),
        mlp=declare_mlp(d, f),
    )
    return Vit(
        patch=declare_linear(3 * sizes.patch**2, d, "- D", bias=sizes.kind != "clip"),
        token=None if siglip else Param((d,), ("D",), table),
        registers=Param((sizes.registers, d), (None, "D"), table) if sizes.registers else None,
        positions=Param(((not siglip) + (sizes.trained_size // sizes.patch) ** 2, d), (None, "D"), table),
        first_norm=declare_norm(d) if sizes.kind == "clip" else None,
        layers=param.stack(layer, sizes.layers),
        norm=declare_norm(d),
        pool=pool if siglip else None,
    )


def encode(p: Vit, video: Array, mask: Array, sizes: VitConfig, dtype: jnp.dtype, remat: bool) -> tuple[Array, Array]:
    """One vector a frame: CLIP's and SigLIP's `pooler_output`, the class token of `last_hidden_state` of the others.

    Args:
      video: u8[B S height width 3] RGB frames of sizes.image_size.
      mask: bool[B S], False on frames that are not there.
    Returns:
      [B S width], and `mask`.
    Raises:
      ValueError: frames of another size.
    """
    if video.shape[2:4] != (sizes.image_size, sizes.image_size):
        raise ValueError(f"the image encoder reads frames of {sizes.image_size} pixels, got {video.shape[2:4]}")
    x = normalise(rearrange(video, "b s h w c -> (b s) h w c"), sizes.mean, sizes.std, dtype)
    x = hidden(p, x, sizes, remat)
    x = x[:, 0] if p.pool is None else _pooled(p.pool, x, sizes)
    x = layer_norm(p.norm, x, sizes.norm_eps) if sizes.kind == "clip" else x
    return rearrange(x, "(b s) d -> b s d", b=len(video)), mask


def hidden(p: Vit, pixels: Array, sizes: VitConfig, remat: bool) -> Array:
    """Normalised images [N height width 3] -> [N positions width], transformers' `last_hidden_state`."""
    n = sizes.image_size // sizes.patch
    cropped = pixels[:, : n * sizes.patch, : n * sizes.patch]
    x = linear(p.patch, rearrange(cropped, "n (h p) (w q) c -> n (h w) (p q c)", p=sizes.patch, q=sizes.patch))

    def before(tokens: Array, x: Array) -> Array:
        tokens = jnp.broadcast_to(rounded(tokens, x.dtype), (len(x), *tokens.shape)).astype(x.dtype)
        return jnp.concatenate([tokens, x], 1)

    x = x if p.token is None else before(rearrange(p.token, "d -> 1 d"), x)
    x = add_rows(x, _positions(p.positions, sizes))
    if p.registers is not None:
        x = jnp.concatenate([x[:, :1], before(p.registers, x[:, 1:])], 1)
    x = x if p.first_norm is None else layer_norm(p.first_norm, x, sizes.norm_eps)
    x = blocks(p.layers, x, None, sizes.heads, sizes.activation, sizes.norm_eps, remat)
    return x if sizes.kind == "clip" else layer_norm(p.norm, x, sizes.norm_eps)


def _positions(table: Array, sizes: VitConfig) -> Array:
    """The table for the patches of a frame: interpolated where it was trained on larger or smaller images."""
    trained, now = sizes.trained_size // sizes.patch, sizes.image_size // sizes.patch
    if trained == now:
        return table
    to = _antialiased(trained, now) if sizes.registers else _bicubic(trained, now)
    first, table = jnp.split(table.astype(jnp.float32), [len(table) - trained**2])
    grid = rearrange(table, "(h w) d -> h w d", h=trained)
    grid = jnp.einsum("yh,xw,hwd->yxd", to, to, grid, precision="highest")
    return jnp.concatenate([first, rearrange(grid, "y x d -> (y x) d")])


def _antialiased(old: int, new: int) -> np.ndarray:
    """The same with antialiasing: a = -0.5, widened where the table shrinks, edges cut off."""
    scale = old / new
    at, wide = (np.arange(new) + 0.5) * scale, max(scale, 1)
    x = np.abs(np.arange(old) + 0.5 - at[:, None]) / wide
    matrix = np.where(x <= 1, (1.5 * x - 2.5) * x**2 + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0))
    return (matrix / matrix.sum(1, keepdims=True)).astype(np.float32)


def _bicubic(old: int, new: int) -> np.ndarray:
    """Matrix f32[new old] of cubic convolution (Keys 1981) as in torch: a = -0.75, edges repeated, no antialiasing."""
    at = (np.arange(new) + 0.5) * old / new - 0.5
    matrix = np.zeros((new, old))
    for tap in (-1, 0, 1, 2):
        source = np.floor(at) + tap
        x = np.abs(at - source)
        weight = np.where(x <= 1, (1.25 * x - 2.25) * x**2 + 1, ((-0.75 * x + 3.75) * x - 6) * x + 3)
        np.add.at(matrix, (np.arange(new), np.clip(source, 0, old - 1).astype(int)), weight)
    return matrix.astype(np.float32)


def blocks(
    p: Layer, x: Array, mask: Array | None, heads: int, activation: Activation, eps: float, remat: bool
) -> Array:
    """Pre-norm blocks over [N positions D]; `mask`: bool, broadcast against [N positions positions], or None."""

    def block(x: Array, p: Layer) -> tuple[Array, None]:
        q, k, v = project(p.attention, layer_norm(p.attention_norm, x, eps), x.shape[-1] // heads)
        x = x + _scale(p.attention_scale, merge(p.attention, attention(q, k, v, mask)))
        y = layer_norm(p.mlp_norm, x, eps)
        y = _gated(p.mlp, y) if isinstance(p.mlp, Gated) else mlp(p.mlp, y, activation)
        return constrain(x + _scale(p.mlp_scale, y)), None

    return jax.lax.scan(jax.checkpoint(block) if remat else block, constrain(x), p)[0]


def _pooled(p: Pool, x: Array, sizes: VitConfig) -> Array:
    """[N positions D] -> [N D]"""
    query = jnp.broadcast_to(rounded(p.query, x.dtype), (len(x), 1, sizes.width)).astype(x.dtype)
    q, k, v = (
        rearrange(jnp.split(linear(p.qkv, y), 3, -1)[at], "n s (heads h) -> n s heads h", heads=sizes.heads)
        for at, y in enumerate((query, x, x))
    )
    y = linear(p.o, rearrange(attention(q, k, v, None), "n 1 heads h -> n (heads h)"))
    return y + mlp(p.mlp, layer_norm(p.norm, y, sizes.norm_eps), sizes.activation)


def _scale(scale: Array | None, x: Array) -> Array:
    if scale is None:
        return x
    wide = x.astype(jnp.float32)
    return (wide * beside(wide, rounded(scale, x.dtype))).astype(x.dtype)


def _gated(p: Gated, x: Array) -> Array:
    gate, up = jnp.split(linear(p.up, x), 2, -1)
    return linear(p.down, jax.nn.silu(gate) * up)
