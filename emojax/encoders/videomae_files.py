"""The files of VideoMAE as transformers has them: both configurations, and the weights' names."""

from collections.abc import Mapping
from typing import Any

from emojax.config import Data, VideoMaeConfig
from emojax.encoders import pixels
from emojax.encoders.vit_files import IMAGES, no_patch, side
from emojax.hub import options
from emojax.hub.options import ANY
from emojax.hub.weights import Names, linear_names, norm_names

_TABLE: options.Table = IMAGES | {
    "model_type": (None, ("videomae",)),
    "num_frames": (16, options.whole(2**12)),
    "tubelet_size": (2, options.whole(2**12)),
    "use_mean_pooling": (True, ANY),
}


def config(json: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> VideoMaeConfig:
    """Sizes from the `config.json` and the `preprocessor_config.json` of transformers.

    Without a preprocessor (an empty mapping) frames have the size and the normalisation that its class defaults to.

    Raises:
      ValueError: names every option which is not implemented.
    """
    biases = {"qkv_bias": json.get("qkv_bias", json.get("qv_bias", True))}  # the name in transformers 4, and in 5
    c, wrong = options.read(dict(json) | biases, _TABLE)
    wrong += options.not_multiples(c, "hidden_size", "num_attention_heads")
    wrong += options.not_multiples(c, "num_frames", "tubelet_size")
    options.require_none(wrong, "VideoMAE")
    options.require_none(no_patch(c), "VideoMAE")
    size = side(c["image_size"])
    frame = pixels.read(preprocessor, "VideoMAE", size)
    if frame.size != size:
        raise ValueError(f"videomae reads image_size={size} pixels, its image processor gives {frame.size}")
    return VideoMaeConfig(
        image_size=size,
        patch=side(c["patch_size"]),
        tubelet=c["tubelet_size"],
        frames=c["num_frames"],
        width=c["hidden_size"],
        layers=c["num_hidden_layers"],
        heads=c["num_attention_heads"],
        ff=c["intermediate_size"],
        activation=c["hidden_act"],
        norm_eps=c["layer_norm_eps"],
        qkv_bias=c["qkv_bias"],
        final_norm=not c["use_mean_pooling"],
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


def names(sizes: VideoMaeConfig) -> Names:
    """The weights' names in a published file; the decoder of its pretraining and classifiers are ignored."""
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
