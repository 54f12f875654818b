"""JSON that is not what it says: one error that names the file, never a traceback of something else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emojax.config import presets
from emojax.storage import parse_json, read_object
from emojax.training import goodput, run, session
from support.mutations import refusals


def mark(folder: Path) -> bytes:
    return json.dumps(goodput.to_json(goodput.Mark(1, 1.5, 3, {"step": 2.0}))).encode()


READERS: dict[str, tuple[str, Callable[[Path], bytes], Callable[[Path], Any]]] = {
    "configuration": (
        "config.json",
        lambda _: presets.dumps(presets.load("tiny", ["model.audio.family=Whisper"])).encode(),
        lambda folder: presets.read_json(folder / "config.json"),
    ),
    "run": ("run.json", lambda _: b'{"stage": "sft"}', run.stage_of),
    "sessions": ("sessions.jsonl", mark, session.marks),
}


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("reader", READERS)
def test_a_mutated_file_is_read_or_named(reader: str, count: int, tmp_path: Path) -> None:
    name, write, read = READERS[reader]
    (tmp_path / name).write_bytes(write(tmp_path))
    read(tmp_path)
    assert len(refusals(tmp_path / name, lambda: read(tmp_path), count)) > count // 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "a": 2}', "run.json: the key 'a' is there twice"),
        (b"\xff\xfe{", r"run.json: not UTF-8 \(byte 1\)"),
        (b'{"a": ', r"run.json: not JSON \(Expecting value, column 7\)"),
        (b"[" * 100_000, "run.json: nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "run.json: Exceeds the limit .* digits"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "run.json: a Git LFS pointer"),
        (b"[]", "run.json: wanted an object, got list"),
        (b'{"a": ["so sad \\ud83d"]}', "run.json: half a character .*ud83d.*, as of an emoji that was cut"),
    ],
)
def test_what_is_wrong_is_told(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_object(tmp_path / "run.json")


def test_a_byte_order_mark_is_no_fault() -> None:
    assert parse_json("\ufeff{}".encode(), "a file") == {}
