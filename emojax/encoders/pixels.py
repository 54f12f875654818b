"""What a published image processor does to a frame: its `preprocessor_config.json`, and its normalisation.

The host resizes and crops (`emojax/data/video.py`), by Pillow as the processor does; the program normalises.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp

from emojax.config import Data
from emojax.hub import options
from emojax.hub.options import ANY, NOT_BELOW_0, PIXELS, POSITIVE, TEXT, each, either, optional
from emojax.nn.layers import beside
from emojax.types import Array

Filter = Literal["bilinear", "bicubic"]
_FILTERS: dict[int, Filter] = {2: "bilinear", 3: "bicubic"}  # by Pillow's codes
_CHANNELS = options.Rule("three numbers", lambda x: each(NOT_BELOW_0).holds(x) and len(x) == 3)
_DEVIATIONS = options.Rule("three numbers above 0", lambda x: each(POSITIVE).holds(x) and len(x) == 3)
_SIDES = options.Kind(
    "an object of sides in pixels", lambda x: isinstance(x, Mapping) and all(map(optional(PIXELS).holds, x.values()))
)
_TABLE: options.Table = {  # with the defaults of CLIP's processor
    "do_resize": (True, (True,)),
    "size": ({"shortest_edge": 224}, either(PIXELS, _SIDES)),
    "resample": (3, options.Rule("2, bilinear, and 3, bicubic", lambda code: type(code) is int and code in _FILTERS)),
    "do_center_crop": (True, ANY),
    "crop_size": (224, optional(either(PIXELS, _SIDES))),
    "do_rescale": (True, (True,)),
    "rescale_factor": (1 / 255, options.Rule("1/255", lambda x: POSITIVE.holds(x) and abs(255 * x - 1) <= 1e-6)),
    "do_normalize": (True, ANY),
    "image_mean": ((0.48145466, 0.4578275, 0.40821073), _CHANNELS),
    "image_std": ((0.26862954, 0.26130258, 0.27577711), _DEVIATIONS),
    "do_convert_rgb": (True, ANY),
}
_SQUEEZED = {"size": {"height": 224, "width": 224}, "do_center_crop": False, "crop_size": None}
_HALVES = {"resample": 2, "image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
_DEFAULTS: dict[str, dict[str, Any]] = {  # where they differ from CLIP's, by what the processors' names begin with
    "CLIP": {},
    "ChineseCLIP": {},
    "Bit": {},  # DINOv2's
    "ViT": _HALVES | _SQUEEZED,
    "Siglip": _HALVES | _SQUEEZED | {"resample": 3},
    "VideoMAE": _HALVES,
}


@dataclass(frozen=True)
class Pixels:
    size: int  # pixels, height and width of a frame as the encoder takes it
    resize: int | None  # pixels of the shortest edge before the centre crop; None: squeezed to a square
    filter: Filter
    mean: tuple[float, ...]  # of the channels, 0..1
    std: tuple[float, ...]


def read(json: Mapping[str, Any], kind: str, size: int) -> Pixels:
    """Settings from a `preprocessor_config.json`; without one (an empty `json`) frames get the model's size.

    Args:
      kind: "CLIP", "Bit", "ViT", "Siglip" or "VideoMAE": the processor where the file does not name it.
      size: pixels, the `image_size` of the model.
    Raises:
      ValueError: names every option that is not implemented.
    """
    told, _ = options.read(
        json, dict.fromkeys(("image_processor_type", "feature_extractor_type"), (None, optional(TEXT)))
    )
    processor = told["image_processor_type"] or told["feature_extractor_type"] or f"{kind}ImageProcessor"
    name = re.sub("(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", processor)
    given: dict[str, Any] = {key: value for key, value in json.items() if value is not None}
    if not json:
        given = {"size": size, "crop_size": size}
    if not given.get("do_normalize", True):
        given |= {"image_mean": (0.0, 0.0, 0.0), "image_std": (1.0, 1.0, 1.0)}
    others: options.Table = {key: (False, (False,)) for key in given if key[:3] == "do_" and key not in _TABLE}
    c, wrong = options.read(_DEFAULTS.get(name, _DEFAULTS[kind]) | given, _TABLE | others)
    if name not in _DEFAULTS:
        wrong.insert(0, f"image_processor_type={processor!r} (implemented: {', '.join(_DEFAULTS)})")
    shape = _shape(c, squeezes=name in ("ViT", "Siglip"))
    if shape is None:
        found = ", ".join(f"{key}={c[key]!r}" for key in ("size", "do_center_crop", "crop_size"))
        wrong.append(f"{found} (implemented: a shortest edge and a square crop no larger, or a square)")
    options.require_none(wrong, "image processor")
    assert shape is not None
    return Pixels(
        size=shape[0],
        resize=shape[1],
        filter=_FILTERS[c["resample"]],
        mean=tuple(c["image_mean"]),
        std=tuple(c["image_std"]),
    )


def _shape(c: Mapping[str, Any], squeezes: bool) -> tuple[int, int | None] | None:
    """Pixels of a frame, and of the shortest edge before it is cropped; None: not implemented."""
    size, crop = (
        {"height": n, "width": n} if isinstance(n, int) else n and {side: m for side, m in n.items() if m is not None}
        for n in (c["size"], c["crop_size"] if c["do_center_crop"] else None)
    )
    if isinstance(c["size"], int) and not squeezes:
        size = {"shortest_edge": c["size"]}
    square = None if crop is None else crop.get("height")
    if crop is not None and (square is None or square != crop.get("width")):
        return None
    match size:
        case {"shortest_edge": edge, **rest} if square is not None and square <= edge and not any(rest.values()):
            return square, edge
        case {"height": height, "width": width} if height == width and square in (None, height):
            return height, None
    return None


def write(kind: str, mean: tuple[float, ...], std: tuple[float, ...], data: Data) -> dict[str, Any]:
    """The `preprocessor_config.json` of the processor that prepares frames as `data` says.

    Pillow has nothing equal to our "area"; its bilinear filter averages as well, and is 2 of 255 levels off on average.
    """
    code = {name: code for code, name in _FILTERS.items()}.get(data.frame_filter, 2)
    side = {"height": data.frame_size, "width": data.frame_size}
    return {
        "image_processor_type": f"{kind}ImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": side if data.frame_resize is None else {"shortest_edge": data.frame_resize},
        "resample": code,
        "do_center_crop": data.frame_resize is not None,
        "crop_size": side,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
    }


def normalise(video: Array, mean: tuple[float, ...], std: tuple[float, ...], dtype: jnp.dtype) -> Array:
    """Frames u8[... 3] -> [... 3] of mean 0 and deviation 1 over the images that the encoder was trained on."""
    x = video.astype(jnp.float32) / 255
    return ((x - beside(x, jnp.array(mean))) / beside(x, jnp.array(std))).astype(dtype)
