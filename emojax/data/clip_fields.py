"""The JSON object of a manifest's line, read as a clip, with all that is wrong with it.

A million lines are read by this: what is right is told by few looks, and only what is wrong is looked at closely.
"""

import difflib
import json
import math
import os
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from emojax.data.clip import Clip
from emojax.data.records import Stored
from emojax.storage import parse_json

_LONGEST = 200  # characters of a name or a value that a fault shows
_MOST_SECONDS = 10_000_000
_STREAMS = ("audio", "video", "transcript")
_WORDS = ("emotion", "speaker", "split", "language", "source")  # of which many clips have the same
_KNOWN = [f.name for f in fields(Clip)]
_NAMES = frozenset((*_KNOWN, "caption"))
_NOTHING: Mapping[str, Any] = {}  # one for all clips

Record = dict[str, Any]  # as it is given, without what is null


def read_clip(line: bytes, folder: str, media: Mapping[str, Stored] = _NOTHING) -> tuple[Clip | None, list[str]]:
    """One line's clip (None: nothing can be made of it) and what is wrong with it.

    Args:
      folder: that its paths are relative to.
      media: streams that do not stand in the line.
    """
    try:
        record = parse_json(line, "")
    except ValueError as e:
        return None, [str(e).removeprefix(": ")]
    if not isinstance(record, dict):
        return None, [f"a clip is a JSON object, got {_kind(record)}"]
    wrong: list[str] = []
    if not record.keys() <= _NAMES:
        wrong += [_unknown(name[:_LONGEST]) for name in record if name not in _NAMES]
    given: Record = {name: value for name, value in record.items() if value is not None}

    name = _text("id", given, wrong)
    if "id" not in given:
        wrong.append('"id" is missing')
    audio, video = (media.get(n) or _file(n, given, folder, wrong) for n in ("audio", "video"))
    transcript = _text("transcript", given, wrong)
    if not media and not any(stream in given for stream in _STREAMS):
        wrong.append('no stream: give at least one of "audio", "video", "transcript"')
    words = {n: sys.intern(found) for n in _WORDS if (found := _text(n, given, wrong)) is not None}
    captions = _captions(given, wrong)
    partial = _lists("captions_of", given, wrong)
    for stream in partial.keys() - set(_STREAMS):
        wrong.append(f'"captions_of" names "{stream}"; streams are "audio", "video" and "transcript"')
    languages = _lists("captions_in", given, wrong)
    attributes = _object("attributes", given, wrong)
    for attribute, value in attributes.items():
        if not isinstance(value, str) or not value.strip():
            wrong.append(f'"attributes.{attribute}" must be a string with a word in it, got {_kind(value)}')
    seconds = _seconds(given, wrong)
    labels, soft = _labels(given, wrong), _soft(given, wrong)
    numbers = {n: _number(n, given, wrong) for n in ("valence", "arousal", "dominance") if n in given}
    start, end = _span({**media, **given}, wrong)
    if name is None:
        return None, wrong
    extra = _object("extra", given, wrong)
    if extra and not _finite(extra):
        wrong.append('"extra" holds a number that is not finite, for which JSON has no word')
    facts = {"captions_of": partial, "captions_in": languages, "attributes": attributes, "extra": extra}
    said = {"labels": labels, "soft_labels": soft, "start": start, "end": end, "seconds": seconds}
    return Clip(name, audio, video, transcript, captions, **said, **words, **numbers, **facts), wrong


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _KNOWN, 1, 0.5)
    hint = f'; did you mean "{near[0]}"?' if near else f"; known are: {', '.join(_KNOWN)}"
    return f'unknown field "{name}"{hint}'


def _text(name: str, given: Record, wrong: list[str]) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        wrong.append(f'"{name}" must be a string, got {_kind(value)}')
        return None
    if not value.strip():
        wrong.append(f'"{name}" is empty; leave it out where there is none')
        return None
    return value


def _file(name: str, given: Record, folder: str, wrong: list[str]) -> Path | None:
    value = _text(name, given, wrong)
    if value is None:
        return None
    path = os.path.join(folder, value)
    if not os.path.isfile(path):
        try:
            os.stat(path)
        except OSError as e:
            if not isinstance(e, FileNotFoundError | NotADirectoryError):
                wrong.append(f'"{name}" names no file ({e.strerror}): {value[:_LONGEST]}')
                return None
        except ValueError:
            pass  # a name that no file can have
        wrong.append(f'"{name}" names a file that is not there: {value[:_LONGEST]}')
    return Path(path)


def _number(name: str, given: Record, wrong: list[str]) -> float | None:
    value = given.get(name)
    if value is None or _is_number(value):
        return value
    wrong.append(f'"{name}" must be a number, got {json.dumps(value)[:_LONGEST]}')
    return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _MOST_SECONDS


def _seconds(given: Record, wrong: list[str]) -> float | None:
    value = given.get("seconds")
    if value is None or (_is_number(value) and value > 0):
        return value
    above = f", below {_MOST_SECONDS:,}" if type(value) in (int, float) and value > 0 else ""
    wrong.append(f'"seconds" must be a number above 0{above}, got {json.dumps(value)[:_LONGEST]}')
    return None


def _span(given: Record, wrong: list[str]) -> tuple[float | None, float | None]:
    """Where in its files the clip begins and ends."""
    if "start" not in given and "end" not in given:
        return None, None
    start, end = _number("start", given, wrong), _number("end", given, wrong)
    first = start or 0
    if first < 0 or (end is not None and end <= first):
        wrong.append(f'"start" and "end" must be seconds, 0 <= start < end, got {start} and {end}')
    if "audio" not in given and "video" not in given:
        wrong.append('"start" and "end" are of a file, and the clip has none')
    return start, end


def _labels(given: Record, wrong: list[str]) -> tuple[str, ...]:
    value = given.get("labels")
    if value is None:
        return ()
    if not isinstance(value, list) or not value or not all(isinstance(x, str) and x.strip() for x in value):
        wrong.append('"labels" must be a list of labels, one an annotator; leave it out where there is none')
        return ()
    return tuple(map(sys.intern, value))


def _soft(given: Record, wrong: list[str]) -> Mapping[str, float]:
    shares = _object("soft_labels", given, wrong)
    if not shares:
        return _NOTHING
    if not all(_is_number(x) and x >= 0 for x in shares.values()) or not math.fsum(shares.values()) > 0:
        wrong.append('"soft_labels" must be numbers from 0 up by emotion, one of them above 0')
        return _NOTHING
    return shares


def _finite(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _object(name: str, given: Record, wrong: list[str]) -> Mapping[str, Any]:
    value = given.get(name, _NOTHING)
    if isinstance(value, dict):
        return value
    wrong.append(f'"{name}" must be an object, got {_kind(value)}')
    return _NOTHING


def _lists(name: str, given: Record, wrong: list[str]) -> Mapping[str, tuple[str, ...]]:
    found = _object(name, given, wrong)
    return {key: _listed(value, f"{name}.{key}", wrong) for key, value in found.items()} if found else _NOTHING


def _captions(given: Record, wrong: list[str]) -> tuple[str, ...]:
    if "caption" in given and "captions" in given:
        wrong.append('"caption" and "captions" are both given; keep "captions"')
    name = "captions" if "captions" in given else "caption"
    if name not in given:
        return ()
    captions = [given["caption"]] if name == "caption" else given["captions"]
    wanted = "a string" if name == "caption" else "a list of strings"
    return _listed(captions, name, wrong, wanted)


def _listed(captions: Any, name: str, wrong: list[str], wanted: str = "a list of strings") -> tuple[str, ...]:
    """The strings of a list of captions."""
    if not isinstance(captions, list):
        wrong.append(f'"{name}" must be a list of strings, got {_kind(captions)}')
        return ()
    if not captions and name != "caption":
        wrong.append(f'"{name}" is an empty list; leave it out where there is none')
    for caption in captions:
        if not isinstance(caption, str):
            wrong.append(f'"{name}" must be {wanted}, got {_kind(caption)}')
        elif not caption.strip():
            wrong.append("empty caption")
        elif not visible(caption):
            wrong.append(f"a caption of characters that show nothing by themselves: {ascii(caption)[:_LONGEST]}")
    return tuple(c for c in captions if isinstance(c, str))


def visible(text: str) -> bool:
    """Whether a letter, a number, a sign or a picture is in it: combining and zero-width characters are no words."""
    return text[:1].isalnum() or any(unicodedata.category(c)[0] in "LNPS" for c in text)


def _kind(value: object) -> str:
    kinds = {str: "a string", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return kinds.get(type(value), "null" if value is None else "an object")
