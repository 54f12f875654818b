"""A clip's media as one small file that every browser plays: MP4 with H.264 and AAC, some kilobytes a second.

Only decoders and encoders are imported here: it runs where files may end their process (`data.isolated`).
"""

import io
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np

from emojax.data.audio import SAMPLE_RATE, read_audio
from emojax.data.container import MediaError
from emojax.data.video import decode_video

SIZE, RATE = 128, 10  # pixels of a frame's side, frames a second
_QUALITY = {"crf": "30", "preset": "veryfast"}
_BITS = 32_000  # a second of sound


def small(path: Path, heard: bool, film: Path | None, seconds: float, start: float, end: float | None) -> bytes:
    """MP4 of what is heard of a file, and of the square middle of a film's pictures.

    Args:
      heard: whether there is sound. film: None: there are no pictures.
      seconds: of the clip. start, end: of its files, as of `Clip`.
    Raises:
      MediaError: a file cannot be read, or there is nobody here who writes H.264 or AAC.
    """
    import av.error

    sound = read_audio(path, seconds, start, end) if heard else None
    count = max(1, round(seconds * RATE))
    frames = None if film is None else decode_video(film, count, SIZE, SIZE, "area", start, end)
    if sound is None and frames is None:
        raise MediaError(path, "holds neither sound nor a film")
    try:
        return _written(None if sound is None else sound.samples, frames)
    except (av.error.FFmpegError, ValueError) as e:
        raise MediaError(path, f"cannot be written as MP4 ({e})") from None


def _written(sound: np.ndarray | None, frames: np.ndarray | None) -> bytes:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        film = voice = None
        if frames is not None:
            film = cast(av.VideoStream, container.add_stream("libx264", rate=RATE, options=_QUALITY))
            film.width, film.height, film.pix_fmt = SIZE, SIZE, "yuv420p"
        if sound is not None:
            voice = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=_BITS)
            voice = cast(av.AudioStream, voice)
        if film is not None and frames is not None:
            for picture in frames:
                container.mux(film.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
            container.mux(film.encode(None))
        if voice is not None and sound is not None:
            frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), 0
            container.mux(voice.encode(frame))
            container.mux(voice.encode(None))
    return file.getvalue()
