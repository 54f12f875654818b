"""JSON that is not what it says: one error that names the file, never a traceback of something else."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emojax.config import ConfigError, presets
from emojax.errors import RunError
from emojax.storage import parse_json, read_object
from emojax.training import goodput, run, session

ODD = [None, True, -1, 10**9, 10**400, 1e308, float("nan"), "", "x", "\ud83d", [], [[]], {}, {"a": 1}, "none", -0.5]


def changed(value: Any, r: random.Random) -> Any:
    """With one part replaced, left out or added, anywhere."""
    if isinstance(value, dict | list) and value and r.random() < 0.8:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key, made = r.choice(keys), value.copy()
        if r.random() < 0.1:
            made.pop(key)
        elif r.random() < 0.1 and isinstance(made, dict):
            made[str(r.choice(ODD))] = r.choice(ODD)
        else:
            made[key] = changed(value[key], r)
        return made
    return r.choice(ODD)


def mutated(text: bytes, r: random.Random) -> bytes:
    """Bytes that may be anything from a part of the wrong type to noise."""
    kind = r.randrange(10)
    if kind < 5:
        return json.dumps(changed(json.loads(text), r)).encode()
    at = r.randrange(len(text))
    if kind == 5:
        return text[:at]
    if kind == 6:
        return text[:at] + bytes([r.randrange(256)]) + text[at + 1 :]
    if kind == 7:
        return r.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"version https://git-lfs.github.com/spec/v1\n", b"["]) + text
    if kind == 8:
        return text[:at] + r.choice([b"9" * 5000, b"[" * 100_000, b'{"a":' * 100_000, b"\x00", b"NaN"]) + text[at:]
    return r.choice([b"", b"null", b"3", b"[]", b'"x"', b"{}", text.decode().encode("utf-16")])


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


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("reader", READERS)
def test_a_mutated_file_is_read_or_named(reader: str, count: int, tmp_path: Path) -> None:
    name, write, read = READERS[reader]
    path, r = tmp_path / name, random.Random(7)
    whole = write(tmp_path)
    path.write_bytes(whole)
    read(tmp_path)
    refused = 0
    for _ in range(count):
        path.write_bytes(data := mutated(whole, r))
        try:
            read(tmp_path)
        except Exception as e:
            refused += 1
            if type(e) not in (ConfigError, RunError, ValueError):
                raise AssertionError(f"{type(e).__name__} of {data[:300]!r}") from e
    assert refused > count // 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "a": 2}', "run.json: the key 'a' is there twice"),
        (b"\xff\xfe{", r"run.json: not UTF-8 \(byte 1\)"),
        (b'{"a": ', r"run.json: not JSON \(Expecting value, line 1, column 7\)"),
        (b"[" * 100_000, "run.json: nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "run.json: Exceeds the limit .* digits"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "run.json: a Git LFS pointer"),
        (b"[]", "run.json: wanted an object, got list"),
    ],
)
def test_what_is_wrong_is_told(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_object(tmp_path / "run.json")


def test_a_byte_order_mark_is_no_fault() -> None:
    assert parse_json("\ufeff{}".encode(), "a file") == {}
