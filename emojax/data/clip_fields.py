"""The JSON object of a manifest's line, read as a clip, with all that is wrong with it.

A million lines are read by this: what is right is told by few looks, and only what is wrong is looked at closely.
"""

import difflib
import json
import math
import os
import sys
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from emojax.data.clip import Clip
from emojax.data.present import Files
from emojax.data.records import Stored
from emojax.storage import parse_json

_LONGEST = 200  # characters of a name or a value that a fault shows
_MOST_SECONDS = 10_000_000
_STREAMS = ("audio", "video", "transcript")
_MEDIA = ("audio", "video")
_KNOWN = [f.name for f in fields(Clip)]
NO_STREAM = 'no stream: give at least one of "audio", "video", "transcript"'
_NOTHING: Mapping[str, Any] = {}  # one for all clips
_EMPTY: dict[str, Any] = dict.fromkeys(("attributes", "captions_of", "captions_in", "soft_labels", "extra"), _NOTHING)


def read_clip(
    line: bytes, files: Files, media: Mapping[str, Path | Stored] = _NOTHING
) -> tuple[Clip | None, list[str]]:
    """One line's clip (None: nothing can be made of it) and what is wrong with it.

    Args:
      files: that its paths lead to.
      media: streams that do not stand in the line.
    """
    try:
        record = parse_json(line, "")
    except ValueError as e:
        return None, [str(e).removeprefix(": ")]
    if not isinstance(record, dict):
        return None, [f"a clip is a JSON object, got {_kind(record)}"]
    wrong: list[str] = []
    found: dict[str, Any] = {**_EMPTY, **media}
    for name, value in record.items():
        if value is None:
            continue
        if read := _READERS.get(name):
            value = read(name, value, wrong)
        elif name in _MEDIA:
            value = _file(name, value, files, wrong)
        else:
            wrong.append(_unknown(name[:_LONGEST]))
            continue
        if value is not None:
            found[name] = value
    if "caption" in found:
        if "captions" in found:
            wrong.append('"caption" and "captions" are both given; keep "captions"')
        found["captions"] = found.pop("caption")
    if "start" in found or "end" in found:
        _check_span(found, wrong)
    if "audio" not in found and "video" not in found and all(record.get(stream) is None for stream in _STREAMS):
        wrong.append(NO_STREAM)
    if "id" not in found:
        return None, wrong if record.get("id") is not None else [*wrong, '"id" is missing']
    return Clip(**found), wrong


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _KNOWN, 1, 0.5)
    hint = f'; did you mean "{near[0]}"?' if near else f"; known are: {', '.join(_KNOWN)}"
    return f'unknown field "{name}"{hint}'


def _text(name: str, value: Any, wrong: list[str]) -> str | None:
    if not isinstance(value, str):
        wrong.append(f'"{name}" must be a string, got {_kind(value)}')
        return None
    if not value or value.isspace():
        wrong.append(f'"{name}" is empty; leave it out where there is none')
        return None
    return value


def _word(name: str, value: Any, wrong: list[str]) -> str | None:
    """Of which many clips have the same, kept once."""
    return None if _text(name, value, wrong) is None else sys.intern(value)


def _file(name: str, value: Any, files: Files, wrong: list[str]) -> Path | None:
    if _text(name, value, wrong) is None:
        return None
    path, there = files.find(value)
    if not there:
        try:
            os.stat(path)
        except OSError as e:
            if not isinstance(e, FileNotFoundError | NotADirectoryError):
                wrong.append(f'"{name}" names no file ({e.strerror}): {value[:_LONGEST]}')
                return None
        except ValueError:
            pass  # a name that no file can have
        wrong.append(f'"{name}" names a file that is not there: {value[:_LONGEST]}')
    return path


def _number(name: str, value: Any, wrong: list[str]) -> float | None:
    if _is_number(value):
        return value
    wrong.append(f'"{name}" must be a number, got {json.dumps(value)[:_LONGEST]}')
    return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _MOST_SECONDS


def _seconds(name: str, value: Any, wrong: list[str]) -> float | None:
    if _is_number(value) and value > 0:
        return value
    above = f", below {_MOST_SECONDS:,}" if type(value) in (int, float) and value > 0 else ""
    wrong.append(f'"{name}" must be a number above 0{above}, got {json.dumps(value)[:_LONGEST]}')
    return None


def _check_span(found: Mapping[str, Any], wrong: list[str]) -> None:
    """Where in its files the clip begins and ends."""
    start, end = found.get("start"), found.get("end")
    first = start or 0
    if first < 0 or (end is not None and end <= first):
        wrong.append(f'"start" and "end" must be seconds, 0 <= start < end, got {start} and {end}')
    if "audio" not in found and "video" not in found:
        wrong.append('"start" and "end" are of a file, and the clip has none')


def _labels(name: str, value: Any, wrong: list[str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(x, str) and x.strip() for x in value):
        wrong.append(f'"{name}" must be a list of labels, one an annotator; leave it out where there is none')
        return ()
    return tuple(map(sys.intern, value))


def _soft(name: str, value: Any, wrong: list[str]) -> Mapping[str, float]:
    shares = _object(name, value, wrong)
    if shares and (not all(_is_number(x) and x >= 0 for x in shares.values()) or not math.fsum(shares.values()) > 0):
        wrong.append(f'"{name}" must be numbers from 0 up by emotion, one of them above 0')
        return _NOTHING
    return shares


def _attributes(name: str, value: Any, wrong: list[str]) -> Mapping[str, str]:
    attributes = _object(name, value, wrong)
    for attribute, fact in attributes.items():
        if not isinstance(fact, str) or not fact.strip():
            wrong.append(f'"{name}.{attribute}" must be a string with a word in it, got {_kind(fact)}')
    return attributes


def _extra(name: str, value: Any, wrong: list[str]) -> Mapping[str, Any]:
    extra = _object(name, value, wrong)
    if extra and not _finite(extra):
        wrong.append(f'"{name}" holds a number that is not finite, for which JSON has no word')
    return extra


def _finite(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _object(name: str, value: Any, wrong: list[str]) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    wrong.append(f'"{name}" must be an object, got {_kind(value)}')
    return _NOTHING


def _lists(name: str, value: Any, wrong: list[str]) -> Mapping[str, tuple[str, ...]]:
    return {key: _listed(f"{name}.{key}", one, wrong) for key, one in _object(name, value, wrong).items()}


def _by_stream(name: str, value: Any, wrong: list[str]) -> Mapping[str, tuple[str, ...]]:
    found = _lists(name, value, wrong)
    for stream in found.keys() - set(_STREAMS):
        wrong.append(f'"{name}" names "{stream}"; streams are "audio", "video" and "transcript"')
    return found


def _caption(name: str, value: Any, wrong: list[str]) -> tuple[str, ...]:
    return _listed(name, [value], wrong, "a string")


def _chosen(name: str, value: Any, wrong: list[str]) -> str | None:
    return next(iter(_caption(name, value, wrong)), None)


def _rejected(name: str, value: Any, wrong: list[str]) -> tuple[str, ...]:
    """One, or a list of them."""
    return _listed(name, value, wrong) if isinstance(value, list) else _caption(name, value, wrong)


def _listed(name: str, captions: Any, wrong: list[str], wanted: str = "a list of strings") -> tuple[str, ...]:
    """The strings of a list of captions."""
    if not isinstance(captions, list):
        wrong.append(f'"{name}" must be a list of strings, got {_kind(captions)}')
        return ()
    if not captions:
        wrong.append(f'"{name}" is an empty list; leave it out where there is none')
    for caption in captions:
        if isinstance(caption, str) and caption[:1].isalnum():
            continue
        if not isinstance(caption, str):
            wrong.append(f'"{name}" must be {wanted}, got {_kind(caption)}')
        elif not caption.strip():
            wrong.append("empty caption")
        elif not visible(caption):
            wrong.append(f"a caption of characters that show nothing by themselves: {ascii(caption)[:_LONGEST]}")
    return tuple(c for c in captions if isinstance(c, str))


def visible(text: str) -> bool:
    """Whether a letter, a number, a sign or a picture is in it: combining and zero-width characters are no words."""
    return any(unicodedata.category(c)[0] in "LNPS" for c in text)


def _kind(value: object) -> str:
    kinds = {str: "a string", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return kinds.get(type(value), "null" if value is None else "an object")


_READERS: dict[str, Callable[[str, Any, list[str]], Any]] = {
    "id": _text,
    "transcript": _text,
    **dict.fromkeys(("emotion", "speaker", "split", "language", "source"), _word),
    "caption": _caption,
    "captions": _listed,
    "chosen": _chosen,
    "rejected": _rejected,
    "captions_of": _by_stream,
    "captions_in": _lists,
    "attributes": _attributes,
    "extra": _extra,
    "labels": _labels,
    "soft_labels": _soft,
    "seconds": _seconds,
    **dict.fromkeys(("start", "end", "valence", "arousal", "dominance"), _number),
}
