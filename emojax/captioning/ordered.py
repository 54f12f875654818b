"""Records of clips, made in any order, in the order of the clips."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emojax.data.clips import Clip


def repeated(ids: Iterable[str]) -> str | None:
    """The first id that comes a second time."""
    seen: set[str] = set()
    return next((i for i in ids if i in seen or seen.add(i)), None)


def in_order(clips: Sequence["Clip"], records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The records in the order of their clips; those that came early wait."""
    early: dict[str, dict[str, Any]] = {}
    for clip in clips:
        while clip.id not in early:
            record = next(records)
            early[record["id"]] = record
        yield early.pop(clip.id)
