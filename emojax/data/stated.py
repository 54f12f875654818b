"""How many bytes a media file should have, and where recordings begin in it, by what its container states.

Decoders read a file that was cut off as far as it goes and say nothing. Most containers, though, state their own
length, so that a cut is seen by comparing that with the file: RIFF and AIFF chunks, ISO base media boxes (MP4, MOV),
EBML elements (WebM, Matroska), Ogg pages, the Xing header of MP3. FLAC states its number of samples instead, which
`audio.py` compares. What nobody states cannot be checked: live WebM, fragmented MP4, MP3 without Xing, and every file
that was written to a pipe, where the writer could not go back to fill in a size. What follows the stated end (tags,
junk) is nobody's loss, unless it is another recording.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from emojax.data import ogg
from emojax.data.ogg import Bytes

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"meta", b"uuid", b"udta")
_BOXES += (b"sidx", b"ssix", b"prft", b"emsg", b"mfra", b"pdin")
_CHUNKS = 100_000  # or boxes that are looked at; an hour of film in short fragments has 15,000
_JOINED = 1_000  # recordings in one file; beyond, what looks like their beginnings is something else
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # what follows the last frame of an MP3


def unstated(length: int, size: int) -> bool:
    """Whether a stated length is what writers leave that cannot go back: 0, or about the most that the field holds."""
    return not length or (length > size and any(abs(length - 2**n) <= 2**16 for n in (31, 32, 63, 64)))


def stated_size(data: Bytes) -> float | None:
    """Bytes that the file should have at least (inf: more, but not how many); None: its container does not say.

    Args:
      data: the whole file, not empty.
    """
    match data[:4], data[8:12]:
        case ((b"RIFF" | b"RF64"), b"WAVE"):
            return _wave(data)
        case b"RIFF", _:
            return _riff(data)
        case b"FORM", _:
            length = int.from_bytes(data[4:8], "big")
            return None if unstated(length, len(data)) else 8 + length
        case b"OggS", _:
            return ogg.end(data)
        case b"\x1aE\xdf\xa3", _:
            return _ebml(data, 0)
    if data[4:8] in _BOXES:
        return _boxes(data)
    if _is_mp3(data[:4]):
        xing = read_xing(data)
        return xing.end or xing.start + 4  # at least one frame
    return None


def recordings(data: Bytes) -> list[tuple[int, int]]:
    """Where each recording begins and ends in a WAV, AVI, FLAC, Ogg, WebM or MP3 file to which others were joined byte
    by byte; where it is one, as nearly always, or of another kind: the whole file."""
    starts, at = [0], 0
    match data[:4]:
        case b"RIFF" | b"RF64":
            while (end := _chunk(data, at)[1]) > at and data[end : end + 4] == data[:4]:
                at = end
                starts += [at] if data[at + 8 : at + 12] == data[8:12] else []  # a long AVI goes on as AVIX
        case b"fLaC":
            starts = list(islice(_flac_starts(data), _JOINED + 1))
        case b"OggS":
            starts = ogg.starts(data)
        case head if _is_mp3(head):
            while (end := read_xing(data, at).next) is not None and _is_mp3(data[end : end + 4]):
                starts.append(at := end)
        case b"\x1aE\xdf\xa3":
            while (end := _ebml(data, at)) is not None and data[end : end + 4] == data[:4]:
                starts.append(at := end)
    starts = starts if len(starts) <= _JOINED else [0]
    return list(zip(starts, [*starts[1:], len(data)], strict=True))


def films(data: Bytes) -> int:
    """How many films of their own an MP4 or FLV holds; FFmpeg and players show the first."""
    if data[:4] == b"FLV\x01":
        return 1 + (data.find(data[:9], 9) > 0)
    if data[4:8] not in _BOXES:
        return 1
    names = [name for name, _ in _walk(data)]
    return 1 if b"moof" in names else max(1, min(names.count(b"ftyp"), names.count(b"moov")))


@dataclass(frozen=True)
class Xing:
    """What the header in the first frame of an MP3 states."""

    start: int  # of the first frame
    end: int | None  # of the last
    next: int | None  # where what is no tag goes on after it; where it states its samples, too

    def is_whole(self, data: Bytes) -> bool:
        """It states all that is in the file."""
        return self.next is not None and not data[self.next :].strip(b"\0")


def read_xing(data: Bytes, at: int = 0) -> Xing:
    """Of the MP3 that begins at a byte of the file."""
    start = _after_id3(data, at) if data[at : at + 3] == b"ID3" else at
    frame = data[start : start + 200]
    found = max(frame.find(b"Xing"), frame.find(b"Info"))
    if found < 0 or not frame[found + 7 : found + 8] or not frame[found + 7] & 2:
        return Xing(start, None, None)
    frames = frame[found + 7] & 1
    field = found + 8 + 4 * frames
    length = int.from_bytes(frame[field : field + 4], "big")
    end = start + length
    return Xing(start, end if length else None, _after_tags(data, end) if frames and length else None)


def _after_id3(data: Bytes, at: int) -> int:
    return at + 10 + sum((b & 0x7F) << shift for b, shift in zip(data[at + 6 : at + 10], (21, 14, 7, 0), strict=False))


def _after_tags(data: Bytes, at: int) -> int:
    while (tag := data[at : at + 16]).startswith(_TAGS):
        if tag.startswith(b"TAG"):
            at += 128
        elif tag.startswith(b"APETAGEX"):
            at += 32 + int.from_bytes(tag[12:16], "little")
        else:
            at = max(data.find(b"LYRICS200", at), at + 2) + 9
    if tag.startswith(b"ID3") and _after_id3(data, at) >= len(data):
        return len(data)
    return at


def _is_mp3(head: bytes) -> bool:
    return head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")


def _chunk(data: Bytes, at: int) -> tuple[bytes, int]:
    """Name and end of a RIFF chunk."""
    length = int.from_bytes(data[at + 4 : at + 8], "little")
    return data[at : at + 4], at + 8 + length + length % 2


def _wave(data: Bytes) -> float | None:
    """To the end of the sound; a chunk of tags after it may be missing."""
    at, long = 12, None
    for _ in range(_CHUNKS):
        name, end = _chunk(data, at)
        if at + 8 > len(data) or not name.strip(b"\0"):
            break
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"ds64":  # RF64: the sizes that do not fit 32 bits
            long = int.from_bytes(data[at + 16 : at + 24], "little")
        if name == b"data":
            length = long if long is not None and length == 0xFFFFFFFF else length
            return None if unstated(length, len(data)) and at + 8 < len(data) else at + 8 + length
        at = end
    return math.inf


def _riff(data: Bytes) -> int | None:
    """AVI: one RIFF list, or several where it is longer than a gigabyte. Some writers count its header twice."""
    at = 0
    while at + 8 <= len(data) and data[at : at + 4] == b"RIFF":
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if unstated(length, len(data)):
            return None
        if 0 < at + 8 + length - len(data) <= 8 and _ends(data, at + 12):
            return len(data)
        at += 8 + length
    return at


def _ends(data: Bytes, at: int) -> bool:
    """Whether the last of the chunks that begin at `at` ends where the file does."""
    while at + 8 <= len(data):
        at = _chunk(data, at)[1]
    return at in (len(data), len(data) + 1)


def _walk(data: Bytes) -> Iterator[tuple[bytes, int]]:
    """Name and end of each box; junk after a whole film ends them."""
    at, seen = 0, set()
    for _ in range(_CHUNKS):
        if at >= len(data):
            return
        head = data[at : at + 16]
        name, length = head[4:8], int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        elif length == 0 and len(head) >= 8:  # to the end of the file
            length = len(data) - at
        at += max(length, 8)
        if at > len(data) and name not in _BOXES and b"moov" in seen and seen & {b"mdat", b"moof"}:
            return
        seen.add(name)
        yield name, at


def _boxes(data: Bytes) -> int:
    return max(end for _, end in _walk(data))


def _ebml(data: Bytes, at: int) -> int | None:
    """The end of the one Segment that holds all that comes after an EBML header."""

    def number(at: int) -> tuple[int, int, bool]:
        """Value, end, and whether it is the one that says: not stated."""
        first = data[at] if at < len(data) else 1
        extra = 8 - first.bit_length() if first else 7
        bits = 7 * (extra + 1)
        value = int.from_bytes(data[at : at + 1 + extra] or b"\x01", "big") & (1 << bits) - 1
        return value, at + 1 + extra, value == (1 << bits) - 1

    length, at, _ = number(at + 4)
    at += length
    if data[at : at + 4] != b"\x18\x53\x80\x67":
        return None
    length, at, unsaid = number(at + 4)
    return None if unsaid else at + length


def _flac_starts(data: Bytes) -> Iterator[int]:
    yield 0
    at = 0
    while (at := data.find(b"fLaC", at + 4)) > 0:
        if data[at + 4 : at + 8] in (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22"):  # the block that comes first
            yield at
