"""Features in files are those of the encoders: each clip's once, whatever batch it was in or kill it came after; and
what was made otherwise, cut off or altered is refused."""

import dataclasses
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from feature_clips import FREEZE, make_clips, with_data
from safetensors.numpy import load_file, safe_open

from emojax import presets, pretrained, sharding
from emojax.config import Config, ConfigError
from emojax.data.clips import Clip, read_manifest
from emojax.data.container import MediaError
from emojax.data.encoding import encoding_batches
from emojax.data.reader import load
from emojax.data.shards import check_clips, open_shards, read
from emojax.decoder import captioner
from emojax.encode import encode
from emojax.encoders import media
from emojax.encoders.stored import streams as cached_streams
from emojax.families import Vit, Wav2Vec2
from emojax.training.cached import check, check_weights
from emojax.training.program import abstract_weights
from emojax.types import Batch, Tree

CFG = presets.load("tiny", FREEZE)
MESH = sharding.make_mesh(CFG, jax.devices()[:1])


@functools.cache
def weights(cfg: Config) -> media.Encoders:
    return pretrained.initial(cfg, abstract_weights(captioner.declare(cfg), MESH)).encoders


def run(cfg: Config, clips: list[Clip], out: Path, encoders: Tree = None, **how: Any) -> dict[str, int]:
    how = {"batch": 4, "file": 8, "mesh": MESH, "progress": lambda done, total: None} | how
    return encode(cfg, encoders or weights(cfg), clips, out, **how)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return read_manifest(make_clips(tmp_path_factory.mktemp("clips")))


@pytest.fixture(scope="module")
def features(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("features") / "all"
    assert run(CFG, clips, out) == {"clips": 40, "broken": 2}
    return out


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """All of a directory; a name that is twice is a clip that was encoded twice."""
    found: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.safetensors")):
        own = load_file(path)
        assert not own.keys() & found.keys()
        found |= own
    return found


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@jax.jit
def alone_features(encoders: media.Encoders, batch: Batch) -> dict[str, tuple[jax.Array, jax.Array]]:
    made = {"audio": media.audio_features, "video": media.video_features}
    return {name: of(encoders, batch, CFG, jnp.dtype("float32")) for name, of in made.items()}


# what is written


def test_every_clip_has_the_features_that_its_encoder_gives_it_alone(clips: list[Clip], features: Path) -> None:
    found, encoders = tensors(features), weights(CFG)
    shards = open_shards(features)
    assert shards is not None
    for clip in clips:
        if clip.id in shards.broken:
            assert not {f"audio/{clip.id}", f"video/{clip.id}"} & found.keys()
            with pytest.raises(MediaError, match=r"cut\.wav"):
                load(clip, CFG.data)
            continue
        work = next(encoding_batches([clip], CFG.data, 1, 1))
        assert (f"audio/{clip.id}" in found) == (clip.audio is not None) == (work.batch.audio_length[0] > 0)
        assert (f"video/{clip.id}" in found) == (clip.video is not None)
        for name, (x, mask) in alone_features(encoders, work.batch).items():
            if f"{name}/{clip.id}" in found:
                alone = np.asarray(x)[np.asarray(mask)]
                np.testing.assert_allclose(found[f"{name}/{clip.id}"], alone, atol=1e-5)
    lengths = {x.shape[0] for name, x in found.items() if name.startswith("audio/")}
    assert len(lengths) > 5, "padding was kept"


def test_every_file_says_what_made_it(features: Path) -> None:
    paths = sorted(features.glob("*.safetensors"))
    assert len(paths) > 4
    for path in paths:
        with safe_open(path, "np") as file:
            about = json.loads((file.metadata() or {})["extractors"])
        assert about["format"] == 1
        assert about["precision"] == about["stored"] == "float32"
        assert about["versions"].keys() >= {"emojax", "jax"}
        audio, video = about["streams"]["audio"], about["streams"]["video"]
        assert (audio["family"], audio["width"], audio["mels"], audio["data.audio_seconds[-1]"]) == (
            "AudioEncoder",
            16,
            20,
            2.0,
        )
        assert (video["data.frames"], video["data.frame_size"], video["data.frame_filter"]) == (2, 16, "area")
        assert len(audio["sha256"]) == len(video["sha256"]) == 64
        assert audio["sha256"] != video["sha256"]


@pytest.mark.parametrize("stored", ["bfloat16", "float16"])
def test_half_types_round_and_say_so(stored: str, clips: list[Clip], features: Path, tmp_path: Path) -> None:
    run(CFG, clips[:8], tmp_path / "half", stored=stored)
    whole, half = tensors(features), tensors(tmp_path / "half")
    assert all(x.dtype == jnp.dtype(stored) for x in half.values())
    assert all(np.array_equal(whole[name].astype(x.dtype), x) for name, x in half.items())
    with pytest.raises(ConfigError, match=f"stored: '{stored}' there, 'float32' wanted"):
        run(CFG, clips, tmp_path / "half")


def test_what_float16_cannot_hold_is_refused(clips: list[Clip], tmp_path: Path) -> None:
    encoders = weights(CFG)
    large = jax.tree.map(lambda w: w * 1e6, encoders.audio.transformer.norm)
    loud = encoders.replace(audio=encoders.audio.replace(transformer=encoders.audio.transformer.replace(norm=large)))
    with pytest.raises(ValueError, match="audio features are not finite in float16"):
        run(CFG, clips, tmp_path / "loud", loud, stored="float16")


# killed


class Killed(BaseException):
    pass


@pytest.mark.parametrize("files", [1, 4])
def test_what_a_kill_leaves_is_gone_on_with(files: int, clips: list[Clip], features: Path, tmp_path: Path) -> None:
    out, written = tmp_path / "killed", []

    def kill(done: int, total: int) -> None:
        written.append(done)
        if len(written) == files:
            (out / "features-000099.safetensors.new").write_bytes(b"half")  # as a kill in the midst of writing leaves
            raise Killed

    with pytest.raises(Killed):
        run(CFG, clips, out, progress=kill)
    before = tensors(out)
    assert 0 < len(before) < len(tensors(features))
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*.safetensors")}
    assert run(CFG, clips, out)["clips"] == 40 - written[-1]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert same(tensors(out), tensors(features))
    assert run(CFG, clips, out) == {"clips": 0, "broken": 0}
    broken = [shards.broken for shards in (open_shards(out), open_shards(features)) if shards]
    assert broken[0] == broken[1]
    assert len(broken[0]) == 2


@pytest.mark.slow
def test_killed_by_the_system_at_any_moment(clips: list[Clip], features: Path, tmp_path: Path) -> None:
    assert clips[0].audio is not None
    manifest = next(p for p in clips[0].audio.parents if (p / "manifest.jsonl").exists() and p.name != "corpus")
    command = [sys.executable, "-m", "emojax.cli", "encode", "--config", "tiny", "--out", str(tmp_path / "out")]
    command += ["--manifest", str(manifest / "manifest.jsonl"), "--batch-size", "4", "--file", "8"]
    command += [f"--set={item}" for item in FREEZE]
    env = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    for files in (1, 3):
        process = subprocess.Popen(command, env=env)
        while process.poll() is None and len(list((tmp_path / "out").glob("*.safetensors"))) < files:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, env=env, check=False).returncode == 0
    a, b = tensors(tmp_path / "out"), tensors(features)
    assert a.keys() == b.keys()
    assert max(np.abs(a[name] - b[name]).max(initial=0) for name in a) < 1e-5


def test_a_mended_file_is_encoded_when_it_is_asked_for(clips: list[Clip], features: Path, tmp_path: Path) -> None:
    shutil.copytree(features, tmp_path / "mended")
    mended = [
        dataclasses.replace(c, audio=clips[0].audio, seconds=None) if c.audio == clips[14].audio else c for c in clips
    ]
    assert run(CFG, mended, tmp_path / "mended") == {"clips": 0, "broken": 0}
    assert run(CFG, mended, tmp_path / "mended", retry=True) == {"clips": 2, "broken": 0}
    shards = open_shards(tmp_path / "mended")
    assert shards is not None
    assert not shards.broken
    check_clips(shards, clips)


def test_a_stream_that_is_given_later_is_encoded_then(clips: list[Clip], tmp_path: Path) -> None:
    both = [clip for clip in clips[:14] if clip.audio and clip.video]
    blind = [dataclasses.replace(clip, video=None) for clip in both]
    run(CFG, blind, tmp_path / "blind")
    shards = open_shards(tmp_path / "blind")
    assert shards is not None
    with pytest.raises(ConfigError, match=rf"lacks {len(both)} of {len(both)} clips.*: {both[0].id} \(its video was"):
        check_clips(shards, both)
    check_clips(shards, blind)
    with pytest.raises(ConfigError, match=rf"lacks 1 of 1 clips, the first: {clips[1].id} \(it was not encoded\)"):
        check_clips(shards, clips[1:2])
    assert run(CFG, both, tmp_path / "blind")["clips"] == len(both)
    shards = open_shards(tmp_path / "blind")
    assert shards is not None
    check_clips(shards, both)


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
        check(with_data(presets.override(CFG, [item]), features=str(features)), "sft")
    assert str(refused.value).count(" wanted") == 1
    assert "emojax encode" in str(refused.value)


@pytest.mark.parametrize("item", ["audio.tokens=5", "audio_seconds=1.5,2.0", "caption_tokens=9", "decoder.width=64"])
def test_what_features_do_not_depend_on_may_differ(item: str, features: Path) -> None:
    assert check(with_data(presets.override(CFG, [item]), features=str(features)), "sft")


def test_another_extractor_is_refused(features: Path) -> None:
    for field, part in (("audio", Wav2Vec2(width=16, heads=2)), ("video", Vit(image_size=16, width=16, heads=2))):
        cfg = dataclasses.replace(CFG, model=dataclasses.replace(CFG.model, **{field: part}))
        was = type(getattr(CFG.model, field)).__name__
        with pytest.raises(ConfigError, match=f"{field}.family: '{was}' there, '{type(part).__name__}' wanted") as e:
            check(with_data(cfg, features=str(features)))
        assert str(e.value).count(" wanted") == 1


@pytest.mark.parametrize("stream", ["audio", "video"])
def test_other_weights_are_refused(stream: str, features: Path) -> None:
    cfg = with_data(CFG, features=str(features))
    shards, encoders = check(cfg), weights(CFG)
    check_weights(shards, encoders, cfg)
    part = getattr(encoders, stream)
    leaves, form = jax.tree.flatten(part)
    leaves[-1] = leaves[-1].at[0].add(1e-6)
    other = encoders.replace(**{stream: jax.tree.unflatten(form, leaves)})
    with pytest.raises(ConfigError, match=f"{stream}.sha256: '[0-9a-f]+' there, '[0-9a-f]+' wanted"):
        check_weights(shards, other, cfg)


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
        check(cfg, "sft")
    if item.startswith("sft"):
        assert check(cfg, "grpo"), "Emo-GRPO trains no encoder"
        deaf = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, video=None))
        assert cached_streams(deaf) == ("audio",)


def test_a_mix_of_layers_that_is_trained_cannot_be_read(clips: list[Clip], tmp_path: Path) -> None:
    hears = Wav2Vec2(
        conv_width=(8, 8, 8), conv_kernel=(10, 8, 4), conv_stride=(10, 8, 4), width=12, layers=2, heads=2, ff=16,
        position_kernel=4, position_groups=2, layer=None,
    )  # fmt: skip
    cfg = dataclasses.replace(CFG, model=dataclasses.replace(CFG.model, audio=hears, video=None))
    run(cfg, clips[:4], tmp_path / "mix")
    cfg = with_data(cfg, features=str(tmp_path / "mix"))
    assert check(cfg, "grpo")
    assert check(presets.override(cfg, ["sft.freeze=encoders.audio"]), "sft")
    with pytest.raises(ConfigError, match=r"trains encoders\.audio\.mix, .*set audio\.layer to a number"):
        check(presets.override(cfg, ["sft.freeze=encoders.audio.backbone"]), "sft")


# damaged


def damaged(features: Path, tmp_path: Path) -> Path:
    shutil.copytree(features, tmp_path / "damaged")
    return sorted((tmp_path / "damaged").glob("*.safetensors"))[1]


@pytest.mark.parametrize("left", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(left: float, features: Path, tmp_path: Path) -> None:
    path = damaged(features, tmp_path)
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: not a whole safetensors file .*encode"):
        check(with_data(CFG, features=str(path.parent)))


def test_a_byte_that_is_altered_is_refused(clips: list[Clip], features: Path, tmp_path: Path) -> None:
    path = damaged(features, tmp_path)
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    shards = open_shards(path.parent)
    assert shards is not None
    refused = []
    for clip in clips:
        if clip.id in shards.clips:
            for stream in shards.clips[clip.id][1].digests:
                try:
                    read(shards, clip, stream, 16)
                except ValueError as e:
                    refused.append(str(e))
    assert len(refused) == 1
    assert f"{path}: the " in refused[0]


def test_files_that_do_not_belong_together_are_refused(clips: list[Clip], features: Path, tmp_path: Path) -> None:
    path = damaged(features, tmp_path)
    other = presets.override(CFG, ["seed=1"])
    run(other, clips[:4], tmp_path / "other")
    shutil.copy(tmp_path / "other" / "features-000000.safetensors", path)
    with pytest.raises(ValueError, match=r"was made otherwise than features-000000.*\n  audio\.sha256"):
        open_shards(path.parent)
    with pytest.raises(ConfigError, match=r"holds features that were made otherwise.*\n  audio\.sha256"):
        run(other, clips, features)


def test_what_is_no_directory_of_features_is_left_alone(clips: list[Clip], tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ConfigError, match="holds something that is no features"):
        run(CFG, clips, tmp_path)
