"""A dataset that TFDS wrote, read as clips without TensorFlow: those of `emojax export-data`, and published ones whose
features are Audio, which TFDS itself cannot open without it.

    tensorflow_datasets/crema_d/1.0.0/{dataset_info.json, features.json, label.labels.txt, crema_d-train.array_record-…}
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emojax.data.clip import Clip
from emojax.data.clip_fields import read_clip
from emojax.data.emotion_names import canonical
from emojax.data.present import Files
from emojax.data.records import Stored, Value, count_records, parse_example, read_record
from emojax.storage import read_object

SCHEME = "tfds:"
RECORD = "record"  # of our own datasets: the manifest's line but for its media
SOUND_OF_FILM = b"video"  # as the format of an audio: it is the video's
MEDIA = ("audio", "video")
_INFO = "dataset_info.json"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_NAMED = {  # fields of others' datasets that are a clip's
    "id": ("id", "clip_id", "key", "filename"),
    "speaker": ("speaker", "speaker_id", "actor"),
    "transcript": ("transcript", "text", "sentence"),
    "language": ("language",),
}
_LABELS = ("emotion", "label")
_CAPTIONS = ("captions", "caption")


def dataset_folder(path: Path) -> Path | None:
    """The folder of shards that a directory or `tfds:NAME` means, of several versions the last; None: of neither kind.

    Raises:
      ValueError: no such dataset, or several configurations of it.
    """
    text = str(path)
    if text.startswith(SCHEME):
        root = Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
        path = root / text.removeprefix(SCHEME)
        if not path.is_dir():
            raise ValueError(f"no dataset at {path}; write one by `emojax export-data`, or set TFDS_DATA_DIR")
    if not path.is_dir() or (path / _INFO).is_file():
        return path if path.is_dir() else None
    found = [info.parent for pattern in (f"*/{_INFO}", f"*/*/{_INFO}") for info in path.glob(pattern)]
    if len({folder.parent for folder in found}) > 1:
        raise ValueError(f"several datasets below it; name one: {', '.join(sorted(map(str, found)))}")
    if not found and text.startswith(SCHEME):
        raise ValueError(f"{path} has no {_INFO}: no dataset that TFDS has finished")
    return max(found, key=lambda folder: [int(n) for n in re.findall(r"\d+", folder.name)], default=None)


def is_dataset(path: Path) -> bool:
    """Whether `read_manifest` would read it as one; raises as `dataset_folder`."""
    return dataset_folder(path) is not None


def read_clips(folder: Path) -> list[Clip]:
    """The clips, split by split in the order of their records, with media that are fields of these.

    Raises:
      ValueError: a file that is not TFDS's, is missing or cut off; records that hold nothing known.
    """
    layout, clips = _layout(folder), []
    for split, shard, index in _places(folder, read_object(folder / _INFO)):
        clips.append(_clip(layout, split, Stored(shard, index, ""), len(clips)))
    if not clips:
        raise ValueError(f"{folder} holds no record")
    return clips


@dataclass(frozen=True)
class _Layout:
    folder: Path
    name: str  # the dataset's
    rates: Mapping[str, int | None]  # of each field that is a sound; None: a file's bytes
    classes: Mapping[str, tuple[str, ...]]  # names of each field that is a number of a class
    fields: tuple[str, ...]


def _layout(folder: Path) -> _Layout:
    path = folder / "features.json"
    try:
        features = read_object(path)["featuresDict"]["features"]
        classes = {name: _names(folder / f"{name}.labels.txt") for name, f in features.items() if "classLabel" in f}
        sounds = {name: f["audio"] for name, f in features.items() if "audio" in f}
        rates = {name: None if about.get("lazyDecode") else int(about["sampleRate"]) for name, about in sounds.items()}
    except (KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"{path}: is not a list of features as TFDS writes it ({type(e).__name__}: {e})") from None
    return _Layout(folder, str(read_object(folder / _INFO).get("name", "")), rates, classes, tuple(features))


def _names(path: Path) -> tuple[str, ...]:
    return tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()) if path.exists() else ()


def _places(folder: Path, info: Mapping[str, Any]) -> Iterator[tuple[str, Path, int]]:
    """Split, shard and number of every record."""
    try:
        for split in info["splits"]:
            counts = [int(n) for n in split["shardLengths"]]
            for k, count in enumerate(counts):
                named = {"DATASET": info["name"], "SPLIT": split["name"], "FILEFORMAT": info["fileFormat"]}
                named["SHARD_X_OF_Y"] = f"{k:05}-of-{len(counts):05}"
                shard = folder / split.get("filepathTemplate", _TEMPLATE).format(**named)
                if (there := count_records(shard)) != count:
                    raise ValueError(f"{shard}: holds {there} records, {_INFO} says {count}; copy the dataset again")
                yield from ((split["name"], shard, index) for index in range(count))
    except (KeyError, TypeError, AttributeError, OSError) as e:
        raise ValueError(f"{folder / _INFO}: cannot be read as TFDS writes it ({type(e).__name__}: {e})") from None


def _clip(layout: _Layout, split: str, place: Stored, number: int) -> Clip:
    example = parse_example(read_record(place.shard, place.index))
    media: dict[str, Any] = {
        name: Stored(place.shard, place.index, name, layout.rates.get(name))
        for name in MEDIA
        if len(found := example.get(name, [])) and not (isinstance(found, list) and found == [b""])
    }
    if example.get("audio_format") == [SOUND_OF_FILM] and "video" in media:
        media["audio"] = media["video"]
    if RECORD in example:
        clip, wrong = read_clip(_text(example[RECORD]).encode(), Files(str(layout.folder)), media)
        if clip is None or wrong:
            raise ValueError(f"{place.shard}: record {place.index}: {'; '.join(wrong)}")
        return clip
    given = {ours: _first(example, names) for ours, names in _NAMED.items()}
    if not media and given["transcript"] is None:
        raise ValueError(
            f"{layout.folder}: no audio, video or transcript among its features: {', '.join(layout.fields)}"
        )
    given["id"] = (given["id"] or f"{layout.name}-{split}-{number:06}").replace("/", "_")
    captions = next((tuple(map(_string, example[name])) for name in _CAPTIONS if name in example), ())
    emotion = next((_class(layout, name, example[name]) for name in _LABELS if name in example), None)
    split = "validation" if split in ("dev", "valid", "val") else split
    texts: dict[str, Any] = given
    return Clip(**texts, **media, captions=captions, emotion=emotion, split=split, source=layout.name)


def _first(example: Mapping[str, Value], names: tuple[str, ...]) -> str | None:
    return next((text for name in names if (text := _text(example.get(name, [])))), None)


def _text(value: Value) -> str:
    """Of a field of one value; empty where it has none."""
    return _string(value[0]) if len(value) == 1 else ""


def _string(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _class(layout: _Layout, name: str, value: Value) -> str | None:
    """The emotion that a number of a class, or a word, stands for."""
    names = layout.classes.get(name, ())
    if isinstance(value, np.ndarray) and len(value) == 1:
        return canonical(names[value[0]]) if 0 <= value[0] < len(names) else None
    return canonical(_text(value))
