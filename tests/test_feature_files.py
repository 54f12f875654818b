"""Files of features that somebody else's extractor made, as EmotionTalk's code lays them out: -FRA a row a frame, -UTT
a vector a clip."""

import dataclasses
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax import param
from emojax.config import Config, ConfigError, FeatureFilesConfig, presets
from emojax.data.batches import Batching, training_batches
from emojax.data.clips import Clip, read_manifest, write_manifest
from emojax.data.features import read_npy
from emojax.data.text import train_tokenizer
from emojax.decoder import captioner
from emojax.encoders import media
from emojax.export import directory
from emojax.parallel import sharding
from emojax.planning import flops
from emojax.training import exported
from emojax.training.features import check_features, feature_source
from emojax.training.program import sft_program
from emojax.types import Batch
from support.feature_clips import with_data

TINY = presets.load("tiny", ["sft.batch=4", "audio_seconds=1.0,2.0"])
TOKENIZER = train_tokenizer(["a calm low voice"], 384)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips with 1, 3, ... 9 frames of width 11, and a vector of width 6."""
    at, r = tmp_path_factory.mktemp("features"), np.random.default_rng(0)
    for name in ("hubert-FRA", "clip-UTT"):
        (at / name).mkdir()
    for i in range(5):
        np.save(at / "hubert-FRA" / f"c{i}.npy", r.normal(size=(2 * i + 1, 11)).astype(np.float32))
        np.save(at / "clip-UTT" / f"c{i}.npy", r.normal(size=6))  # float64, as numpy makes them
    return at


def config(folder: Path) -> Config:
    hears = FeatureFilesConfig(width=11, positions=6, path=str(folder / "hubert-FRA"), tokens=3)
    sees = FeatureFilesConfig(width=6, positions=2, path=str(folder / "clip-UTT"), tokens=1)
    return dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, audio=hears, video=sees))


def clips(folder: Path) -> list[Clip]:
    """Their media are never opened; the last has no video."""
    some = folder / "not opened.mp4"
    made = [Clip(f"c{i}", audio=some, video=some if i < 4 else None, captions=("a calm voice",)) for i in range(5)]
    return [*made, Clip("c5", transcript="only words", captions=("words",))]


def batch(cfg: Config, clips: list[Clip], size: int = 6) -> Batch:
    made = training_batches(
        clips,
        TOKENIZER,
        cfg.data,
        Batching(size, 0, 16),
        features=feature_source(cfg, clips, check_features(cfg, "sft")),
    )
    try:
        return next(made)
    finally:
        made.close()


def test_frames_and_vectors_are_read_cut_and_masked(folder: Path) -> None:
    cfg = config(folder)
    found = batch(cfg, clips(folder))
    assert found.audio.size == found.video.size == 0
    assert found.audio_features is not None
    assert found.video_features is not None
    ids = {zlib.crc32(f"c{i}".encode()): i for i in range(6)}
    for row, clip in enumerate(found.clip_id):
        i = ids[int(clip)]
        n, seen = min(2 * i + 1, 6) if i < 5 else 0, i < 4
        np.testing.assert_array_equal(found.audio_features.mask[row], np.arange(6) < n)
        np.testing.assert_array_equal(found.video_features.mask[row], np.arange(2) < seen)
        assert (found.audio_length[row] > 0) == (n > 0)
        assert found.video_mask[row].all() == seen
        if n:
            frames = np.load(folder / "hubert-FRA" / f"c{i}.npy")
            np.testing.assert_array_equal(found.audio_features.x[row, :n], frames[:n])
        if seen:
            vector = np.load(folder / "clip-UTT" / f"c{i}.npy").astype(np.float32)
            np.testing.assert_array_equal(found.video_features.x[row, 0], vector)


def test_they_become_a_prefix_and_padding_changes_nothing(folder: Path) -> None:
    cfg = config(folder)
    found: Any = batch(cfg, clips(folder))
    encoders = param.init(media.declare(cfg), jax.random.key(0))
    assert encoders.audio is None
    assert encoders.video is None

    @jax.jit
    def prefix(batch: Batch) -> media.Prefix:
        return media.encode(encoders, batch, cfg, jnp.dtype("float32"))

    a = prefix(found)
    assert a.embed.shape[:2] == (6, 3 + 1)
    assert (np.asarray(a.mask)[:, 0] == (found.audio_length > 0)).all()
    longer = found.audio_features.replace(
        x=np.pad(found.audio_features.x, ((0, 0), (0, 5), (0, 0)), constant_values=7.0),
        mask=np.pad(found.audio_features.mask, ((0, 0), (0, 5))),
    )
    b = prefix(found.replace(audio_features=longer))
    np.testing.assert_array_equal(a.mask, b.mask)
    np.testing.assert_allclose(
        np.where(a.mask[..., None], a.embed, 0), np.where(b.mask[..., None], b.embed, 0), atol=1e-6
    )
    deaf = prefix(found.replace(audio_length=np.zeros(6, np.int32)))
    assert not np.asarray(deaf.mask)[:, :3].any()
    np.testing.assert_array_equal(deaf.mask[:, 3:], a.mask[:, 3:])


def test_the_manifest_may_name_the_files_themselves(folder: Path) -> None:
    cfg = config(folder)
    hears = FeatureFilesConfig(width=11, positions=6, tokens=3)
    model = dataclasses.replace(cfg.model, audio=hears, video=None)
    named = [Clip(f"x{i}", audio=folder / "hubert-FRA" / f"c{i}.npy", captions=("a",)) for i in range(4)]
    write_manifest(folder / "named.jsonl", named)
    found = batch(dataclasses.replace(cfg, model=model), read_manifest(folder / "named.jsonl"), 4)
    assert found.audio_features is not None
    assert sorted(found.audio_features.mask.sum(1).tolist()) == [1, 3, 5, 6]
    assert found.video_features is None


def test_programs_and_exports_do_without_an_encoder(folder: Path, tmp_path: Path) -> None:
    cfg = config(folder)
    program = sft_program(cfg, sharding.make_mesh(cfg, jax.devices()[:1]))
    assert "fft" not in program.lower().as_text()
    assert program.batch.audio_features is not None
    assert program.batch.audio_features.x.shape == (4, 6, 11)
    assert flops.audio(cfg, 2.0) == flops.video(cfg) == 0
    assert flops.projector(cfg, "audio", 2.0) == 2 * 3 * 11 * cfg.model.decoder.width
    params = param.init(captioner.declare(cfg), jax.random.key(0))
    directory.write(cfg, params, TOKENIZER, "card", tmp_path / "out")
    back, same, _, _ = exported.read(tmp_path / "out")
    assert back.model.audio == FeatureFilesConfig(width=11, positions=6, tokens=3)
    jax.tree.map(np.testing.assert_array_equal, same.encoders, params.encoders)


WRONG = {
    "width": (np.zeros((4, 12), np.float32), r"got float32 \[4, 12\]; wanted floats \[S 11\] .* or \[11\]"),
    "rank": (np.zeros((1, 4, 11), np.float32), r"got float32 \[1, 4, 11\]"),
    "integers": (np.zeros((4, 11), np.int64), r"got int64 \[4, 11\]"),
    "empty": (np.zeros((0, 11), np.float32), r"got float32 \[0, 11\]"),
    "not finite": (np.full((4, 11), np.nan), "not finite"),
    "too large": (np.full((4, 11), 1e39), "not finite in float32"),
    "pickled": (np.array([None, "x"]), r"got object \[2\]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_such_array_is_refused(name: str, tmp_path: Path) -> None:
    array, message = WRONG[name]
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"a\.npy \(clip 'the id'\).*{message}"):
        read_npy(tmp_path / "a.npy", "the id", 11)


def test_a_file_that_is_missing_or_cut_off_names_its_clip(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"clip 'c9' has no features at .*hubert-FRA/c9\.npy; make the file"):
        batch(config(folder), [Clip("c9", audio=folder / "c9.wav", captions=("a",))], 1)
    data = (folder / "hubert-FRA" / "c3.npy").read_bytes()
    for left in (0, 40, len(data) - 4):
        (tmp_path / "cut.npy").write_bytes(data[:left])
        with pytest.raises(ValueError, match=r"cut\.npy \(clip 'c3'\): not a whole \.npy file"):
            read_npy(tmp_path / "cut.npy", "c3", 11)
    np.savez(tmp_path / "many.npz", a=np.zeros(11))
    (tmp_path / "many.npz").rename(tmp_path / "many.npy")
    with pytest.raises(ValueError, match="an archive of arrays"):
        read_npy(tmp_path / "many.npy", "c3", 11)


def test_features_of_ours_cannot_stand_in_for_files(folder: Path) -> None:
    with pytest.raises(ConfigError, match="the captioner has no encoder"):
        check_features(with_data(config(folder), features=str(folder)), "sft")
    with pytest.raises(ConfigError, match=r"FeatureFiles\.positions wants a positive number, got 0"):
        presets.override(config(folder), ["audio.positions=0"])


def test_a_preset_may_choose_them(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(presets.dumps(config(folder)))
    assert presets.load(str(tmp_path / "config.json")) == config(folder)
