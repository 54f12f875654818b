"""What a media file claims to hold: its streams, and how many bytes it should have.

Decoders read a file that was cut off as far as it goes and say nothing. Most containers, though, state their own
length, so that a cut is seen by comparing that with the file: RIFF and AIFF chunks, ISO base media boxes (MP4, MOV),
EBML elements (WebM, Matroska), Ogg pages, the Xing header of MP3. FLAC states its number of samples instead, which
`audio.py` compares. A stream without a stated length (live WebM, fragmented MP4, MP3 without Xing) cannot be checked.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_UNSTATED = (0, 0xFFFFFFFF)  # sizes that a writer leaves in a RIFF header when it could not go back to it
_NO_MEDIA = ("tty", "hls", "concat", "dash")  # FFmpeg draws text as a film, and follows lists to other files
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof")


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


def check_whole(path: Path) -> None:
    """Raises MediaError for a file that is missing, empty, or shorter than its container says."""
    try:
        size = os.stat(path).st_size
        if not size:
            raise MediaError(path, "is empty")
        with open(path, "rb") as file:
            stated = _stated_size(file, size)
    except OSError as e:
        raise MediaError(path, e.strerror or str(e)) from None
    if stated is not None and stated > size:
        missing = "the last part" if stated == math.inf else f"{stated - size} bytes or more"
        raise MediaError(path, f"is cut off: {missing} that its container speaks of is missing")


def open_media(path: Path) -> "InputContainer":
    """The container opened for demuxing by PyAV; raises MediaError."""
    import av
    import av.error

    check_whole(path)
    # Tags in an old encoding are no reason to refuse a file (PyAV 19 needs no telling); nothing may reach the network.
    lenient: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    try:
        container = av.open(str(path), options={"protocol_whitelist": "file"}, **lenient)
    except (av.error.FFmpegError, OSError) as e:
        raise MediaError(path, f"is not a media file that can be read ({e.strerror})") from None
    if container.format.name in _NO_MEDIA:
        container.close()
        raise MediaError(path, "is text, not a media file")
    return container


def video_stream(container: "InputContainer") -> "VideoStream | None":
    """The first stream of moving pictures; not the cover that a music file carries."""
    from av.stream import Disposition

    return next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)


def probe(path: Path) -> Streams:
    """The streams that a file holds, from its headers alone; raises MediaError."""
    with open_media(path) as container:
        seconds = container.duration / 1e6 if container.duration else None
        return Streams(bool(container.streams.audio), video_stream(container) is not None, seconds)


def _stated_size(file: BinaryIO, size: int) -> float | None:
    """Bytes that the file should have at least (inf: more, but not how many); None: its container does not say."""
    head = file.read(12)
    match head[:4], head[8:12]:
        case ((b"RIFF" | b"RF64"), b"WAVE"):
            return _wave(file, size)
        case b"RIFF", _:
            return _riff(file, size)
        case b"FORM", _:
            return 8 + int.from_bytes(head[4:8], "big")
        case b"OggS", _:
            return _ogg(file, size)
        case b"\x1aE\xdf\xa3", _:
            return _ebml(file)
    if head[4:8] in _BOXES:
        return _boxes(file, size)
    return _mp3(file) if head[:3] == b"ID3" or (head[0] == 0xFF and head[1:2] >= b"\xe0") else None


def _wave(file: BinaryIO, size: int) -> float | None:
    """To the end of the sound; a chunk of tags after it may be missing."""
    at, long = 12, None
    while at + 8 <= size:
        file.seek(at)
        head = file.read(36)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] == b"ds64":  # RF64: the sizes that do not fit 32 bits
            long = int.from_bytes(head[16:24], "little")
        if head[:4] == b"data":
            length = long if long is not None and length == 0xFFFFFFFF else length
            return None if length in _UNSTATED and at + 8 < size else at + 8 + length
        at += 8 + length + length % 2
    return math.inf


def _riff(file: BinaryIO, size: int) -> int | None:
    """AVI: one RIFF list, or several where it is longer than a gigabyte."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF" or length in _UNSTATED:
            return None
        at += 8 + length
    return at


def _boxes(file: BinaryIO, size: int) -> int:
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        elif length == 0 and len(head) >= 8:  # to the end of the file
            return size
        at += max(length, 8)
    return at


def _ebml(file: BinaryIO) -> int | None:
    """The EBML header, then one Segment that holds all the rest."""

    def number(keep_marker: bool) -> tuple[int, bool]:
        first = file.read(1) or b"\x01"
        extra = 8 - first[0].bit_length() if first[0] else 7
        data = first + file.read(extra)
        value = int.from_bytes(data, "big")
        bits = 7 * (extra + 1)
        return (value, False) if keep_marker else (value & (1 << bits) - 1, value & (1 << bits) - 1 == (1 << bits) - 1)

    file.seek(4)
    length, _ = number(False)
    file.seek(length, os.SEEK_CUR)
    element, _ = number(True)
    length, unstated = number(False)
    return None if element != 0x18538067 or unstated else file.tell() + length


def _ogg(file: BinaryIO, size: int) -> float:
    """Pages, the last one of every stream marked as such."""
    at, open_streams = 0, set()
    while at < size:
        file.seek(at)
        head = file.read(27 + 255)
        if len(head) < 27 or head[:4] != b"OggS":
            return math.inf if open_streams else size
        segments, serial = head[26], head[14:18]
        (open_streams.discard if head[5] & 4 else open_streams.add)(serial)
        at += 27 + segments + sum(head[27 : 27 + segments])
    return math.inf if open_streams else at


def _mp3(file: BinaryIO) -> int | None:
    """The Xing (or Info) header in the first frame states the bytes from that frame on."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3":
        start = 10 + sum((b & 0x7F) << shift for b, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(start)
    frame = file.read(200)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or not frame[at + 7 : at + 8] or not frame[at + 7] & 2:
        return start + 4  # at least one frame
    field = at + 8 + 4 * (frame[at + 7] & 1)
    return start + int.from_bytes(frame[field : field + 4], "big")
