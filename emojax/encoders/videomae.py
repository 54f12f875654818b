"""VideoMAE (Tong et al. 2022, arXiv 2203.12602): tubes of a few frames, all seen by all, positions fixed."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from flax import struct

from emojax import param
from emojax.config import Data, VideoMaeConfig
from emojax.encoders import pixels
from emojax.encoders.vit import Layer, blocks
from emojax.encoders.vit_files import faults, side
from emojax.hub.weights import Names, linear_names, norm_names
from emojax.nn.attention import SelfAttention
from emojax.nn.layers import Linear, Norm, declare_linear, declare_mlp, declare_norm, layer_norm, linear
from emojax.types import Array

_DEFAULTS: dict[str, Any] = {  # of transformers
    "image_size": 224,
    "patch_size": 16,
    "num_frames": 16,
    "tubelet_size": 2,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "use_mean_pooling": True,
}


def config(json: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> VideoMaeConfig:
    """From the `config.json` and the `preprocessor_config.json` of transformers.

    Without a preprocessor (an empty mapping) frames have the size and the normalisation that its class defaults to.

    Raises:
      ValueError: names every option which is not implemented.
    """
    options = _DEFAULTS | dict(json)
    wrong = faults(options)
    if options.get("model_type") != "videomae":
        wrong.append(f"model_type={options.get('model_type')!r} (implemented: 'videomae')")
    if options["num_frames"] % options["tubelet_size"]:
        wrong.append(f"num_frames={options['num_frames']} is not a multiple of tubelet_size={options['tubelet_size']}")
    if wrong:
        raise ValueError(f"this VideoMAE is not supported: {'; '.join(wrong)}")
    size = side(options["image_size"])
    frame = pixels.read(preprocessor, "VideoMAE", size)
    if frame.size != size:
        raise ValueError(f"videomae reads image_size={size} pixels, its image processor gives {frame.size}")
    return VideoMaeConfig(
        image_size=size,
        patch=side(options["patch_size"]),
        tubelet=options["tubelet_size"],
        frames=options["num_frames"],
        width=options["hidden_size"],
        layers=options["num_hidden_layers"],
        heads=options["num_attention_heads"],
        ff=options["intermediate_size"],
        activation=options["hidden_act"],
        norm_eps=options["layer_norm_eps"],
        qkv_bias=options.get("qkv_bias", options.get("qv_bias", True)),  # the name in transformers 4, and in 5
        final_norm=not options["use_mean_pooling"],
        mean=frame.mean,
        std=frame.std,
    )


def to_json(sizes: VideoMaeConfig) -> dict[str, Any]:
    """The `config.json` of a VideoMAEModel."""
    return {
        "model_type": "videomae",
        "architectures": ["VideoMAEModel"],
        "image_size": sizes.image_size,
        "patch_size": sizes.patch,
        "num_channels": 3,
        "num_frames": sizes.frames,
        "tubelet_size": sizes.tubelet,
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.ff,
        "hidden_act": sizes.activation,
        "layer_norm_eps": sizes.norm_eps,
        "qkv_bias": sizes.qkv_bias,
        "use_mean_pooling": not sizes.final_norm,
    }


def frames(sizes: VideoMaeConfig, preprocessor: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `config.Data` by which the host prepares frames as the model's image processor does.

    Raises ValueError that names every option of the processor which is not implemented.
    """
    found = pixels.read(preprocessor, "VideoMAE", sizes.image_size)
    shape = {"frame_size": found.size, "frame_resize": found.resize, "frame_filter": found.filter}
    return shape | {"frames": sizes.frames}


def preprocessor_json(sizes: VideoMaeConfig, data: Data) -> dict[str, Any]:
    """The `preprocessor_config.json` of the image processor that prepares frames as `data` says."""
    return pixels.write("VideoMAE", sizes.mean, sizes.std, data)


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
      mask: bool[B S], False on frames that are not there. A tube is seen where all of its frames are.
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

    The positions are those of the first tubes, row after row, then the next ones'; those off `mask` (bool[B positions])
    are seen by none and their results mean nothing.
    """
    n = sizes.image_size // sizes.patch
    cut = video[:, :, : n * sizes.patch, : n * sizes.patch]
    tubes = rearrange(
        cut, "b (s t) (h p) (w q) c -> b (s h w) (t p q c)", t=sizes.tubelet, p=sizes.patch, q=sizes.patch
    )
    x = linear(p.patch, tubes)
    x = x + _positions(x.shape[1], sizes.width).astype(x.dtype)
    x = blocks(p.layers, x, mask[:, None], sizes.heads, sizes.activation, sizes.norm_eps, remat)
    return x if p.norm is None else layer_norm(p.norm, x, sizes.norm_eps)


def _positions(positions: int, d: int) -> Array:
    """[positions d], Vaswani et al. 2017, arXiv 1706.03762, sines and cosines in turn.

    A position is coarse + fine and its angle the sum of theirs, so two small tables of float64 angles stand for the
    large one: a float32 angle of 1,500 radians is off by 1e-4.
    """
    steps = 32
    frequency = 10_000.0 ** (-2 * np.arange(-(-d // 2)) / d)
    fine = np.arange(steps)[:, None] * frequency
    coarse = np.arange(0, positions, steps)[:, None, None] * frequency
    (sa, ca), (sb, cb) = ((jnp.float32(np.sin(x)), jnp.float32(np.cos(x))) for x in (coarse, fine))
    waves = jnp.stack([sa * cb + ca * sb, ca * cb - sa * sb], -1)
    return rearrange(waves, "a b d w -> (a b) (d w)")[:positions, :d]


def names(sizes: VideoMaeConfig) -> Names:
    """The weights' names in a published file; the decoder of its pretraining and classifiers are not read."""
    layer, t, p = "encoder.layer.{l}", sizes.tubelet, sizes.patch
    attention = f"{layer}.attention.attention"
    return Names(
        table=(
            ("embeddings.patch_embeddings.projection.weight", "patch.w", f"o c t={t} p={p} q={p} -> (t p q c) o"),
            ("embeddings.patch_embeddings.projection.bias", "patch.b", "o -> o"),
            (f"{attention}.query.weight", "layers.attention.q.w", "o i -> i o"),
            (f"{attention}.key.weight", "layers.attention.k.w", "o i -> i o"),
            (f"{attention}.value.weight", "layers.attention.v.w", "o i -> i o"),
            (f"{attention}.q_bias", "layers.attention.q.b", "o -> o"),
            (f"{attention}.v_bias", "layers.attention.v.b", "o -> o"),
            *linear_names(f"{layer}.attention.output.dense", "layers.attention.o"),
            *norm_names(f"{layer}.layernorm_before", "layers.attention_norm"),
            *linear_names(f"{layer}.intermediate.dense", "layers.mlp.up"),
            *linear_names(f"{layer}.output.dense", "layers.mlp.down"),
            *norm_names(f"{layer}.layernorm_after", "layers.mlp_norm"),
            *norm_names("layernorm", "norm"),
        ),
        ignore=(
            "decoder.*",
            "encoder_to_decoder.*",
            "mask_token",
            "position_embeddings",
            "embeddings.position_embeddings",
            "fc_norm.*",
            "classifier.*",
        ),
        prefix=("videomae.",),
    )
