"""Captions from elsewhere, joined to clips by their ids."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from emojax.data.clip import Clip
from emojax.data.clip_fields import visible
from emojax.datasets.tables import read_rows
from emojax.datasets.tree import DatasetError
from emojax.storage import parse_json

_WHOLE = ("captions", "caption")


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """Captions by id: of a CSV file with the columns `id` and `caption`, a row a caption; of JSON lines with `id` and
    `captions` or `caption`, as `emojax caption` writes them; or of one JSON object of them by id.

    Raises:
      DatasetError: none of these, or no caption in it.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, captions in _pairs(Path(path)):
        texts = (captions,) if isinstance(captions, str) else captions
        if (
            not isinstance(name, str)
            or not isinstance(texts, tuple | list)
            or not all(isinstance(t, str) for t in texts)
        ):
            raise DatasetError(f"{path}: wanted captions, strings or lists of them, by id; got {str(captions)[:80]!r}")
        found[name] = (*found.get(name, ()), *(text.strip() for text in texts if visible(text)))
    if not any(found.values()):
        raise DatasetError(f"{path}: holds no caption")
    return found


def _pairs(path: Path) -> Iterable[tuple[Any, Any]]:
    if path.suffix.lower() == ".csv":
        return [(row["id"], row["caption"]) for row in read_rows(path, ("id", "caption"))]
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".json":
            found = parse_json(data, path)
            return found.items() if isinstance(found, Mapping) else [(None, found)]
        lines = [parse_json(line, f"{path}, line {n}") for n, line in enumerate(data.splitlines(), 1) if line.strip()]
    except OSError as e:
        raise DatasetError(f"{path}: cannot be read ({e.strerror})") from None
    except ValueError as e:
        raise DatasetError(str(e)) from None
    rows = (line if isinstance(line, Mapping) else {} for line in lines)
    return [(row.get("id"), next((row[name] for name in _WHOLE if name in row), ())) for row in rows]


def join(clips: Iterable[Clip], captions: Mapping[str, tuple[str, ...]]) -> tuple[list[Clip], int]:
    """The clips with further captions after their own, and how many ids no clip has."""
    clips = list(clips)
    left = captions.keys() - {clip.id for clip in clips}
    return [replace(c, captions=(*c.captions, *captions.get(c.id, ()))) for c in clips], len(left)
