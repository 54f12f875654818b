"""Pages of an Ogg file: where recordings begin in it, and whether its last page is there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

Bytes = bytes | mmap
_PAGES = 1_000_000  # that are looked at; an hour of sound in the smallest has 180,000
_PAGE = 4096  # bytes of a page that libogg sends off because it is full; FFmpeg and others do so after a second


@dataclass(frozen=True)
class _Page:
    at: int
    end: int
    serial: bytes
    first: bool  # of its stream
    last: bool
    granule: int
    segments: int


def _pages(data: Bytes) -> Iterator[_Page]:
    at = 0
    for _ in range(_PAGES):
        head = data[at : at + 27 + 255]
        if len(head) < 27 or head[:4] != b"OggS":
            return
        n, flags, granule = head[26], head[5], int.from_bytes(head[6:14], "little", signed=True)
        end = at + 27 + n + sum(head[27 : 27 + n])
        yield _Page(at, end, head[14:18], bool(flags & 2), bool(flags & 4), granule, n)
        at = end


def starts(data: Bytes) -> list[int]:
    """Where each of the recordings begins that are joined."""
    pages = list(_pages(data))
    return [0] + [p.at for p, before in zip(pages[1:], pages, strict=False) if p.first and not before.first]


def end(data: Bytes) -> float:
    """Bytes that the file should have; inf: more.

    The last page of every stream should be marked as such; many recorders (Android's, Telegram's) do not mark it. Then
    the end is told from a cut between two pages by the page: one that is not full was sent off because there was no
    more, and only at the end does a page hold fewer samples than its packets.
    """
    before, last = _last_pages(data)
    reached = max((page.end for page in last.values()), default=0)
    if reached > len(data):
        return reached
    if reached < len(data) and b"OggS".startswith(data[reached : reached + 4]):
        return math.inf
    cut = (not page.last and _goes_on(data, page, before.get(serial)) for serial, page in last.items())
    return math.inf if any(cut) else reached


def is_marked(data: Bytes) -> bool:
    """Whether every stream of an Ogg file has its end marked."""
    return all(page.last for page in _last_pages(data)[1].values())


def _last_pages(data: Bytes) -> tuple[dict[bytes, _Page], dict[bytes, _Page]]:
    """The last page but one, and the last, by the stream's number."""
    before: dict[bytes, _Page] = {}
    last: dict[bytes, _Page] = {}
    for page in _pages(data):
        if page.serial in last:
            before[page.serial] = last[page.serial]
        last[page.serial] = page
    return before, last


def _goes_on(data: Bytes, page: _Page, before: _Page | None) -> bool:
    """Whether a page that is not marked as the last holds headers alone, the first part of a packet, or is full and
    holds all samples of its packets."""
    unfinished = not page.segments or data[page.at + 26 + page.segments] == 255
    if page.granule <= 0 or unfinished:
        return True
    rate, unit = _units(data, page.serial)
    body = page.end - page.at - 27 - page.segments
    samples = page.granule - max(before.granule if before else 0, 0)
    full = body >= _PAGE or page.segments >= 250 or samples >= 0.95 * rate
    return full and page.granule % unit == 0


def _units(data: Bytes, serial: bytes) -> tuple[float, int]:
    """Granules a second of a stream, and of what number those of its packets are multiples; by its first page."""
    head = next(data[page.at + 27 + page.segments : page.end] for page in _pages(data) if page.serial == serial)
    if head[:8] == b"OpusHead":
        return 48_000, 120
    if head[1:7] == b"vorbis" and len(head) > 28:
        return int.from_bytes(head[12:16], "little"), max(1, (1 << (head[28] & 15)) // 4)  # of the smaller block
    return math.inf, 1
