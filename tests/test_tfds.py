"""Datasets of TFDS both ways, without TensorFlow: what is exported is what batches are made of; published sets with
Audio features are read."""

import dataclasses
import json
import sys
from contextlib import closing
from importlib.machinery import PathFinder
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from emojax.config import ConfigError, Data, presets
from emojax.corpus import source
from emojax.data.batches import Batching, training_batches
from emojax.data.clip_media import length, read_sound
from emojax.data.clips import Clip, ManifestError, read_manifest, write_manifest
from emojax.data.container import MediaError
from emojax.data.records import parse_example
from emojax.data.text import train_tokenizer
from emojax.datasets import tfds_export
from emojax.datasets.tree import DatasetError
from support import tfds_files
from support.media_files import write_av

DATA = Data(audio_seconds=(1.0, 2.0), frames=2, frame_size=16, workers=0, targets=2)
WAVE = np.array([0, 1, -1, 32767, -32768, 200, -200] * 2000, np.int64)


@pytest.fixture(autouse=True)
def _no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be found, whether it is installed or not."""
    assert "tensorflow" not in sys.modules
    found = PathFinder.find_spec
    gone = staticmethod(lambda name, *a: None if name.partition(".")[0] == "tensorflow" else found(name, *a))
    monkeypatch.setattr(PathFinder, "find_spec", gone)


def corpus(folder: Path) -> Path:
    """Clips of all kinds, their splits mixed: sound, film, sound of a film, a part, words alone, several labels."""
    r = np.random.default_rng(0)
    folder.mkdir()
    clips = []
    for n in range(9):
        soundfile.write(folder / f"{n}.wav", r.normal(0, 0.1, 8_000 + 1_000 * n), 16_000)
        facts = {"captions": (f"caption {n}", "low"), "split": ("train", "test")[n == 4], "speaker": f"s{n % 3}"}
        clips.append(Clip(f"c{n}", folder / f"{n}.wav", transcript="Ja.", emotion="sad", language="en", **facts))
    write_av(folder / "film.mp4", "mpeg4", "aac")
    film = folder / "film.mp4"
    facts = {"soft_labels": {"sad": 0.5, "angry": 0.5}, "valence": -1.0, "attributes": {"gender": "man"}}
    clips[2] = dataclasses.replace(clips[2], video=film, **facts)
    clips[3] = dataclasses.replace(clips[3], audio=film, video=film, emotion=None, labels=("sad",), start=0.2, end=1.0)
    clips[5] = dataclasses.replace(clips[5], audio=None, captions_in={"zh": ("低",)}, extra={"n": [1, None]})
    write_manifest(folder / "manifest.jsonl", clips)
    return folder / "manifest.jsonl"


def batches(clips: list[Clip], rows: np.ndarray | None = None) -> list:
    tokenizer = train_tokenizer([text for clip in clips for text in clip.captions], 300)
    made = training_batches(clips, tokenizer, DATA, Batching(4, seed=3, caption_tokens=6, rows=rows))
    with closing(made):
        return list(islice(made, 4))


def rows_of(batch: object, rows: np.ndarray) -> object:
    return jax.tree.map(lambda x: x[rows], batch)


def same_batches(found: list, wanted: list) -> None:
    for a, b in zip(found, wanted, strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)


def without_media(clip: Clip) -> Clip:
    return dataclasses.replace(clip, audio=None, video=None)


def test_a_manifest_comes_back_from_tfds_and_gives_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays and order, on one process and dealt to four; another version for other records."""
    pytest.importorskip("tensorflow_datasets")
    manifest = corpus(tmp_path / "corpus")
    about = tfds_export.About("mine", license="CC0", homepage="https://example.org", citation="@misc{mine}")
    made = tfds_export.export(manifest, tmp_path / "tfds", about)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    for split in ("train", "test"):
        clips, again = read_manifest(manifest, split), read_manifest(Path("tfds:mine"), split)
        assert list(map(without_media, again)) == list(map(without_media, clips))
        assert again == read_manifest(made, split)
    train = read_manifest(manifest, "train"), read_manifest(Path("tfds:mine"), "train")
    wanted = batches(train[0])
    same_batches(batches(train[1]), wanted)
    for row in range(4):
        same_batches(batches(train[1], np.array([row])), [rows_of(batch, np.array([row])) for batch in wanted])
    assert json.loads((made / "dataset_info.json").read_text())["redistributionInfo"]["license"] == "CC0"

    assert tfds_export.export(manifest, tmp_path / "tfds", about) == made  # the same records
    soundfile.write(tmp_path / "corpus" / "0.wav", np.zeros(8_000), 16_000)
    with pytest.raises(DatasetError, match=r"mine/1.0.0 holds other records; give another --version"):
        tfds_export.export(manifest, tmp_path / "tfds", about)
    newer = tfds_export.export(manifest, tmp_path / "tfds", dataclasses.replace(about, version="1.0.10"))
    assert read_manifest(Path("tfds:mine"))[0].audio.shard.parent == newer, "the last version"


def test_a_builders_folder_has_what_tfds_expects(tmp_path: Path) -> None:
    folder = tfds_export.export_builder(corpus(tmp_path / "corpus"), tmp_path, tfds_export.About("mine"))
    assert {path.name for path in folder.iterdir()} == {
        *("__init__.py", "mine_dataset_builder.py", "about.json", "README.md"),
        *("CITATIONS.bib", "TAGS.txt", "checksums.tsv"),
    }
    assert json.loads((folder / "about.json").read_text())["emotions"] == ["sad"]
    compile((folder / "mine_dataset_builder.py").read_text(), "builder", "exec")
    with pytest.raises(DatasetError, match="mine is there"):
        tfds_export.export_builder(tmp_path / "corpus" / "manifest.jsonl", tmp_path, tfds_export.About("mine"))
    with pytest.raises(DatasetError, match="--name Mine: TFDS wants small letters"):
        tfds_export.export_builder(tmp_path / "corpus" / "manifest.jsonl", tmp_path, tfds_export.About("Mine"))


@pytest.mark.parametrize("kind", ["array_record", "tfrecord"])
def test_a_published_set_with_audio_features_is_read(kind: str, tmp_path: Path) -> None:
    """As crema_d is: a wave of whole numbers, a class and a speaker; splits named by others."""
    audio = {"audio": {"dtype": "int64", "sampleRate": "8000"}}
    features = {"audio": audio, "label": {"classLabel": {"numClasses": "3"}}, "speaker_id": {"tensor": {}}}
    examples = [
        {"audio": WAVE[: 8_000 + n], "label": np.array([n - 1]), "speaker_id": np.array([1000 + n])} for n in range(3)
    ]
    splits = {"train": examples, "valid": examples[:1]}
    names = {"label": ("NEU", "HAP", "fru")}
    folder = tfds_files.write(tmp_path / "crema_d" / "1.0.0", splits, features, kind, names)
    clips = read_manifest(tmp_path / "crema_d")
    assert [clip.id for clip in clips] == [f"crema_d-{s}-{n:06}" for n, s in enumerate(("train",) * 3 + ("valid",))]
    assert [clip.emotion for clip in clips] == [None, "neutral", "happy", None]
    assert [clip.split for clip in clips] == ["train", "train", "train", "validation"]
    assert [clip.speaker for clip in clips] == ["1000", "1001", "1002", "1000"]
    sound = read_sound(clips[1])
    assert sound is not None
    assert (sound.seconds, length(clips[1])) == (pytest.approx(1.0, abs=1e-3), pytest.approx(8_001 / 8_000))
    assert np.abs(sound.samples).max() <= 1.3
    assert sound.samples[: 2 * 7].std() > 0.2
    batch = batches([dataclasses.replace(clip, captions=("x",)) for clip in clips[:3]])[0]
    assert batch.audio_length.max() == pytest.approx(16_000, abs=20)
    (folder / "features.json").write_text("{}")
    with pytest.raises(ManifestError, match=r"features.json: is not a list of features"):
        read_manifest(folder)


def test_a_lazily_decoded_set_has_its_files_own_bytes(tmp_path: Path) -> None:
    sound = tmp_path / "a.wav"
    soundfile.write(sound, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    features = {"audio": {"audio": {"dtype": "int64", "lazyDecode": True}}, "text": {"text": {}}, "id": {"text": {}}}
    rows = [{"audio": x, "text": b"Ja.", "id": b"a/b"} for x in (sound.read_bytes(), b"RIFF no sound")]
    tfds_files.write(tmp_path / "lazy" / "1.0.0", {"train": rows[:1], "test": rows[1:]}, features)
    good, bad = read_manifest(tmp_path / "lazy")
    assert (good.id, good.transcript) == ("a_b", "Ja.")
    found, wanted = read_sound(good), read_sound(Clip("a", sound))
    assert found is not None
    assert wanted is not None
    np.testing.assert_array_equal(found.samples, wanted.samples)
    with pytest.raises(MediaError, match=r"lazy-test.array_record-00000-of-00001#0/audio: "):
        read_sound(bad)
    with pytest.raises(ValueError, match="has its media in memory or in records"):
        write_manifest(tmp_path / "m.jsonl", [good])


def test_examples_are_parsed_as_they_were_written() -> None:
    r = np.random.default_rng(0)
    wave = r.integers(-(2**63), 2**63 - 1, 500)
    wave[:3] = [0, -1, 127]
    example = {"w": wave, "f": r.normal(0, 1, 9).astype(np.float32), "b": [b"", b"\x00\xff", "é".encode()], "e": []}
    found = parse_example(tfds_files.encode(example))
    np.testing.assert_array_equal(found["w"], wave)
    np.testing.assert_array_equal(found["f"], example["f"])
    assert (found["b"], found["e"]) == (example["b"], [])
    for broken in (b"\x0a", b"\x0a\x05\x0a", b"nonsense", b"\xff" * 30):
        with pytest.raises(ValueError, match=r"no tf.train.Example"):
            parse_example(broken)


def test_a_dataset_that_is_not_there_or_not_whole_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    cfg = presets.load("tiny", ["data.manifest=tfds:none"])
    with pytest.raises(ConfigError, match=r"data.manifest=tfds:none: no dataset at .*/none; write one by"):
        source.check(cfg)
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="no dataset that TFDS has finished"):
        source.check(cfg)
    with pytest.raises(ConfigError, match="no file at"):
        source.check(presets.load("tiny", [f"data.manifest={tmp_path / 'none'}"]))
    features = {"text": {"text": {}}}
    folder = tfds_files.write(tmp_path / "short" / "1.0.0", {"train": [{"text": b"a"}, {"text": b"b"}]}, features)
    (shard,) = folder.glob("*.array_record*")
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"] = ["3"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ManifestError, match=r"holds 2 records, dataset_info.json says 3"):
        read_manifest(folder)
    shard.unlink()
    with pytest.raises(ManifestError, match=r"a shard that cannot be read \(No such file"):
        read_manifest(folder)
