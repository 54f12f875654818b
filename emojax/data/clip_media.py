"""The media of a clip to arrays, wherever they lie: in files or parts of them, in stored records, in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from emojax.config import Data
from emojax.data.audio import LOUDEST, SAMPLE_RATE, Sound, read_audio
from emojax.data.clip import Clip
from emojax.data.container import MediaError, probe
from emojax.data.isolated import call
from emojax.data.records import Stored, as_file, samples_of
from emojax.data.video import decode_video, resized

T = TypeVar("T")


def read_sound(clip: Clip, seconds: float | None = None) -> Sound | None:
    """The sound of a clip, up to so many seconds of it; None where it has none, or its file holds none.

    Raises:
      MediaError: it cannot be decoded, holds no sample, or ends before the clip begins.
    """
    if clip.audio is None:
        return None
    if isinstance(clip.audio, Path) or (isinstance(clip.audio, Stored) and clip.audio.rate is None):
        return _decoded(clip.audio, read_audio, seconds, clip.start or 0.0, clip.end)
    whole = _sound(clip, _resampled(clip.audio) if isinstance(clip.audio, Stored) else clip.audio)
    whole = whole[round((clip.start or 0) * SAMPLE_RATE) : None if clip.end is None else round(clip.end * SAMPLE_RATE)]
    if not len(whole):
        raise MediaError(clip.file, f"ends before its clip begins, at {clip.start:g} s")
    return Sound(whole[: None if seconds is None else round(seconds * SAMPLE_RATE)], len(whole) / SAMPLE_RATE)


def read_film(clip: Clip, data: Data) -> np.ndarray | None:
    """u8[S size size 3] of a clip's film, as `data` wants its frames; None, and raises, as `read_sound`."""
    if clip.video is None:
        return None
    if isinstance(clip.video, np.ndarray):
        return _frames(clip, clip.video, data)
    how = (data.frames, data.frame_size, data.frame_resize, data.frame_filter)
    return _decoded(clip.video, decode_video, *how, clip.start or 0.0, clip.end)


def length(clip: Clip) -> float | None:
    """Seconds of a clip's sound by what its file states; None where it has none or does not say. Raises MediaError."""
    if clip.audio is None:
        return None
    if clip.end is not None:
        return clip.end - (clip.start or 0)
    if isinstance(clip.audio, np.ndarray):
        whole = len(clip.audio) / SAMPLE_RATE
    elif isinstance(clip.audio, Stored) and clip.audio.rate is not None:
        whole = len(samples_of(clip.audio)) / clip.audio.rate
    else:
        whole = _decoded(clip.audio, probe).seconds
    return whole and max(whole - (clip.start or 0), 0.0)


def _decoded(media: Path | Stored, function: Callable[..., T], *args: Any) -> T:
    if isinstance(media, Path):
        return call(function, media, *args)
    try:
        with as_file(media) as path:
            return call(function, path, *args)
    except MediaError as e:
        raise MediaError(media.path, e.why) from None
    except ValueError as e:
        raise MediaError(media.path, str(e)) from None


def _resampled(stored: Stored) -> np.ndarray:
    import soxr

    assert stored.rate is not None, "a file's bytes are decoded"
    return soxr.resample(samples_of(stored), stored.rate, SAMPLE_RATE)


def _sound(clip: Clip, x: np.ndarray) -> np.ndarray:
    """Raises MediaError where an array is no sound."""
    if x.ndim != 1 or x.dtype.kind != "f" or not len(x) or not np.isfinite(x).all() or np.abs(x).max() > LOUDEST:
        told = f"{x.dtype}{list(x.shape)}"
        raise MediaError(clip.file, f"has sound {told}; wanted finite floats [A], 16 kHz mono, 1.0 as the loudest")
    return np.ascontiguousarray(x, np.float32)


def _frames(clip: Clip, x: np.ndarray, data: Data) -> np.ndarray:
    """Raises MediaError where an array is no frames, which are taken to be the clip's own and no longer film's."""
    if x.ndim != 4 or x.dtype != np.uint8 or x.shape[-1] != 3 or not x.size:
        raise MediaError(clip.file, f"has frames {x.dtype}{list(x.shape)}; wanted uint8[S height width 3], RGB")
    if x.shape == (data.frames, data.frame_size, data.frame_size, 3):
        return x  # they are ready
    shown = x[((np.arange(data.frames) + 0.5) / data.frames * len(x)).astype(int)]
    return resized(shown, data.frame_size, data.frame_resize, data.frame_filter)
