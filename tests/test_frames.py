"""Frames reach a published encoder as its own image processor would have made them."""

import json
import struct
from pathlib import Path
from typing import Any

import av
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.config import ConfigError, Data
from emojax.data.clips import Clip
from emojax.data.reader import load
from emojax.data.video import decode_video, fit
from emojax.encoders import pixels, videomae, vit

transformers = pytest.importorskip("transformers")

SHAPES = [(37, 53), (53, 37), (24, 24), (91, 40), (40, 91), (11, 17), (200, 31)]  # height, width
SQUARE = {"height": 30, "width": 30}
MODELS = {
    "clip": (vit, {"model_type": "clip_vision_model", "image_size": 24, "patch_size": 6}),
    "vit": (vit, {"model_type": "vit", "image_size": 30, "patch_size": 6}),
    "dinov2": (vit, {"model_type": "dinov2", "image_size": 40, "patch_size": 5}),
    "siglip": (vit, {"model_type": "siglip_vision_model", "image_size": 30, "patch_size": 6}),
    "videomae": (videomae, {"model_type": "videomae", "image_size": 24, "patch_size": 6}),
}
PROCESSORS = [  # model, processor, what its file says
    ("clip", "CLIP", {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}),
    ("clip", "CLIP", {"size": {"shortest_edge": 31}, "crop_size": 24, "resample": 2}),
    ("clip", "CLIP", {"size": {"height": 24, "width": 24}, "do_center_crop": False}),
    ("vit", "ViT", {"size": SQUARE}),
    ("vit", "ViT", {"size": SQUARE, "resample": 3, "do_normalize": False}),
    ("dinov2", "Bit", {"size": {"shortest_edge": 28}, "crop_size": {"height": 25, "width": 25}}),
    ("clip", "ChineseCLIP", {"size": {"shortest_edge": 26}, "crop_size": {"height": 24, "width": 24}}),
    ("siglip", "Siglip", {"size": SQUARE}),
    ("siglip", "Siglip", {"size": SQUARE, "resample": 2}),  # SigLIP 2
    ("videomae", "VideoMAE", {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}),
    ("videomae", "VideoMAE", {"size": {"shortest_edge": 27}, "crop_size": 24, "image_mean": [0.4, 0.5, 0.6]}),
]


def picture(height: int, width: int) -> np.ndarray:
    """Noise upon a slope: both fine and coarse."""
    r = np.random.default_rng(height * width)
    slope = np.linspace(0, 150, height)[:, None, None] + np.linspace(0, 50, width)[:, None] + np.array([0, 20, 40])
    return (slope + r.integers(0, 60, (height, width, 3))).clip(0, 255).astype(np.uint8)


def processor(kind: str, options: dict) -> Any:
    """The one of transformers that works by Pillow."""
    name = kind.lower().replace("chineseclip", "chinese_clip")
    module = f"transformers.models.{name}.image_processing_pil_{name}"
    return getattr(__import__(module, fromlist=["_"]), f"{kind}ImageProcessorPil")(**options)


def theirs(made: Any, kind: str, frames: list[np.ndarray]) -> np.ndarray:
    """f32[S height width 3]"""
    out = made([frames] if kind == "VideoMAE" else frames, return_tensors="np")["pixel_values"]
    return np.moveaxis(np.asarray(out[0] if kind == "VideoMAE" else out), 1, -1)


@pytest.mark.parametrize(("model", "kind", "options"), PROCESSORS)
def test_frames_equal_those_of_the_image_processor(tmp_path: Path, model: str, kind: str, options: dict) -> None:
    family, config = MODELS[model]
    made = processor(kind, options)
    made.save_pretrained(tmp_path / "theirs")
    preprocessor = json.loads((tmp_path / "theirs/preprocessor_config.json").read_text())
    cfg = family.config(config, preprocessor)
    data = Data(**family.frames(cfg, preprocessor))
    assert data.frame_size == cfg.image_size
    assert data.frame_filter != "area"
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(family.preprocessor_json(cfg, data)))
    again = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    for height, width in SHAPES:
        frames = [picture(height, width), picture(height, width)[::-1].copy()]
        small = np.stack([fit(f, data.frame_size, data.frame_resize, data.frame_filter) for f in frames])
        ours = pixels.normalise(jnp.asarray(small), cfg.mean, cfg.std, jnp.float32)
        for one in (made, again):
            np.testing.assert_allclose(ours, theirs(one, kind, frames), atol=1e-5)

    written = family.preprocessor_json(cfg, data)
    assert family.config(family.to_json(cfg), written) == cfg
    assert Data(**family.frames(cfg, written)) == data


def test_area_is_written_as_the_filter_nearest_to_it() -> None:
    cfg = vit.config(*MODELS["clip"][1:], {})
    written = vit.preprocessor_json(cfg, Data(frame_size=24))
    assert vit.frames(cfg, written) == {"frame_size": 24, "frame_resize": None, "frame_filter": "bilinear"}


def test_both_spellings_of_a_file_say_the_same() -> None:
    new = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 26},
        "crop_size": {"height": 24, "width": 24},
        "do_convert_rgb": True,
        "rescale_factor": 0.00392156862745098,
    }
    old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 26, "crop_size": 24, "do_center_crop": True}
    fast = new | {"image_processor_type": "CLIPImageProcessorFast", "do_pad": None, "input_data_format": None}
    expected = pixels.Pixels(
        24, 26, "bicubic", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    )
    assert pixels.read(new, "ViT", 99) == pixels.read(old, "ViT", 99) == pixels.read(fast, "ViT", 99) == expected
    halves = (0.5, 0.5, 0.5)
    assert pixels.read({"size": 30}, "ViT", 99) == pixels.Pixels(30, None, "bilinear", halves, halves)
    assert pixels.read({"size": 30, "crop_size": 28}, "VideoMAE", 99) == pixels.Pixels(
        28, 30, "bilinear", halves, halves
    )
    assert pixels.read({"image_mean": [0.1, 0.2, 0.3]}, "Bit", 99).size == 224
    for kind, resize in (("CLIP", 99), ("Bit", 99), ("VideoMAE", 99), ("ViT", None)):  # no file at all
        assert (pixels.read({}, kind, 99).size, pixels.read({}, kind, 99).resize) == (99, resize)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"do_resize": False, "do_rescale": False}, "do_resize=False.*do_rescale=False"),
        ({"resample": 1}, "resample=1 "),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor=0.0078"),
        ({"do_pad": True}, "do_pad=True"),
        ({"image_mean": 0.5}, "image_mean=0.5"),
        ({"image_processor_type": "DeiTImageProcessor"}, "image_processor_type='DeiTImageProcessor'"),
        ({"size": {"shortest_edge": 20}}, "size={'shortest_edge': 20}, do_center_crop=True, crop_size=24"),
        ({"do_center_crop": False}, "do_center_crop=False"),
        ({"crop_size": {"height": 20, "width": 24}}, "crop_size={'height': 20, 'width': 24}"),
        ({"size": {"shortest_edge": 26, "longest_edge": 40}}, "'longest_edge': 40"),
        ({"size": {"height": 26, "width": 26}}, "size={'height': 26, 'width': 26}"),
        ({"size": {"height": 26, "width": 24}, "do_center_crop": False}, "size={'height': 26, 'width': 24}"),
    ],
)
def test_options_that_are_not_implemented_are_named(options: dict, message: str) -> None:
    sound = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 26}, "crop_size": 24}
    pixels.read(sound, "CLIP", 24)
    with pytest.raises(ValueError, match=message):
        pixels.read(sound | options, "CLIP", 24)


def film(path: Path, frame: np.ndarray) -> None:
    """A video of one picture, without loss but for its colours."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=12, options={"crf": "0"})
        stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "yuv444p"
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        out.mux(stream.encode())


def turn(path: Path, matrix: tuple[int, ...]) -> None:
    """Writes a rotation into the file, as a phone does."""
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (m << 16 for m in matrix)
    data = path.read_bytes()
    at = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :])


@pytest.mark.parametrize(
    ("matrix", "turns"), [((1, 0, 0, 1), 0), ((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)]
)
@pytest.mark.parametrize(
    ("size", "resize", "filter"), [(24, 31, "bicubic"), (32, None, "bilinear"), (24, 24, "bilinear")]
)
def test_a_video_is_turned_upright_then_prepared(
    tmp_path: Path, matrix: tuple[int, ...], turns: int, size: int, resize: int | None, filter: Any
) -> None:
    frame = picture(48, 80)
    film(tmp_path / "film.mp4", frame)
    if turns:
        turn(tmp_path / "film.mp4", matrix)
    got = decode_video(tmp_path / "film.mp4", 4, size, resize, filter)
    assert got is not None
    assert (got.shape, got.dtype) == ((4, size, size, 3), np.uint8)
    for shown in got:
        difference = np.abs(shown.astype(int) - fit(np.rot90(frame, turns), size, resize, filter))
        assert difference.max() <= 4  # of the colours' way through yuv
    wrong_way = np.rot90(fit(frame, size, resize, filter), turns + 1)
    assert np.abs(got[0].astype(int) - wrong_way).max() > 20


@pytest.mark.parametrize("turns", [0, 1])
def test_area_averages_with_a_crop_and_squeezes_without(tmp_path: Path, turns: int) -> None:
    frame = np.zeros((48, 96, 3), np.uint8)
    frame[:, 24:72], frame[:24] = (200, 100, 0), frame[:24]
    frame[:24] = frame[:24] // 2
    film(tmp_path / "film.mp4", frame)
    if turns:
        turn(tmp_path / "film.mp4", (0, -1, 1, 0))
    squeezed, cut = (decode_video(tmp_path / "film.mp4", 1, 16, resize) for resize in (None, 16))
    assert squeezed is not None
    assert cut is not None
    squeezed, cut = np.rot90(squeezed[0], -turns).astype(int), np.rot90(cut[0], -turns).astype(int)
    np.testing.assert_allclose(squeezed, frame.reshape(16, 3, 16, 6, 3).mean((1, 3)), atol=4)
    np.testing.assert_allclose(cut, frame[:, 24:72].reshape(16, 3, 16, 3, 3).mean((1, 3)), atol=4)


def test_the_configuration_decides_how_clips_are_loaded(tmp_path: Path) -> None:
    film(tmp_path / "film.mp4", picture(40, 64))
    clip = Clip("c", video=tmp_path / "film.mp4")
    squeeze = Data(frames=2, frame_size=16)
    for cfg, expected in (
        (squeeze, (16,)),
        (Data(frames=2, frame_size=16, frame_resize=20, frame_filter="bicubic"), (16, 20, "bicubic")),
    ):
        np.testing.assert_array_equal(load(clip, cfg).video, decode_video(tmp_path / "film.mp4", 2, *expected))
    with pytest.raises(ConfigError, match=r"frame_resize wants none or at least data\.frame_size=32, got 31"):
        Data(frame_size=32, frame_resize=31)
