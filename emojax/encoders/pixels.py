"""What a published image processor does to a frame: its `preprocessor_config.json`, and its normalisation.

The host resizes and crops (`emojax/data/video.py`), by Pillow as the processor does; the program normalises.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp

from emojax.config import Data
from emojax.types import Array

Filter = Literal["bilinear", "bicubic"]
_FILTERS: dict[int, Filter] = {2: "bilinear", 3: "bicubic"}  # by Pillow's codes
_CLIP = {
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "crop_size": 224,
    "resample": 3,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
_HALVES = {"resample": 2, "image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
_DEFAULTS: dict[str, dict[str, Any]] = {  # of the processors, by what their names begin with
    "CLIP": _CLIP,
    "Bit": _CLIP,  # DINOv2's
    "ViT": _HALVES | {"size": {"height": 224, "width": 224}, "do_center_crop": False},
    "VideoMAE": _CLIP | _HALVES,
}
_STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")


@dataclass(frozen=True)
class Pixels:
    size: int  # pixels, height and width of a frame that the encoder reads
    resize: int | None  # pixels of the shortest edge before the centre crop; None: squeezed to a square
    filter: Filter
    mean: tuple[float, ...]  # of the channels, 0..1
    std: tuple[float, ...]


def read(json: Mapping[str, Any], kind: str, size: int) -> Pixels:
    """From a `preprocessor_config.json`; without one (an empty `json`) frames get the size the model was made for.

    Args:
      kind: "CLIP", "Bit", "ViT" or "VideoMAE": the processor where the file does not name it.
      size: pixels, the `image_size` of the model.
    Raises:
      ValueError: names every option that is not implemented.
    """
    processor = json.get("image_processor_type") or json.get("feature_extractor_type") or f"{kind}ImageProcessor"
    name = re.sub("(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", processor)
    defaults = _DEFAULTS.get(name, _DEFAULTS[kind])
    given = {key: value for key, value in json.items() if value is not None} if json else {"size": size}
    options: dict[str, Any] = {"do_resize": True, "do_rescale": True, "do_normalize": True} | defaults | given
    if not json:
        options["crop_size"] = size
    wrong = [] if name in _DEFAULTS else [f"image_processor_type={processor!r} (implemented: {', '.join(_DEFAULTS)})"]
    wrong += [f"{step}=False (implemented: True)" for step in ("do_resize", "do_rescale") if not options[step]]
    wrong += [f"{step}={on!r}" for step, on in options.items() if step[:3] == "do_" and on and step not in _STEPS]
    if abs(255 * options.get("rescale_factor", 1 / 255) - 1) > 1e-6:
        wrong.append(f"rescale_factor={options['rescale_factor']} (implemented: 1/255)")
    if options["resample"] not in _FILTERS:
        wrong.append(f"resample={options['resample']!r} (implemented: 2, bilinear, and 3, bicubic)")
    if not options["do_normalize"]:
        options |= {"image_mean": (0.0, 0.0, 0.0), "image_std": (1.0, 1.0, 1.0)}
    for key in ("image_mean", "image_std"):
        if not isinstance(options[key], list | tuple) or len(options[key]) != 3:
            wrong.append(f"{key}={options[key]!r} (implemented: three numbers)")
    shape = _shape(options, squeezes=name == "ViT")
    if shape is None:
        found = ", ".join(f"{key}={options.get(key)!r}" for key in ("size", "do_center_crop", "crop_size"))
        wrong.append(f"{found} (implemented: a shortest edge and a square crop no larger, or a square)")
    if wrong or shape is None:
        raise ValueError(f"this image processor is not supported: {'; '.join(wrong)}")
    return Pixels(
        size=shape[0],
        resize=shape[1],
        filter=_FILTERS[options["resample"]],
        mean=tuple(options["image_mean"]),
        std=tuple(options["image_std"]),
    )


def _shape(options: Mapping[str, Any], squeezes: bool) -> tuple[int, int | None] | None:
    """Pixels of a frame, and of the shortest edge before it is cropped; None: not implemented."""
    size, crop = (
        {"height": n, "width": n} if isinstance(n, int) else n
        for n in (options["size"], options.get("crop_size") if options["do_center_crop"] else None)
    )
    if isinstance(options["size"], int) and not squeezes:
        size = {"shortest_edge": options["size"]}
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
    """u8[... 3] -> [... 3] of mean 0 and deviation 1 over the images that the encoder was trained on."""
    x = video.astype(jnp.float32) / 255
    return ((x - jnp.array(mean)) / jnp.array(std)).astype(dtype)
