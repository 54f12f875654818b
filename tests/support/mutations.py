"""Files that are not what they say: mutated by a seed, and what reading one may end in."""

import json
import pickle
import random
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import emojax

HOUSE = Path(emojax.__file__).parent
SECONDS = 20  # reading takes longer: a hang
ODD = [None, True, -1, 0, 10**9, 10**400, 1e308, float("nan"), "", "x", "\ud83d", "\0", "../..", [], [[]], {}, {"a": 1}]
ODD += ["none", -0.5, 1.5, float("-inf"), ["a", 1], "é" * 300]


def changed(value: Any, r: random.Random) -> Any:
    """With one part replaced, left out or added, anywhere."""
    if isinstance(value, dict | list) and value and r.random() < 0.9:
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


def noisy(data: bytes, r: random.Random) -> bytes:
    """Any file: cut, with a byte of another value, with bytes more or less, or none at all."""
    at, kind = r.randrange(len(data)), r.randrange(6)
    if kind == 0:
        return data[:at]
    if kind in (1, 2):
        return data[:at] + bytes([r.randrange(256)]) + data[at + 1 :]
    if kind == 3:
        return data[:at] + r.randbytes(r.choice([1, 8, 300])) + data[at:]
    if kind == 4:
        return data[:at] + data[at + r.choice([1, 8, 300]) :]
    return r.choice([b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", b"PK\3\4" + data])


def mutated(text: bytes, r: random.Random) -> bytes:
    """JSON that may be anything from a part of the wrong type to noise."""
    kind = r.randrange(10)
    if kind < 6:
        made = json.loads(text)
        for _ in range(r.choice([1, 1, 1, 3])):
            made = changed(made, r)
        return json.dumps(made).encode()
    at = r.randrange(len(text))
    if kind == 6:
        return noisy(text, r)
    if kind == 7:
        return r.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"version https://git-lfs.github.com/spec/v1\n", b"["]) + text
    if kind == 8:
        return text[:at] + r.choice([b"9" * 5000, b"[" * 100_000, b'{"a":' * 100_000, b"\x00", b"NaN"]) + text[at:]
    return r.choice([b"", b"null", b"3", b"[]", b'"x"', b"{}", text.decode().encode("utf-16")])


class Pickled(BaseException):
    """Something was about to be unpickled."""


def _pickled(*_: Any, **__: Any) -> Any:
    raise Pickled


def _late(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


@contextmanager
def guarded() -> Iterator[None]:
    """Nothing is unpickled, nothing takes long."""
    before = signal.signal(signal.SIGALRM, _late)
    signal.alarm(SECONDS)
    try:
        with mock.patch.multiple(pickle, load=_pickled, loads=_pickled, Unpickler=_pickled):
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def told(e: BaseException) -> bool:
    """Whether the command says an error in a line, as `emojax.cli` does: others are tracebacks."""
    if type(e) is TimeoutError or not isinstance(e, ValueError | RuntimeError | OSError):
        return False
    return isinstance(e, OSError) or Path(traceback.extract_tb(e.__traceback__)[-1].filename).is_relative_to(HOUSE)


def refusals(
    path: Path, read: Callable[[], Any], count: int, *, seed: int = 7, mutate: Callable = mutated
) -> list[BaseException]:
    """Reads `count` mutations of a file, and a directory in its place; the errors, which are all ones that are told.

    The file is left as it was, and nothing beside it may change.
    """
    whole, r, found = path.read_bytes(), random.Random(seed), []
    beside = sorted(path.parent.rglob("*"))
    for n in range(count + 1):
        path.unlink()
        if n < count:
            path.write_bytes(data := mutate(whole, r))
        else:
            path.mkdir()
        try:
            with guarded():
                read()
        except BaseException as e:
            if not told(e):
                shown = data if len(data) < 2000 else data[:1000] + b" ... " + data[-1000:]
                raise AssertionError(f"{type(e).__name__} ({str(e)[:200]}) of mutation {n}: {shown!r}") from e
            found.append(e)
        assert sorted(path.parent.rglob("*")) == beside
        if path.is_dir():
            shutil.rmtree(path)
            path.touch()
    path.write_bytes(whole)
    return found
