"""Records as TFDS writes them, read at random without TensorFlow: files of ArrayRecord or TFRecord, of
tf.train.Example each; and a clip's media that are a field of one."""

import functools
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Value = list[bytes] | np.ndarray  # of a field: bytes; or f32 or i64 numbers
_OPEN = 16  # shards that a process holds open
_HEADER = 12  # bytes before a TFRecord's data: its length and that number's checksum; 4 more follow it


@dataclass(frozen=True)
class Stored:
    """The field of a record that holds a media file's bytes, or the samples of a sound."""

    shard: Path
    index: int  # of the record in its shard
    field: str
    rate: int | None = None  # Hz of samples; None: a file's bytes

    @property
    def path(self) -> Path:
        """A name for messages."""
        return Path(f"{self.shard}#{self.index}") / self.field


def read_field(stored: Stored) -> Value:
    """Raises ValueError where it is no such record."""
    return parse_example(read_record(stored.shard, stored.index)).get(stored.field, [])


@contextmanager
def as_file(stored: Stored) -> Iterator[Path]:
    """A file that holds the bytes for as long as the block runs: decoders of C read files."""
    (content,) = read_field(stored)
    with tempfile.NamedTemporaryFile(prefix="emojax-") as file:
        file.write(content)
        file.flush()
        yield Path(file.name)


def samples_of(stored: Stored) -> np.ndarray:
    """f32[A], at the record's own rate; whole numbers are taken for 16 bits, as TFDS reads WAV files."""
    found = np.asarray(read_field(stored))
    return found.astype(np.float32) / (2**15 if found.dtype.kind == "i" else 1)


def read_record(shard: Path, index: int) -> bytes:
    """One record of a shard.

    Raises:
      ValueError: no file of records, or not so many.
    """
    if _is_tfrecord(shard):
        start, size = _tfrecord(shard, _stamp(shard))[index]
        with shard.open("rb") as file:
            file.seek(start)
            return file.read(size)
    return bytes(_array_record(shard, _stamp(shard)).read([index])[0])


def count_records(shard: Path) -> int:
    """Raises ValueError where it is no file of records, or one that is cut off."""
    stamp = _stamp(shard)
    return len(_tfrecord(shard, stamp)) if _is_tfrecord(shard) else _array_record(shard, stamp).num_records()


def _is_tfrecord(shard: Path) -> bool:
    return ".tfrecord" in shard.name


def _stamp(shard: Path) -> tuple[int, int]:
    """That changes when another file takes its place."""
    try:
        found = shard.stat()
    except OSError as e:
        raise ValueError(f"{shard}: a shard that cannot be read ({e.strerror}); copy the dataset again") from None
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(_OPEN)
def _array_record(shard: Path, stamp: tuple[int, int]) -> Any:
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        return ArrayRecordReader(os.fspath(shard))
    except Exception as e:  # of C++, by the kind that it chose
        raise ValueError(f"{shard}: no array_record file that can be read ({str(e).splitlines()[0]})") from None


@functools.lru_cache(_OPEN)
def _tfrecord(shard: Path, stamp: tuple[int, int]) -> list[tuple[int, int]]:
    """Where each record's data begin, and their size."""
    found, at, end = [], 0, stamp[1]
    with shard.open("rb") as file:
        while at < end:
            file.seek(at)
            head = file.read(_HEADER)
            size = struct.unpack("<Q", head[:8])[0] if len(head) == _HEADER else end
            if at + _HEADER + size + 4 > end:
                raise ValueError(f"{shard}: is cut off after {len(found)} records; copy the dataset again")
            found.append((at + _HEADER, size))
            at += _HEADER + size + 4
    return found


def parse_example(record: bytes) -> dict[str, Value]:
    """The fields of a tf.train.Example: lists of bytes, f32 or i64 arrays, in the order of its protocol buffer.

    Raises ValueError where it is none.
    """
    try:
        features = [m for _, example in _messages(memoryview(record)) for _, m in _messages(example)]
        return dict(_feature(dict(_messages(entry))) for entry in features)
    except (IndexError, KeyError, TypeError, struct.error, UnicodeDecodeError) as e:
        raise ValueError(f"a record that is no tf.train.Example ({type(e).__name__}: {e})") from None


def _feature(entry: Mapping[int, Any]) -> tuple[str, Value]:
    name = bytes(entry[1]).decode()
    for kind, values in _messages(entry.get(2, memoryview(b""))):
        found = [value for _, value in _messages(values)]
        if kind == 1:
            return name, [bytes(value) for value in found]
        packed = b"".join(bytes(v) if isinstance(v, memoryview) else _unpacked(v, kind) for v in found)
        return name, np.frombuffer(packed, "<f4") if kind == 2 else _varints(packed)
    return name, []


def _messages(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a message's fields: bytes of those with a length, else an int or 4 bytes as one."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        match key & 7:
            case 0:
                value, at = _varint(data, at)
            case 2:
                size, at = _varint(data, at)
                value, at = data[at : at + size], at + size
                if len(value) != size:
                    raise IndexError("it ends early")
            case 5:
                value, at = struct.unpack_from("<I", data, at)[0], at + 4
            case kind:
                raise KeyError(f"wire type {kind}")
        yield key >> 3, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _unpacked(value: int, kind: int) -> bytes:
    """A number that stands alone, as it would in a packed list."""
    if kind == 2:
        return struct.pack("<I", value)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _varints(packed: bytes) -> np.ndarray:
    """i64 of a packed list, all at once: a wave is a list of a hundred thousand."""
    byte = np.frombuffer(packed, np.uint8)
    if not len(byte):
        return np.zeros(0, np.int64)
    ends = np.flatnonzero(byte < 0x80)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(ends[-1] + 1) - np.repeat(starts, ends - starts + 1)
    parts = (byte[: ends[-1] + 1] & np.uint8(0x7F)).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.add.reduceat(parts, starts).view(np.int64)
