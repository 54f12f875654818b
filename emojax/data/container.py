"""What a media file holds: whether it is all there, its streams, and which of them are meant."""

import functools
import math
import os
import stat
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emojax.data.stated import films, read_xing, recordings, stated_size

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

# FFmpeg's names of the formats that are read: each is one file of sound or pictures. Others follow lists to files and
# hosts (HLS, DASH, concat, IMF, SDP), draw text as a film, or are captured from devices.
_FORMATS = (
    "aac,ac3,ac4,aiff,alaw,amr,amrnb,amrwb,ape,apng,asf,asf_o,au,av1,avi,bmp_pipe,caf,dsf,dts,"
    "dtshd,dv,eac3,flac,flic,flv,gif,gif_pipe,gsm,gxf,h261,h263,h264,hevc,iamf,iff,ilbc,ircam,"
    "ivf,jpeg_pipe,live_flv,loas,m4v,matroska,mjpeg,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,"
    "mulaw,mxf,nistsphere,nsv,nut,obu,ogg,oma,png_pipe,qcp,rm,shn,sox,spdif,swf,tak,truehd,tta,"
    "vc1,voc,vvc,w64,wav,webp_pipe,wtv,wv,xwma,yuv4mpegpipe"
)
# Formats whose length is written down or follows from sizes that are; that of others is a guess by the bit rate.
_STATING = {"aiff", "asf", "au", "avi", "caf", "dsf", "flac", "flv", "iff", "matroska", "mov", "mxf", "nut"}
_STATING |= {"ogg", "rm", "tta", "w64", "wav", "wv"}
_LONGEST = 1e6  # seconds; what states more was not known when the header was written
_OPENING = 60.0  # seconds that opening, and that each read, may wait


class MediaError(ValueError):
    """A media file that cannot be used: which one, and why."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(path, why)  # both as arguments, so that the error survives the way out of a worker process
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


@dataclass(frozen=True)
class Streams:
    audio: bool
    video: bool  # an attached cover picture is not a video
    seconds: float | None  # of the longest stream; None: the container does not say


def check_whole(path: Path) -> list[tuple[int, int]]:
    """Where each of the recordings begins and ends that are joined in the file: nearly always one, the whole file.

    Raises:
      MediaError: it is missing, empty, or shorter than its container says.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # a pipe may keep its reader waiting for ever
            raise MediaError(path, "is not a file")
        if not found.st_size:
            raise MediaError(path, "is empty")
        parts, missing = _look(path, found.st_ino, found.st_size, found.st_mtime_ns)
    except OSError as e:
        raise MediaError(path, e.strerror or str(e)) from None
    if missing:
        part = "the last part" if missing == math.inf else f"{missing} bytes or more"
        raise MediaError(path, f"is cut off: {part} that its container speaks of is missing")
    return parts


@functools.lru_cache(maxsize=1)  # a clip's file is looked at for its sound and again for its pictures
def _look(path: Path, *_: int) -> tuple[list[tuple[int, int]], float]:
    """Recordings in a file and bytes that are missing; found anew where the file is another or has changed."""
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        if films(data) > 1:
            raise MediaError(path, "is several films joined byte by byte; join them with ffmpeg's concat instead")
        parts = recordings(data)
        each = [data] if len(parts) == 1 else [data[start:end] for start, end in parts]
        return parts, max(0, *((stated_size(part) or 0) - len(part) for part in each))


def open_media(path: Path) -> "InputContainer":
    """The container opened for demuxing by PyAV; raises MediaError. No other file is opened, and no host reached."""
    import av
    import av.error

    check_whole(path)
    # Tags in an old encoding are no reason to refuse a file (PyAV 19 needs no telling).
    lenient: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    allowed = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    try:
        # absolute: FFmpeg takes what stands before a colon for a protocol
        return av.open(os.path.abspath(path), container_options=allowed, timeout=_OPENING, **lenient)
    except av.error.ArgumentError:
        raise MediaError(path, "is not a media file of a format that is read") from None
    except (av.error.FFmpegError, OSError) as e:
        raise MediaError(path, f"is not a media file that can be read ({e.strerror})") from None


def video_stream(container: "InputContainer") -> "VideoStream | None":
    """The moving pictures, not the cover of a music file nor a preview; of several those marked as default."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    films = [s for s in container.streams.video if not s.disposition & still]
    moving = [s for s in films if s.frames != 1] or films  # 0: the container does not say
    marked = [s for s in moving if s.disposition & Disposition.default] or moving
    best = container.streams.best("video")  # of those that are marked alike FFmpeg takes the one with more frames
    return next((s for s in marked if best is not None and s.index == best.index), marked[0] if marked else None)


def audio_stream(container: "InputContainer") -> "AudioStream | None":
    """The sound track that is marked as default, or the first."""
    from av.stream import Disposition

    tracks = container.streams.audio
    return next((s for s in tracks if s.disposition & Disposition.default), tracks[0] if tracks else None)


def require_codec(path: Path, stream: "AudioStream | VideoStream") -> None:
    """Raises MediaError where FFmpeg does not know what a stream is encoded with."""
    if stream.codec_context is None:
        raise MediaError(path, f"has {stream.type} of a codec that is not known here")


def probe(path: Path) -> Streams:
    """The streams that a file holds; raises MediaError. Where no length is stated, the packets are counted."""
    with open_media(path) as container:
        sound, film = audio_stream(container), video_stream(container)
        seconds = stated_seconds(path, container)
        if len(check_whole(path)) > 1:
            seconds = None
        elif seconds is None and sound is not None:
            seconds = count_seconds(container, sound)
        return Streams(sound is not None, film is not None, seconds)


def stated_seconds(path: Path, container: "InputContainer", sound: "AudioStream | None" = None) -> float | None:
    """Of the longest stream, or of this sound track where it states its own; None where all there is is a guess."""
    names = container.format.name.split(",")
    if names == ["mp3"]:
        with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            stated = read_xing(data).is_whole(data)
    elif names == ["wav"]:  # of compressed sound, such as MP3, it is by the bit rate
        stated = all(s.codec_context.name.startswith("pcm") for s in container.streams.audio)
    else:
        stated = bool(_STATING.intersection(names))
    seconds = (container.duration or 0) / 1e6
    if sound is not None and sound.duration and sound.time_base:
        seconds = float(sound.duration * sound.time_base)
    return seconds if stated and 0 < seconds < _LONGEST else None


def count_seconds(container: "InputContainer", sound: "AudioStream") -> float | None:
    """Seconds of the packets that are left, none of which is decoded; None where they do not say."""
    ticks = sum(p.duration or 0 for p in container.demux(sound) if p.size)
    return float(ticks * sound.time_base) if ticks and sound.time_base else None
