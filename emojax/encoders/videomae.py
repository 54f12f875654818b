"""VideoMAE (Tong et al. 2022, arXiv 2203.12602): tubes of a few frames, all attend to all, positions fixed."""

import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from flax import struct

from emojax import param
from emojax.config import VideoMaeConfig
from emojax.encoders import pixels
from emojax.encoders.videomae_files import config as config
from emojax.encoders.videomae_files import frames as frames
from emojax.encoders.videomae_files import names as names
from emojax.encoders.videomae_files import preprocessor_json as preprocessor_json
from emojax.encoders.videomae_files import to_json as to_json
from emojax.encoders.vit import Layer, blocks
from emojax.nn.attention import SelfAttention
from emojax.nn.layers import Linear, Norm, declare_linear, declare_mlp, declare_norm, layer_norm, linear
from emojax.types import Array


@struct.dataclass
class VideoMae:
    patch: Linear  # pixels of a tube -> D
    layers: Layer  # stacked on L
    norm: Norm | None


def declare(sizes: VideoMaeConfig) -> VideoMae:
    d = sizes.width
    layer = Layer(
        attention_norm=declare_norm(d),
        attention=SelfAttention(
            q=declare_linear(d, d, "D N", sizes.qkv_bias),
            k=declare_linear(d, d, "D K", bias=False),
            v=declare_linear(d, d, "D K", sizes.qkv_bias),
            o=declare_linear(d, d, "N D"),
        ),
        attention_scale=None,
        mlp_norm=declare_norm(d),
        mlp=declare_mlp(d, sizes.ff),
        mlp_scale=None,
    )
    return VideoMae(
        patch=declare_linear(3 * sizes.tubelet * sizes.patch**2, d, "- D"),
        layers=param.stack(layer, sizes.layers),
        norm=declare_norm(d) if sizes.final_norm else None,
    )


def encode(
    p: VideoMae, video: Array, mask: Array, sizes: VideoMaeConfig, dtype: jnp.dtype, remat: bool
) -> tuple[Array, Array]:
    """One vector a tube's time: the mean of its patches' `last_hidden_state`.

    Args:
      video: u8[B S height width 3] RGB frames, S = sizes.frames, of sizes.image_size.
      mask: bool[B S], False on frames that are not there. A tube is valid where all of its frames are.
    Returns:
      [B S/tubelet width], and bool[B S/tubelet].
    Raises:
      ValueError: another number of frames, or frames of another size.
    """
    wants = (sizes.frames, sizes.image_size, sizes.image_size)
    if video.shape[1:4] != wants:
        raise ValueError(f"VideoMAE reads frames, height, width = {wants}, got {video.shape[1:4]}")
    there = rearrange(mask, "b (s t) -> b s t", t=sizes.tubelet).all(-1)
    patches = (sizes.image_size // sizes.patch) ** 2
    x = pixels.normalise(video, sizes.mean, sizes.std, dtype)
    x = hidden(p, x, repeat(there, "b s -> b (s p)", p=patches), sizes, remat)
    return rearrange(x, "b (s p) d -> b s p d", p=patches).mean(2, dtype=jnp.float32).astype(dtype), there


def hidden(p: VideoMae, video: Array, mask: Array, sizes: VideoMaeConfig, remat: bool) -> Array:
    """Normalised clips [B S height width 3] -> [B positions width], transformers' `last_hidden_state`.

    The positions are those of the first tubes, row after row, then the next ones'. None attends to those off `mask`
    (bool[B positions]), whose results mean nothing.
    """
    n = sizes.image_size // sizes.patch
    cropped = video[:, :, : n * sizes.patch, : n * sizes.patch]
    tubes = rearrange(
        cropped, "b (s t) (h p) (w q) c -> b (s h w) (t p q c)", t=sizes.tubelet, p=sizes.patch, q=sizes.patch
    )
    x = linear(p.patch, tubes)
    x = x + sinusoid_table(x.shape[1], sizes.width)[None].astype(x.dtype)
    x = blocks(p.layers, x, mask[:, None], sizes.heads, sizes.activation, sizes.norm_eps, remat)
    return x if p.norm is None else layer_norm(p.norm, x, sizes.norm_eps)


def sinusoid_table(positions: int, d: int) -> Array:
    """Sinusoidal positions [positions d] (Vaswani et al. 2017, arXiv 1706.03762), sines and cosines in turn.

    A position is coarse + fine and its angle the sum of theirs, so two small tables of float64 angles stand for the
    large one: a float32 angle of 1,500 radians is off by 1e-4.
    """
    steps = 32
    frequency = 10_000.0 ** (-2 * np.arange(-(-d // 2)) / d)
    fine = np.arange(steps)[None, :, None] * frequency
    coarse = np.arange(0, positions, steps)[:, None, None] * frequency
    (sa, ca), (sb, cb) = ((jnp.float32(np.sin(x)), jnp.float32(np.cos(x))) for x in (coarse, fine))
    waves = jnp.stack([sa * cb + ca * sb, ca * cb - sa * sb], -1)
    return rearrange(waves, "a b d w -> (a b) (d w)")[:positions, :d]
