"""Features in files are those of the encoders: each clip's once, whatever batch it was in or kill it came after."""

import dataclasses
import json
import os
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
from safetensors import safe_open
from safetensors.numpy import load_file

from emojax.config import ConfigError
from emojax.data.clips import Clip, read_manifest
from emojax.data.container import MediaError
from emojax.data.encoding import encoding_batches
from emojax.data.feature_files import check_clips, open_features
from emojax.data.reader import load
from emojax.encoders import media
from emojax.types import Batch
from support.feature_clips import CFG, FREEZE, make_clips, run, weights
from support.xla_flags import CHEAP


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
    folder = open_features(features)
    assert folder is not None
    for clip in clips:
        if clip.id in folder.broken:
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
            "MelEncoder",
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
    encoders: Any = weights(CFG)
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
    broken = [found.broken for found in (open_features(out), open_features(features)) if found]
    assert broken[0] == broken[1]
    assert len(broken[0]) == 2


@pytest.mark.slow
def test_killed_by_the_system_at_any_moment(clips: list[Clip], features: Path, tmp_path: Path) -> None:
    assert clips[0].audio is not None
    manifest = next(p for p in clips[0].audio.parents if (p / "manifest.jsonl").exists() and p.name != "corpus")
    command = [sys.executable, "-m", "emojax.cli", "encode", "--config", "tiny", "--out", str(tmp_path / "out")]
    command += ["--manifest", str(manifest / "manifest.jsonl"), "--batch-size", "4", "--file", "8"]
    command += [f"--set={item}" for item in FREEZE]
    env = {**os.environ, "XLA_FLAGS": CHEAP}
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
    folder = open_features(tmp_path / "mended")
    assert folder is not None
    assert not folder.broken
    check_clips(folder, clips)


def test_a_stream_that_is_given_later_is_encoded_then(clips: list[Clip], tmp_path: Path) -> None:
    both = [clip for clip in clips[:14] if clip.audio and clip.video]
    blind = [dataclasses.replace(clip, video=None) for clip in both]
    run(CFG, blind, tmp_path / "blind")
    folder = open_features(tmp_path / "blind")
    assert folder is not None
    with pytest.raises(ConfigError, match=rf"lacks {len(both)} of {len(both)} clips.*: {both[0].id} \(its video was"):
        check_clips(folder, both)
    check_clips(folder, blind)
    with pytest.raises(ConfigError, match=rf"lacks 1 of 1 clips, the first: {clips[1].id} \(it was not encoded\)"):
        check_clips(folder, clips[1:2])
    assert run(CFG, both, tmp_path / "blind")["clips"] == len(both)
    folder = open_features(tmp_path / "blind")
    assert folder is not None
    check_clips(folder, both)
