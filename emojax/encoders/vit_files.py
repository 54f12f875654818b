"""The files of CLIP, Chinese-CLIP, ViT, DINOv2 and SigLIP as transformers has them: both configurations, and the
weights' names.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from emojax.config import Data, VitConfig
from emojax.encoders import pixels
from emojax.hub import options
from emojax.hub.options import ANY, HEADS, LAYERS, PIXELS, POSITIVE, WIDTH
from emojax.hub.weights import Names, linear_names, norm_names
from emojax.nn.layers import ACTIVATIONS

_KINDS: dict[str, Literal["clip", "vit", "dinov2", "siglip"]] = {  # by model_type
    "clip": "clip",
    "clip_vision_model": "clip",
    "chinese_clip": "clip",
    "chinese_clip_vision_model": "clip",
    "siglip": "siglip",  # SigLIP 2 of a fixed resolution, too
    "siglip_vision_model": "siglip",
    "vit": "vit",
    "dinov2": "dinov2",
    "dinov2_with_registers": "dinov2",
}
TYPES = tuple(_KINDS)
_WHOLE = ("clip", "chinese_clip", "siglip")  # model types of an image and a text encoder
_PROCESSOR = {"clip": "CLIP", "vit": "ViT", "dinov2": "Bit", "siglip": "Siglip"}
_SIDES = options.each(PIXELS, 2)
_RATIO = options.Kind("a number from 1 to 64", lambda x: POSITIVE.holds(x) and 1 <= x <= 64)
_SQUARE = options.Rule("a square", lambda size: PIXELS.holds(size) or (_SIDES.holds(size) and size[0] == size[-1]))
IMAGES: options.Table = {  # of every encoder of images or videos; VideoMAE's, too
    "hidden_act": ("gelu", tuple(ACTIVATIONS)),
    "num_channels": (3, (3,)),
    "image_size": (224, _SQUARE),
    "patch_size": (16, _SQUARE),
    "hidden_size": (768, WIDTH),
    "num_hidden_layers": (12, LAYERS),
    "num_attention_heads": (12, HEADS),
    "intermediate_size": (3072, WIDTH),
    "layer_norm_eps": (1e-12, ANY),
    "qkv_bias": (True, ANY),
}
_TABLES: dict[str, options.Table] = {
    "clip": IMAGES
    | {"patch_size": (32, _SQUARE), "hidden_act": ("quick_gelu", tuple(ACTIVATIONS)), "layer_norm_eps": (1e-5, ANY)},
    "siglip": IMAGES
    | {
        "hidden_act": ("gelu_pytorch_tanh", tuple(ACTIVATIONS)),
        "layer_norm_eps": (1e-6, ANY),
        "vision_use_head": (True, (True,)),
    },
    "vit": IMAGES,
    "dinov2": IMAGES
    | {
        "patch_size": (14, _SQUARE),
        "layer_norm_eps": (1e-6, ANY),
        "mlp_ratio": (4, _RATIO),
        "use_swiglu_ffn": (False, ANY),
    },
}
_PARTS: options.Table = {
    "vision_config_dict": (None, options.optional(options.OBJECT)),
    "vision_config": (None, options.optional(options.OBJECT)),
}
_REGISTERS: options.Table = {"patch_size": (16, _SQUARE), "num_register_tokens": (4, options.whole(2**12))}


def config(json: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> VitConfig:
    """Sizes from the `config.json` (of all of CLIP or SigLIP, too) and the `preprocessor_config.json` of transformers.

    Without a preprocessor (an empty mapping) frames have the size and the normalisation that its class defaults to.

    Raises:
      ValueError: names every option which is not implemented.
    """
    found, wrong = options.read(json, {"model_type": (None, tuple(_KINDS))})
    options.require_none(wrong, "image encoder")
    name = found["model_type"]
    kind = _KINDS[name]
    if name in _WHOLE:  # transformers lets a `vision_config_dict`, where there is one, stand for all of it
        told, _ = options.read(json, _PARTS)
        json = told["vision_config"] or {} if told["vision_config_dict"] is None else told["vision_config_dict"]
    registers = name == "dinov2_with_registers"
    c, wrong = options.read(json, _TABLES[kind] | (_REGISTERS if registers else {}))
    options.require_none(wrong + options.not_multiples(c, "hidden_size", "num_attention_heads"), name)
    options.require_none(no_patch(c), name)
    trained, dino = side(c["image_size"]), kind == "dinov2"
    frame = pixels.read(preprocessor, _PROCESSOR[kind], trained)
    if not dino and frame.size != trained:
        raise ValueError(f"{name} reads image_size={trained} pixels, its image processor gives {frame.size}")
    return VitConfig(
        kind=kind,
        image_size=frame.size,
        trained_size=trained,
        patch=side(c["patch_size"]),
        width=c["hidden_size"],
        layers=c["num_hidden_layers"],
        heads=c["num_attention_heads"],
        ff=_ff(c["hidden_size"], c["mlp_ratio"], c["use_swiglu_ffn"]) if dino else c["intermediate_size"],
        activation=c["hidden_act"],
        norm_eps=c["layer_norm_eps"],
        qkv_bias=c["qkv_bias"],
        swiglu=dino and c["use_swiglu_ffn"],
        registers=c["num_register_tokens"] if registers else 0,
        mean=frame.mean,
        std=frame.std,
    )


def side(size: int | Sequence[int]) -> int:
    """Pixels of the side of a square that a `config.json` gives as one number or as two."""
    return size if isinstance(size, int) else size[0]


def no_patch(c: Mapping[str, Any]) -> list[str]:
    """A message where a patch is larger than the image."""
    image, patch = side(c["image_size"]), side(c["patch_size"])
    return [f"patch_size={patch} is above image_size={image}"] if patch > image else []


def _ff(width: int, ratio: float, swiglu: bool) -> int:
    ff = int(width * ratio)
    return -(-int(ff * 2 / 3) // 8) * 8 if swiglu else ff


def to_json(sizes: VitConfig) -> dict[str, Any]:
    """The `config.json` with which transformers builds the same model; Chinese-CLIP's encoder is written as CLIP's.

    Raises ValueError where a DINOv2 has no such ff.
    """
    kind, name = {
        "clip": ("clip_vision_model", "CLIPVisionModel"),
        "siglip": ("siglip_vision_model", "SiglipVisionModel"),
        "vit": ("vit", "ViTModel"),
        "dinov2": ("dinov2", "Dinov2Model"),
    }[sizes.kind]
    if sizes.registers:
        kind, name = "dinov2_with_registers", "Dinov2WithRegistersModel"
    json = {
        "model_type": kind,
        "architectures": [name],
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "hidden_act": sizes.activation,
        "layer_norm_eps": sizes.norm_eps,
        "image_size": sizes.trained_size,
        "patch_size": sizes.patch,
        "num_channels": 3,
    }
    if sizes.kind in ("clip", "siglip"):
        return json | {"intermediate_size": sizes.ff}
    if sizes.kind == "vit":
        return json | {"intermediate_size": sizes.ff, "qkv_bias": sizes.qkv_bias}
    ratio = next((r for r in range(1, 65) if _ff(sizes.width, r, sizes.swiglu) == sizes.ff), None)
    if ratio is None:
        raise ValueError(f"a DINOv2 of width={sizes.width} with ff={sizes.ff} has no whole mlp_ratio")
    if sizes.registers:
        json["num_register_tokens"] = sizes.registers
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
    """The weights' names in a published file; those of the text model and of classifiers are ignored."""
    p = sizes.patch
    patch = f"o c p={p} q={p} -> (p q c) o"
    if sizes.kind in ("clip", "siglip"):
        return _clip_names(patch)
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
            ("embeddings.register_tokens", "registers", "1 r d -> r d"),
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
        prefix=("vit.", "dinov2.", "dinov2_with_registers."),
    )


def _clip_names(patch: str) -> Names:
    """Those of CLIP and of SigLIP, which differ in where they have a class token, a bias, a first norm and a head."""
    layer, head = "vision_model.encoder.layers.{l}", "vision_model.head"
    return Names(
        table=(
            ("vision_model.embeddings.class_embedding", "token", "d -> d"),
            ("vision_model.embeddings.patch_embedding.weight", "patch.w", patch),
            ("vision_model.embeddings.patch_embedding.bias", "patch.b", "o -> o"),
            ("vision_model.embeddings.position_embedding.weight", "positions", "p d -> p d"),
            *norm_names("vision_model.pre_layrnorm", "first_norm"),  # their spelling
            *(line for x in "qkv" for line in linear_names(f"{layer}.self_attn.{x}_proj", f"layers.attention.{x}")),
            *linear_names(f"{layer}.self_attn.out_proj", "layers.attention.o"),
            *norm_names(f"{layer}.layer_norm1", "layers.attention_norm"),
            *linear_names(f"{layer}.mlp.fc1", "layers.mlp.up"),
            *linear_names(f"{layer}.mlp.fc2", "layers.mlp.down"),
            *norm_names(f"{layer}.layer_norm2", "layers.mlp_norm"),
            *norm_names("vision_model.post_layernorm", "norm"),
            (f"{head}.probe", "pool.query", "1 1 d -> d"),
            (f"{head}.attention.in_proj_weight", "pool.qkv.w", "o i -> i o"),
            (f"{head}.attention.in_proj_bias", "pool.qkv.b", "o -> o"),
            *linear_names(f"{head}.attention.out_proj", "pool.o"),
            *norm_names(f"{head}.layernorm", "pool.norm"),
            *linear_names(f"{head}.mlp.fc1", "pool.mlp.up"),
            *linear_names(f"{head}.mlp.fc2", "pool.mlp.down"),
        ),
        ignore=(
            *("text_model.*", "text_projection.*", "visual_projection.*", "logit_scale", "logit_bias"),
            *("classifier.*", "embeddings.position_ids"),
        ),
        prefix=("vision_model.",),
    )
