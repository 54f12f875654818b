"""What a worker reads instead of media: features of our own encoders (`feature_files.py`), or files of
somebody else's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from emojax.config import ConfigError
from emojax.data.clips import Clip
from emojax.data.feature_files import FeatureFolder, read_features
from emojax.errors import shown
from emojax.storage import refuse_pointer
from emojax.types import Features


@dataclass(frozen=True)
class Stream:
    """Features of one stream and how a batch lays them out."""

    name: str  # audio or video
    width: int  # D
    positions: Mapping[float, int]  # S, by the seconds of the length bucket
    folder: str | None = None  # of {id}.npy; "": the manifest names the file; None: they are in `FeatureSource.folder`


@dataclass(frozen=True)
class FeatureSource:
    """The streams that are read from features; None: from media."""

    audio: Stream | None = None
    video: Stream | None = None
    folder: FeatureFolder | None = None  # what `data.features` names


MEDIA = FeatureSource()


def features_of(stream: Stream, clip: Clip, features: FeatureSource) -> np.ndarray | None:
    """f32[S D]; None where the clip was encoded without the stream.

    Raises:
      ValueError: a file that is damaged or of another shape. ConfigError: it is missing.
    """
    if stream.folder is not None:
        return read_npy(npy_of(stream, clip), clip.id, stream.width)
    assert features.folder is not None, "features that are no files of their own come from a folder of features"
    return read_features(features.folder, clip, stream.name, stream.width)


def npy_of(stream: Stream, clip: Clip) -> Path:
    """Where the features of a clip lie; the clip has the stream."""
    return Path(stream.folder) / f"{clip.id}.npy" if stream.folder else getattr(clip, stream.name)


def read_npy(path: Path, clip: str, width: int) -> np.ndarray:
    """f32[S width] of a NumPy file: a row a frame, or of one vector a single row.

    Raises:
      ConfigError: there is no such file.
      ValueError: no NumPy file, another rank or width, no numbers, none at all, or not finite.
    """
    wanted = f"wanted floats [S {width}] (a row a frame) or [{width}] (one vector)"
    try:
        with path.open("rb") as file:
            x = _read_array(file, path.stat().st_size, width)
    except FileNotFoundError as e:
        raise ConfigError(
            f"clip {clip!r} has no features at {path}; make the file, or leave the stream out of the clip's line"
        ) from e
    except (ValueError, OSError) as e:
        raise ValueError(f"{path} (clip {clip!r}): {e}; {wanted}") from e
    with np.errstate(over="ignore"):  # told of below
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise ValueError(f"{path} (clip {clip!r}): holds numbers that are not finite in float32; make the file again")
    return x.reshape(-1, width)


def _read_array(file: BinaryIO, size: int, width: int) -> np.ndarray:
    """The floats of a NumPy file of `size` bytes, [S width] or [width]; ValueError where it holds anything else.

    NumPy's own `load` would unpickle, open archives and make room for whatever shape the header tells.
    """
    beginning = file.read(64)
    refuse_pointer(beginning, "it is")
    if beginning.startswith(b"PK"):
        raise ValueError("an archive of arrays")
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = header(file)
    except Exception as e:  # of the tokenizer, the parser or the decoder that reads a header
        raise ValueError(f"not a whole .npy file of numbers ({str(e).partition(chr(10))[0][:100]})") from e
    if dtype.kind != "f" or len(shape) not in (1, 2) or shape[-1] != width or 0 in shape:
        raise ValueError(f"got {dtype} {shown(list(shape))}")
    count = math.prod(shape)
    if count * dtype.itemsize != size - file.tell():
        raise ValueError(
            f"not a whole .npy file of numbers: its header tells {count * dtype.itemsize} bytes of {list(shape)}, there"
            f" are {size - file.tell()}"
        )
    return np.fromfile(file, dtype, count).reshape(shape, order="F" if by_columns else "C")


def lay(stream: Stream, found: list[np.ndarray | None], seconds: float) -> Features:
    """The features of a batch of one length bucket; what is longer is cut, as media are."""
    positions = stream.positions[seconds]
    x: Any = np.zeros((len(found), positions, stream.width), np.float32)
    mask: Any = np.zeros((len(found), positions), bool)
    for k, one in enumerate(found):
        if one is not None:
            n = min(len(one), positions)
            x[k, :n], mask[k, :n] = one[:n], True
    return Features(x, mask)
