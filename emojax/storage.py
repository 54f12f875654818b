"""Where runs lie: on disks every machine sees, or in buckets, whose paths `etils.epath` knows (gs://, s3://).

A local path stays a `pathlib.Path`, so that a run on a disk needs none of it.
"""

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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


def parse_json(data: bytes, what: object) -> Any:
    """The one reader of JSON: UTF-8, with or without a byte order mark.

    Args:
      what: the file, or the file and line, that an error names.
    Raises:
      ValueError: not UTF-8, not JSON, a key that is there twice, numbers or nesting without measure, a Git LFS pointer.

    >>> parse_json(b'{"a": 1, "a": 2}', "run.json")
    Traceback (most recent call last):
    ValueError: run.json: the key 'a' is there twice
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
        return dict(pairs)

    if data.startswith(b"version https://git-lfs"):
        raise ValueError(f"{what}: a Git LFS pointer, not the file itself; get it by `git lfs pull`")
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=unique)
    except UnicodeDecodeError as e:
        raise ValueError(f"{what}: not UTF-8 (byte {e.start + 1})") from None
    except json.JSONDecodeError as e:
        raise ValueError(
            f"{what}: not JSON ({e.msg}, line {e.lineno}, column {e.colno}); cut off in a copy? Get it again"
        ) from None
    except RecursionError:
        raise ValueError(f"{what}: nested too deep to be read") from None
    except ValueError as e:  # of a number with more digits than Python reads, or of `unique`
        raise ValueError(f"{what}: {str(e).split(';')[0]}") from None


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises ValueError as `parse_json`, and where it holds something else."""
    found = parse_json(path.read_bytes(), path)
    if not isinstance(found, dict):
        raise ValueError(f"{path}: wanted an object, got {type(found).__name__}")
    return found


def write_atomically(path: Path, text: str) -> None:
    """Writes a file that is there complete or not at all."""
    if in_bucket(path):
        path.write_text(text)  # an object appears when it is complete
        return
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)


def remove(folder: Path) -> None:
    """Removes a folder with all that is in it."""
    if in_bucket(folder):
        folder.rmtree()  # pyright: ignore[reportAttributeAccessIssue] epath's own
    else:
        shutil.rmtree(folder)
