"""Face video: a convolutional stem and a transformer within each frame, then a transformer across frames.

The factorised encoder of ViViT (Arnab et al. 2021, arXiv 2103.15691, model 2) on convolutional patches.
"""

import jax.numpy as jnp
from einops import rearrange
from flax import struct

from emojax.config import FrameEncoderConfig
from emojax.nn.layers import Linear, Norm, conv2d, declare_linear, declare_norm, gelu, layer_norm, linear
from emojax.nn.transformer import Transformer, declare_transformer, sinusoids, transformer
from emojax.types import Array

STRIDE = 8  # pixels a patch, three convolutions of stride 2


@struct.dataclass
class Video:
    stem: tuple[Linear, Linear, Linear]
    stem_norms: tuple[Norm, Norm, Norm]
    spatial: Transformer
    frame: Linear  # the patches of a frame, side by side, -> D
    temporal: Transformer


def declare(sizes: FrameEncoderConfig, frame_size: int) -> Video:
    d, patches = sizes.width, (frame_size // STRIDE) ** 2
    return Video(
        stem=(
            declare_linear(9 * 3, d // 4, "- D"),
            declare_linear(9 * d // 4, d // 2, "- D"),
            declare_linear(9 * d // 2, d, "- D"),
        ),
        stem_norms=(declare_norm(d // 4), declare_norm(d // 2), declare_norm(d)),
        spatial=declare_transformer(d, sizes.spatial_layers, sizes.heads, sizes.ff),
        frame=declare_linear(patches * d, d, "- D"),
        temporal=declare_transformer(d, sizes.temporal_layers, sizes.heads, sizes.ff),
    )


def encode(
    p: Video, video: Array, mask: Array, sizes: FrameEncoderConfig, dtype: jnp.dtype, remat: bool
) -> tuple[Array, Array]:
    """Frames u8[B S height width 3], bool[B S] -> [B S width], bool[B S]."""
    b, s = mask.shape
    x = rearrange(video, "b s h w c -> (b s) h w c").astype(dtype) / 127.5 - 1
    for stem, norm in zip(p.stem, p.stem_norms, strict=True):
        x = gelu(layer_norm(norm, conv2d(stem, x, width=3, stride=2)))
    x = rearrange(x, "f h w d -> f (h w) d")
    x = x + sinusoids(x.shape[1], sizes.width)[None].astype(dtype)
    x = transformer(p.spatial, x, jnp.ones(x.shape[:2], bool), sizes.heads, remat)
    x = linear(p.frame, rearrange(x, "(b s) p d -> b s (p d)", b=b))
    x = x + sinusoids(s, sizes.width)[None].astype(dtype)
    return transformer(p.temporal, x, mask, sizes.heads, remat), mask
