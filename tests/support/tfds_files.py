"""Datasets as TFDS writes them, made without it: features.json, dataset_info.json, records of tf.train.Example."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Example = Mapping[str, bytes | list[bytes] | np.ndarray]
_CLASSES = "tensorflow_datasets.core.features."


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def encode(example: Example) -> bytes:
    """tf.train.Example."""
    entries = b""
    for name, value in example.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "i":
            kind, content = 3, field(1, b"".join(varint(int(x)) for x in value))
        elif isinstance(value, np.ndarray):
            kind, content = 2, field(1, value.astype("<f4").tobytes())
        else:
            kind, content = 1, b"".join(field(1, x) for x in ([value] if isinstance(value, bytes) else value))
        entries += field(1, field(1, name.encode()) + field(2, field(kind, content)))
    return field(1, entries)


def write(
    folder: Path,
    splits: Mapping[str, Sequence[Example]],
    features: Mapping[str, Any],
    kind: str = "array_record",
    classes: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """A dataset at NAME/VERSION, in shards of two records."""
    folder.mkdir(parents=True)
    told = []
    for split, examples in splits.items():
        shards = [examples[at : at + 2] for at in range(0, len(examples), 2)]
        for k, shard in enumerate(shards):
            path = folder / f"{folder.parent.name}-{split}.{kind}-{k:05}-of-{len(shards):05}"
            _write_shard(path, [encode(example) for example in shard], kind)
        told.append({"name": split, "shardLengths": [str(len(shard)) for shard in shards]})
    info = {"name": folder.parent.name, "version": folder.name, "fileFormat": kind, "splits": told}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    named = {name: {"pythonClassName": _CLASSES + "x.X", **about} for name, about in features.items()}
    (folder / "features.json").write_text(json.dumps({"featuresDict": {"features": named}}))
    for name, values in (classes or {}).items():
        (folder / f"{name}.labels.txt").write_text("\n".join(values) + "\n")
    return folder


def _write_shard(path: Path, records: Sequence[bytes], kind: str) -> None:
    if kind == "tfrecord":
        path.write_bytes(b"".join(struct.pack("<QI", len(r), 0) + r + bytes(4) for r in records))
        return
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
