"""A part of a film as a file of its own: the side of a picture, in which two people sit, where one of them is."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import numpy as np

from emojax.data.container import MediaError, open_media, require_codec, video_stream
from emojax.data.isolated import call
from emojax.storage import replacing

Side = Literal["left", "right"]
_QUALITY = {"crf": "20", "preset": "veryfast"}


def cut(film: Path, out: Path, side: Side, start: float, end: float) -> Path:
    """Writes half of the pictures between two moments, in seconds, as MP4 without sound; a file that is there is kept.

    Raises MediaError: the film cannot be read, or shows nothing then. WriteError.
    """
    if not out.exists():
        found = call(_part, film, side, start, end)
        with replacing(out) as new:
            new.write_bytes(found)
    return out


def _part(film: Path, side: Side, start: float, end: float) -> bytes:
    import av
    import av.error

    file, count = io.BytesIO(), 0
    try:
        with open_media(film) as container, av.open(file, "w", format="mp4") as written:
            stream = video_stream(container)
            if stream is None or stream.time_base is None:
                raise MediaError(film, "has no pictures")
            require_codec(film, stream)
            rate = stream.average_rate or Fraction(25)
            first = float((stream.start_time or 0) * stream.time_base)
            made = cast(av.VideoStream, written.add_stream("libx264", rate=rate, options=_QUALITY))
            made.pix_fmt = "yuv420p"
            container.seek(int((start + first) / stream.time_base), stream=stream)  # to the key frame before it
            for frame in container.decode(stream):
                if frame.time is None or frame.time - first < start:
                    continue
                if frame.time - first >= end:
                    break
                picture = av.VideoFrame.from_ndarray(_half(frame.to_ndarray(format="rgb24"), side), format="rgb24")
                if not count:
                    made.width, made.height = picture.width, picture.height
                picture.pts, picture.time_base = count, 1 / rate
                written.mux(made.encode(picture))
                count += 1
            if count:
                written.mux(made.encode(None))
    except (av.error.FFmpegError, ValueError) as e:
        raise MediaError(film, f"cannot be cut ({e})") from None
    if not count:
        raise MediaError(film, f"shows nothing from {start:g} to {end:g} s")
    return file.getvalue()


def _half(picture: np.ndarray, side: Side) -> np.ndarray:
    """A half of u8[height width 3], an even number of pixels each way, as H.264 wants it."""
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 4 * 2
    left = 0 if side == "left" else picture.shape[1] - width
    return np.ascontiguousarray(picture[:height, left : left + width])
