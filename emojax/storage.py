"""Where runs lie: on disks every machine sees, or in buckets, whose paths `etils.epath` knows (gs://, s3://).

A local path stays a `pathlib.Path`, so that a run on a disk needs none of it. What is written is written through here,
so that a full disk, a place that is read-only and a right that is lost are one line wherever they are met.
"""

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emojax.errors import WriteError, shown

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
DRIVERS = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs", "hf": "huggingface_hub"}  # what epath reaches each through


def path_of(path: str | os.PathLike[str]) -> Path:
    """A path of a disk, or of a bucket with the same methods; `pathlib` writes the latter as gs:/, which is understood.

    Raises:
      ValueError: a URL of a kind that epath does not have, or whose driver is not installed.

    >>> path_of("runs/mine").name
    'mine'
    >>> path_of("ftp://host/run")
    Traceback (most recent call last):
    ValueError: ftp://host/run: no such storage is known; wanted a local path or one of gs://, s3://, az://, hf://
    """
    text = os.fspath(path)
    scheme, colon, rest = text.partition(":/")
    if not colon or "/" in scheme:
        return Path(text)
    if scheme not in DRIVERS:
        known = ", ".join(f"{scheme}://" for scheme in DRIVERS)
        raise ValueError(f"{text}: no such storage is known; wanted a local path or one of {known}")
    if find_spec(DRIVERS[scheme]) is None:
        raise ValueError(f"{text}: {scheme}:// is reached through {DRIVERS[scheme]}; pip install {DRIVERS[scheme]}")
    from etils import epath

    url = f"{scheme}://{rest.lstrip('/')}"
    return epath.Path(url)  # pyright: ignore[reportReturnType] it has what is used of pathlib's, but is no subclass


def cache_folder() -> Path:
    """The user's cache, where the built-in corpus and compiled programs are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emojax"


def in_bucket(path: Path) -> bool:
    """Whether files there are written whole: nothing can be appended to them, and C libraries cannot open them."""
    return not isinstance(path, Path)


def absolute(path: Path) -> Path:
    return path if in_bucket(path) else path.absolute()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {shown(twice)} is there twice")
    return found


_JSON = json.JSONDecoder(object_pairs_hook=_unique)  # made once: a manifest has a million lines


def parse_json(data: bytes, what: object, halves: bool = False) -> Any:
    """The one reader of JSON: UTF-8, with or without a byte order mark.

    Args:
      what: the file, or the file and line, that an error names.
      halves: lone surrogates are read: bytes that are not UTF-8 in a file's name are written so.
    Raises:
      ValueError: not UTF-8, not JSON, a key that is there twice, numbers or nesting without measure, half a character
        (a lone surrogate, which nothing can write again), a Git LFS pointer.

    >>> parse_json(b'{"a": 1, "a": 2}', "run.json")
    Traceback (most recent call last):
    ValueError: run.json: the key 'a' is there twice
    """

    refuse_pointer(data, what)
    try:
        text = data.decode()
        found = _JSON.decode(text[1:] if text.startswith("\ufeff") else text)
        if not halves and _SURROGATE.search(data):
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except UnicodeDecodeError as e:
        raise ValueError(f"{what}: not UTF-8 (byte {e.start + 1})") from None
    except UnicodeEncodeError as e:
        raise ValueError(f"{what}: half a character ({e.object[e.start]!a}), as of an emoji that was cut") from None
    except json.JSONDecodeError as e:
        line = f"line {e.lineno}, " if b"\n" in data.strip() else ""
        raise ValueError(
            f"{what}: not JSON ({e.msg}, {line}column {e.colno}); cut off in a copy? Get it again"
        ) from None
    except RecursionError:
        raise ValueError(f"{what}: nested too deep to be read") from None
    except ValueError as e:  # of a number with more digits than Python reads, or of `_unique`
        raise ValueError(f"{what}: {str(e).split(';')[0]}") from None


def json_lines(path: Path, halves: bool = False) -> Iterator[tuple[str, Any]]:
    """What each line of a JSONL file holds, after its place for messages. Raises ValueError as `parse_json`."""
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        yield (what := f"{path}: line {number}"), parse_json(line, what, halves)


def refuse_pointer(data: bytes, what: object) -> None:
    """Raises ValueError for what Git leaves in place of a large file where Git LFS is not installed."""
    if data.startswith(b"version https://git-lfs"):
        raise ValueError(f"{what}: a Git LFS pointer, not the file itself; get it by `git lfs pull`")


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises ValueError as `parse_json`, and where it holds something else."""
    found = parse_json(path.read_bytes(), path)
    if not isinstance(found, dict):
        raise ValueError(f"{path}: wanted an object, got {type(found).__name__}")
    return found


RESUME = "go on with --resume"  # the remedy of what was resumed before
_FULL = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room within your quota",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
}
_BARRED = dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "let this user write there, or name another place")
_REMEDIES = _FULL | _BARRED | {errno.EIO: "look at that disk"}


@contextlib.contextmanager
def writing(path: Path, then: str = "run the same command again") -> Iterator[None]:
    """While `path` is written: want of room or of rights is one line, whichever library met it.

    Args:
      then: what is to be done once there is room.
    Raises:
      WriteError: says what could not be written, why, how much was free and what to do.
    """
    try:
        yield
    except WriteError:
        raise
    except Exception as e:
        number = _number(e)
        if number is None:
            raise
        remedy = _REMEDIES.get(number, "look at that place")
        why = f"{os.strerror(number)}{_free(path)}"
        raise WriteError(f"{path} could not be written: {why}; {remedy}, then {then}") from e


def _number(e: BaseException) -> int | None:
    """The operating system's number of what went wrong; None: it was something else.

    Libraries not written in Python (TensorStore, safetensors) tell it in words, some of them in a cause.
    """
    if isinstance(e, OSError) and e.errno is not None:
        return e.errno
    cause: BaseException | None = e
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _REMEDIES:
            return cause.errno
        if found := next((n for n in _REMEDIES if os.strerror(n) in str(cause)), None):
            return found
        cause = cause.__cause__ or cause.__context__
    return None


def _free(path: Path) -> str:
    if in_bucket(path):
        return ""
    with contextlib.suppress(OSError):
        there = next(p for p in (path, *path.absolute().parents) if p.exists())
        return f" ({shutil.disk_usage(there).free / 1e6:,.1f} MB free there)"
    return ""


def beside(path: Path) -> Path:
    """A name in the folder of `path` that nobody has (`LEFT` matches it), for what will take its place."""
    while True:
        new = path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.new")
        if not new.exists():
            return new


LEFT = "." + "{}." + "[0-9a-f]" * 8 + ".new"
"""Pattern of what was being written in place of the file {} when its writer was killed."""


@contextlib.contextmanager
def replacing(path: Path, then: str = "run the same command again") -> Iterator[Path]:
    """A name beside `path`: the file that is written there takes its place when the block has ended well.

    So `path` is there whole, or as it was. Raises WriteError as `writing`.
    """
    new = beside(path)
    with writing(path, then):
        try:
            yield new
            new.replace(path)
        finally:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)


def write_atomically(path: Path, text: str, then: str = "run the same command again") -> None:
    """Writes a file that is there complete or not at all. Raises WriteError as `writing`."""
    if in_bucket(path):
        with writing(path, then):
            path.write_text(text)  # an object appears when it is complete
        return
    with replacing(path, then) as new:
        new.write_text(text, encoding="utf-8")


class Appending:
    """A file to which is appended, each piece at once and through to the operating system: nothing is left to be
    written when it is closed. Raises WriteError as `writing`."""

    def __init__(self, path: Path, then: str = "run the same command again") -> None:
        self._path, self._then = path, then
        with writing(path, then):
            self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        with writing(self._path, self._then):
            left = memoryview(data)
            while left:  # the last bytes for which there is room may be fewer
                left = left[self._file.write(left) :]

    def close(self) -> None:
        self._file.close()


def remove(folder: Path) -> None:
    """Removes a folder with all that is in it."""
    if in_bucket(folder):
        folder.rmtree()  # pyright: ignore[reportAttributeAccessIssue] epath's own
    else:
        shutil.rmtree(folder)
