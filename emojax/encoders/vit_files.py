"""The files of CLIP, ViT and DINOv2 as transformers has them: both configurations, and the weights' names."""

from collections.abc import Mapping
from typing import Any, Literal

from emojax.config import Data, VitConfig
from emojax.encoders import pixels
from emojax.hub.weights import Names, linear_names, norm_names
from emojax.nn.layers import ACTIVATIONS

_KINDS: dict[str, Literal["clip", "vit", "dinov2"]] = {  # by model_type
    "clip": "clip",
    "clip_vision_model": "clip",
    "vit": "vit",
    "dinov2": "dinov2",
}
_PROCESSOR = {"clip": "CLIP", "vit": "ViT", "dinov2": "Bit"}
_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224}
_DEFAULTS: dict[str, dict[str, Any]] = {  # of transformers
    "clip": _BASE | {"patch_size": 32, "intermediate_size": 3072, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    "vit": _BASE | {"patch_size": 16, "intermediate_size": 3072, "hidden_act": "gelu", "layer_norm_eps": 1e-12},
    "dinov2": _BASE | {"patch_size": 14, "mlp_ratio": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-6},
}


def config(json: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> VitConfig:
    """From the `config.json` (of the whole CLIP, too) and the `preprocessor_config.json` of transformers.

    Without a preprocessor (an empty mapping) frames have the size and the normalisation that its class defaults to.

    Raises:
      ValueError: names every option which is not implemented.
    """
    name = json.get("model_type", "none")
    if name not in _KINDS:
        raise ValueError(f"model_type={name!r} is not implemented; {', '.join(_KINDS)} are")
    kind = _KINDS[name]
    if name == "clip":  # transformers lets a `vision_config_dict`, where there is one, stand for all of it
        found = json.get("vision_config_dict")
        json = found if found is not None else json.get("vision_config") or {}
    options = _DEFAULTS[kind] | dict(json)
    if wrong := faults(options):
        raise ValueError(f"this {name} is not supported: {'; '.join(wrong)}")
    trained = side(options["image_size"])
    frame = pixels.read(preprocessor, _PROCESSOR[kind], trained)
    if kind != "dinov2" and frame.size != trained:
        raise ValueError(f"{name} reads image_size={trained} pixels, its image processor gives {frame.size}")
    width, swiglu = options["hidden_size"], options.get("use_swiglu_ffn", False)
    return VitConfig(
        kind=kind,
        image_size=frame.size,
        trained_size=trained,
        patch=side(options["patch_size"]),
        width=width,
        layers=options["num_hidden_layers"],
        heads=options["num_attention_heads"],
        ff=_ff(width, options["mlp_ratio"], swiglu) if kind == "dinov2" else options["intermediate_size"],
        activation=options["hidden_act"],
        norm_eps=options["layer_norm_eps"],
        qkv_bias=options.get("qkv_bias", True),
        swiglu=swiglu,
        mean=frame.mean,
        std=frame.std,
    )


def faults(json: Mapping[str, Any]) -> list[str]:
    """Options of an encoder of images or videos which are not implemented."""
    wrong = []
    if json["hidden_act"] not in ACTIVATIONS:
        wrong.append(f"hidden_act={json['hidden_act']!r} (implemented: {', '.join(ACTIVATIONS)})")
    if json.get("num_channels", 3) != 3:
        wrong.append(f"num_channels={json['num_channels']} (implemented: 3)")
    for key in ("image_size", "patch_size"):
        if not isinstance(json[key], int) and len(set(json[key])) != 1:
            wrong.append(f"{key}={json[key]!r} (implemented: a square)")
    if json["hidden_size"] % json["num_attention_heads"]:
        wrong.append(
            f"hidden_size={json['hidden_size']} is not a multiple of num_attention_heads={json['num_attention_heads']}"
        )
    return wrong


def side(size: Any) -> int:
    """Of a square that a `config.json` gives as one number or as two."""
    return size if isinstance(size, int) else size[0]


def _ff(width: int, ratio: float, swiglu: bool) -> int:
    ff = int(width * ratio)
    return -(-int(ff * 2 / 3) // 8) * 8 if swiglu else ff


def to_json(sizes: VitConfig) -> dict[str, Any]:
    """The `config.json` of a CLIPVisionModel, ViTModel or Dinov2Model; ValueError where a DINOv2 has no such ff."""
    kind = {"clip": "clip_vision_model", "vit": "vit", "dinov2": "dinov2"}[sizes.kind]
    json = {
        "model_type": kind,
        "architectures": [{"clip": "CLIPVisionModel", "vit": "ViTModel", "dinov2": "Dinov2Model"}[sizes.kind]],
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "hidden_act": sizes.activation,
        "layer_norm_eps": sizes.norm_eps,
        "image_size": sizes.trained_size,
        "patch_size": sizes.patch,
        "num_channels": 3,
    }
    if sizes.kind == "clip":
        return json | {"intermediate_size": sizes.ff}
    if sizes.kind == "vit":
        return json | {"intermediate_size": sizes.ff, "qkv_bias": sizes.qkv_bias}
    ratio = next((r for r in range(1, 65) if _ff(sizes.width, r, sizes.swiglu) == sizes.ff), None)
    if ratio is None:
        raise ValueError(f"a DINOv2 of width={sizes.width} with ff={sizes.ff} has no whole mlp_ratio")
    return json | {
        "mlp_ratio": ratio,
        "use_swiglu_ffn": sizes.swiglu,
        "qkv_bias": sizes.qkv_bias,
        "use_mask_token": False,  # it stands for patches hidden in pretraining; we do not keep it
    }


def frames(sizes: VitConfig, preprocessor: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `config.Data` by which the host prepares frames as the model's image processor does.

    Raises ValueError that names every option of the processor which is not implemented.
    """
    found = pixels.read(preprocessor, _PROCESSOR[sizes.kind], sizes.trained_size)
    return {"frame_size": found.size, "frame_resize": found.resize, "frame_filter": found.filter}


def preprocessor_json(sizes: VitConfig, data: Data) -> dict[str, Any]:
    """The `preprocessor_config.json` of the image processor that prepares frames as `data` says."""
    return pixels.write(_PROCESSOR[sizes.kind], sizes.mean, sizes.std, data)


def names(sizes: VitConfig) -> Names:
    """The weights' names in a published file; those of the text model and of classifiers are not read."""
    p = sizes.patch
    patch = f"o c p={p} q={p} -> (p q c) o"
    if sizes.kind == "clip":
        layer = "vision_model.encoder.layers.{l}"
        return Names(
            table=(
                ("vision_model.embeddings.class_embedding", "token", "d -> d"),
                ("vision_model.embeddings.patch_embedding.weight", "patch.w", patch),
                ("vision_model.embeddings.position_embedding.weight", "positions", "p d -> p d"),
                *norm_names("vision_model.pre_layrnorm", "first_norm"),  # their spelling
                *(line for x in "qkv" for line in linear_names(f"{layer}.self_attn.{x}_proj", f"layers.attention.{x}")),
                *linear_names(f"{layer}.self_attn.out_proj", "layers.attention.o"),
                *norm_names(f"{layer}.layer_norm1", "layers.attention_norm"),
                *linear_names(f"{layer}.mlp.fc1", "layers.mlp.up"),
                *linear_names(f"{layer}.mlp.fc2", "layers.mlp.down"),
                *norm_names(f"{layer}.layer_norm2", "layers.mlp_norm"),
                *norm_names("vision_model.post_layernorm", "norm"),
            ),
            ignore=(
                "text_model.*",
                "text_projection.*",
                "visual_projection.*",
                "logit_scale",
                "classifier.*",
                "embeddings.position_ids",
            ),
            prefix=("vision_model.",),
        )
    layer, dino = "encoder.layer.{l}", sizes.kind == "dinov2"
    up, down = ("mlp.fc1", "mlp.fc2") if dino else ("intermediate.dense", "output.dense")
    before, after = ("norm1", "norm2") if dino else ("layernorm_before", "layernorm_after")
    gated = (
        *linear_names(f"{layer}.mlp.weights_in", "layers.mlp.up"),
        *linear_names(f"{layer}.mlp.weights_out", "layers.mlp.down"),
    )
    plain = (*linear_names(f"{layer}.{up}", "layers.mlp.up"), *linear_names(f"{layer}.{down}", "layers.mlp.down"))
    attention = (("query", "q"), ("key", "k"), ("value", "v"))
    return Names(
        table=(
            ("embeddings.cls_token", "token", "1 1 d -> d"),
            ("embeddings.patch_embeddings.projection.weight", "patch.w", patch),
            ("embeddings.patch_embeddings.projection.bias", "patch.b", "o -> o"),
            ("embeddings.position_embeddings", "positions", "1 p d -> p d"),
            *(
                line
                for x, ours in attention
                for line in linear_names(f"{layer}.attention.attention.{x}", f"layers.attention.{ours}")
            ),
            *linear_names(f"{layer}.attention.output.dense", "layers.attention.o"),
            *norm_names(f"{layer}.{before}", "layers.attention_norm"),
            *(gated if sizes.swiglu else plain),
            *norm_names(f"{layer}.{after}", "layers.mlp_norm"),
            (f"{layer}.layer_scale1.lambda1", "layers.attention_scale", "d -> d"),
            (f"{layer}.layer_scale2.lambda1", "layers.mlp_scale", "d -> d"),
            *norm_names("layernorm", "norm"),
        ),
        ignore=("embeddings.mask_token", "pooler.*", "classifier.*", "decoder.*"),
        prefix=("vit.", "dinov2."),
    )
