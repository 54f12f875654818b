"""Features in files of other settings, cut off or altered are refused, and the error says what differs."""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import pytest

from emojax.config import ConfigError, VitConfig, Wav2Vec2Config, family, presets
from emojax.data.clips import Clip, read_manifest
from emojax.data.feature_files import open_features, read_features
from emojax.encoders.features import streams
from emojax.training.features import check_features, check_weights, extractors
from support.feature_clips import CFG, make_clips, run, weights, with_data


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return read_manifest(make_clips(tmp_path_factory.mktemp("clips")))


@pytest.fixture(scope="module")
def features(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("features") / "all"
    assert run(CFG, clips, out) == {"clips": 40, "broken": 2}
    return out


# refused

OTHERWISE = [
    ("audio.layers=2", r"audio\.layers: 1 there, 2 wanted"),
    ("audio.mels=24", r"audio\.mels: 20 there, 24 wanted"),
    ("video.width=20", r"video\.width: 16 there, 20 wanted"),
    ("audio_seconds=1.0,1.5", r"audio\.data\.audio_seconds\[-1\]: 2\.0 there, 1\.5 wanted"),
    ("frames=3", r"video\.data\.frames: 2 there, 3 wanted"),
    ("data.frame_size=24", r"video\.data\.frame_size: 16 there, 24 wanted"),
    ("frame_resize=40", r"video\.data\.frame_resize: None there, 40 wanted"),
    ("frame_filter=bicubic", r"video\.data\.frame_filter: 'area' there, 'bicubic' wanted"),
    ("precision=bfloat16", r"precision: 'float32' there, 'bfloat16' wanted"),
    ("frozen_precision=bfloat16", r"frozen_precision: 'float32' there, 'bfloat16' wanted"),
]


@pytest.mark.parametrize(("item", "message"), OTHERWISE)
def test_other_settings_are_refused_by_name(item: str, message: str, features: Path) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        check_features(with_data(presets.override(CFG, [item]), features=str(features)), "sft")
    assert str(refused.value).count(" wanted") == 1
    assert "emojax encode" in str(refused.value)


@pytest.mark.parametrize("item", ["audio.tokens=5", "audio_seconds=1.5,2.0", "caption_tokens=9", "decoder.width=64"])
def test_what_features_do_not_depend_on_may_differ(item: str, features: Path) -> None:
    assert check_features(with_data(presets.override(CFG, [item]), features=str(features)), "sft")


def test_another_extractor_is_refused(features: Path) -> None:
    for field, part in (
        ("audio", Wav2Vec2Config(width=16, heads=2)),
        ("video", VitConfig(image_size=16, width=16, heads=2)),
    ):
        cfg = dataclasses.replace(CFG, model=dataclasses.replace(CFG.model, **{field: part}))
        was = family(getattr(CFG.model, field))
        with pytest.raises(ConfigError, match=f"{field}.family: '{was}' there, '{family(part)}' wanted") as e:
            check_features(with_data(cfg, features=str(features)))
        assert str(e.value).count(" wanted") == 1


@pytest.mark.parametrize("stream", ["audio", "video"])
def test_other_weights_are_refused(stream: str, features: Path) -> None:
    cfg = with_data(CFG, features=str(features))
    folder = check_features(cfg)
    encoders: Any = weights(CFG)
    check_weights(folder, encoders, cfg)
    part = getattr(encoders, stream)
    leaves, form = jax.tree.flatten(part)
    leaves[-1] = leaves[-1].at[0].add(1e-6)
    other = encoders.replace(**{stream: jax.tree.unflatten(form, leaves)})
    with pytest.raises(ConfigError, match=f"{stream}.sha256: '[0-9a-f]+' there, '[0-9a-f]+' wanted"):
        check_weights(folder, other, cfg)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("sft.freeze=encoders.audio", r"trains encoders\.video\.\S+, but .*; add encoders.video to sft.freeze"),
        ("sft.freeze=", r"trains encoders\.audio\.\S+, but .*; add encoders.audio to sft.freeze"),
        ("data.features=/nowhere", "/nowhere holds no features; `emojax encode --out /nowhere`"),
    ],
)
def test_an_encoder_that_is_trained_cannot_be_read(item: str, message: str, features: Path) -> None:
    cfg = presets.override(with_data(CFG, features=str(features)), [item])
    with pytest.raises(ConfigError, match=message):
        check_features(cfg, "sft")
    if item.startswith("sft"):
        assert check_features(cfg, "grpo"), "Emo-GRPO trains no encoder"
        deaf = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, video=None))
        assert streams(deaf) == ("audio",)


def test_a_mix_of_layers_that_is_trained_cannot_be_read(clips: list[Clip], tmp_path: Path) -> None:
    hears = Wav2Vec2Config(
        conv_width=(8, 8, 8), conv_kernel=(10, 8, 4), conv_stride=(10, 8, 4), width=12, layers=2, heads=2, ff=16,
        position_kernel=4, position_groups=2, layer=None,
    )  # fmt: skip
    cfg = dataclasses.replace(CFG, model=dataclasses.replace(CFG.model, audio=hears, video=None))
    run(cfg, clips[:4], tmp_path / "mix")
    cfg = with_data(cfg, features=str(tmp_path / "mix"))
    assert check_features(cfg, "grpo")
    assert check_features(presets.override(cfg, ["sft.freeze=encoders.audio"]), "sft")
    with pytest.raises(ConfigError, match=r"trains encoders\.audio\.mix, .*set audio\.layer to a number"):
        check_features(presets.override(cfg, ["sft.freeze=encoders.audio.backbone"]), "sft")


# damaged


def damaged(features: Path, tmp_path: Path) -> Path:
    shutil.copytree(features, tmp_path / "damaged")
    return sorted((tmp_path / "damaged").glob("*.safetensors"))[1]


@pytest.mark.parametrize("left", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(left: float, features: Path, tmp_path: Path) -> None:
    path = damaged(features, tmp_path)
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: not a whole safetensors file .*encode"):
        check_features(with_data(CFG, features=str(path.parent)))


def test_a_byte_that_is_altered_is_refused(clips: list[Clip], features: Path, tmp_path: Path) -> None:
    path = damaged(features, tmp_path)
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    folder = open_features(path.parent)
    assert folder is not None
    refused = []
    for clip in clips:
        if clip.id in folder.clips:
            for stream in folder.clips[clip.id][1].digests:
                try:
                    read_features(folder, clip, stream, 16)
                except ValueError as e:
                    refused.append(str(e))
    assert len(refused) == 1
    assert f"{path}: the " in refused[0]


def test_files_that_do_not_belong_together_are_refused(clips: list[Clip], features: Path, tmp_path: Path) -> None:
    path = damaged(features, tmp_path)
    other = presets.override(CFG, ["seed=1"])
    run(other, clips[:4], tmp_path / "other")
    shutil.copy(tmp_path / "other" / "features-000000.safetensors", path)
    with pytest.raises(ValueError, match=r"differs from features-000000.*\n  audio\.sha256"):
        open_features(path.parent)
    with pytest.raises(ConfigError, match=r"holds features that differ from these.*\n  audio\.sha256"):
        run(other, clips, features)


def test_what_is_no_directory_of_features_is_left_alone(clips: list[Clip], tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ConfigError, match="holds something that is no features"):
        run(CFG, clips, tmp_path)


def test_features_of_an_encoder_older_than_a_field_of_it_are_read() -> None:
    """What was not to be set then is not among what must be equal, unless it is set."""
    for part, field, other in (("video", "registers", 2), ("audio", "position_layers", 3)):
        made = {"audio": Wav2Vec2Config(), "video": VitConfig(image_size=16)}
        for parts, told in ((made, False), (made | {part: dataclasses.replace(made[part], **{field: other})}, True)):
            cfg = dataclasses.replace(CFG, model=dataclasses.replace(CFG.model, **parts))
            assert (field in extractors(cfg, (part,))["streams"][part]) is told
