"""Clips and the JSONL manifest that lists them: one clip a line, paths relative to the manifest, absent means absent.

    {"id": "a1", "audio": "wav/a1.wav", "video": "mp4/a1.mp4", "transcript": "Go away.", "captions": ["..."],
     "emotion": "angry", "attributes": {"gender": "woman"}, "speaker": "s03", "split": "train", "language": "en",
     "seconds": 2.4, "captions_of": {"audio": ["..."]}, "extra": {"corpus": "IEMOCAP"}}

Only `id` and one stream (audio, video or transcript) are required; `caption` is short for a list of one. `extra` is the
user's own: it is carried through to the records of captions.
"""

import difflib
import json
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from emojax.config import ConfigError
from emojax.config.concepts import Concept
from emojax.storage import parse_json, refuse_pointer

_LONGEST = 200  # characters of a name or a value that a fault shows
_MOST_SECONDS = 10_000_000
_SHOWN = 20  # faults that an error prints; check_manifest gives them all


@dataclass(frozen=True)
class Clip:
    """A recording with what is known of it. Media are files, or arrays in memory."""

    id: str
    audio: Path | np.ndarray | None = None  # may be a video file: its sound; f32[A] at 16 kHz, mono
    video: Path | np.ndarray | None = None  # u8[S height width 3] RGB, evenly spaced in time
    transcript: str | None = None
    captions: tuple[str, ...] = ()  # references, the first one the best where they differ in worth
    emotion: str | None = None
    speaker: str | None = None
    split: str | None = None
    language: str | None = None
    seconds: float | None = None  # duration of the audio; measured where absent
    attributes: Mapping[str, str] = field(default_factory=dict)  # facts that a caption may state, by any names
    captions_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # true of one stream alone, by its name
    extra: Mapping[str, Any] = field(default_factory=dict)  # the user's own, carried through to records

    @property
    def file(self) -> Path:
        """That messages name: of its sound, else of its pictures, else its id."""
        return next((path for path in (self.audio, self.video) if isinstance(path, Path)), Path(self.id))


@dataclass(frozen=True)
class Fault:
    line: int  # 1 is the first; 0: the file as a whole
    what: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}" if self.line else self.what


class ManifestError(ValueError):
    """A manifest that cannot be used; `faults` holds all that is wrong with it."""

    def __init__(self, path: Path, faults: Sequence[Fault]) -> None:
        super().__init__(path, faults)
        self.path, self.faults = path, tuple(faults)

    def __str__(self) -> str:
        shown = [f"  {fault}" for fault in self.faults[:_SHOWN]]
        more = len(self.faults) - _SHOWN
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        return "\n".join([f"{self.path}: {count}", *shown, *([f"  and {more} more"] if more > 0 else [])])


def label_numbers(labels: Iterable[str | None], concepts: Sequence[Concept]) -> list[int]:
    """The place of each label among the concepts; -1 where there is none.

    Raises:
      ConfigError: a label is not the name of a concept.
    """
    labels, number = list(labels), {concept.name: c for c, concept in enumerate(concepts)} | {None: -1}
    unknown = sorted({label for label in labels if label is not None and label not in number})
    if unknown:
        raise ConfigError(
            f"emotion labels {unknown} are not among the concepts {sorted(c.name for c in concepts)}: "
            "rename the labels in the manifest, or set `reward.concepts` to the manifest's emotions"
        )
    return [number[label] for label in labels]


def check_manifest(path: Path) -> list[Fault]:
    """Every fault of a manifest, in the order of its lines. Media are looked for, not opened."""
    return _read(Path(path))[1]


def read_manifest(path: Path, split: str | None = None) -> list[Clip]:
    """The clips of a manifest, or of one of its splits, in its order, with absolute paths.

    Raises:
      ManifestError: with every fault in it; or `split` is not there.
    """
    clips, faults = _read(Path(path))
    if faults:
        raise ManifestError(Path(path), faults)
    chosen = [c for c in clips if split is None or c.split == split]
    if not chosen:
        there = sorted({c.split for c in clips if c.split is not None})
        what = f'no clip in split "{split}"; there are: {", ".join(there) or "none"}'
        raise ManifestError(Path(path), [Fault(0, what)])
    return chosen


def write_manifest(path: Path, clips: Iterable[Clip]) -> None:
    """Writes what `read_manifest` reads back, with paths relative to the manifest.

    Raises:
      ValueError: a clip whose media are arrays, which a manifest cannot hold.
    """
    path, clips = Path(path), list(clips)
    folder = path.resolve().parent
    if held := [clip.id for clip in clips if isinstance(clip.audio, np.ndarray) or isinstance(clip.video, np.ndarray)]:
        raise ValueError(f"{path}: clip {held[0]!r} has its media in memory; write them to files first")

    def record(clip: Clip) -> dict[str, Any]:
        given = {f.name: getattr(clip, f.name) for f in fields(Clip) if getattr(clip, f.name) not in (None, (), {})}
        return {k: Path(os.path.relpath(v, folder)).as_posix() if isinstance(v, Path) else v for k, v in given.items()}

    lines = [json.dumps(record(clip), ensure_ascii=False) + "\n" for clip in clips]
    path.write_text("".join(lines), encoding="utf-8")


def _read(path: Path) -> tuple[list[Clip], list[Fault]]:
    try:
        data = path.read_bytes()
        refuse_pointer(data, "it is")
    except OSError as e:
        return [], [Fault(0, f"cannot be read: {e.strerror}")]
    except ValueError as e:
        return [], [Fault(0, str(e))]
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:2]:
        return [], [Fault(0, f"is UTF-16, wanted UTF-8: iconv -f utf-16 -t utf-8 {path.name}")]
    lines = data.removeprefix(b"\xef\xbb\xbf").splitlines()
    clips: list[Clip] = []
    faults: list[Fault] = []
    first: dict[str, int] = {}  # line of an id
    splits: dict[str, dict[str, int]] = {}  # speaker -> split -> line
    folder = path.resolve().parent
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        clip, wrong = _clip(line, folder)
        if clip is not None:
            if clip.id in first:
                wrong.append(f'id "{clip.id}" is taken by line {first[clip.id]}')
            first.setdefault(clip.id, number)
            if clip.speaker is not None and clip.split is not None:
                seen = splits.setdefault(clip.speaker, {})
                if seen and clip.split not in seen:
                    other, where = next(iter(seen.items()))
                    wrong.append(f'speaker "{clip.speaker}" is in split "{clip.split}", on line {where} in "{other}"')
                seen.setdefault(clip.split, number)
            clips.append(clip)
        faults += [Fault(number, w) for w in wrong]
    if not clips and not faults:
        faults.append(Fault(0, "holds no clip"))
    return clips, faults


def _clip(line: bytes, folder: Path) -> tuple[Clip | None, list[str]]:
    """One line's clip (None: nothing can be made of it) and what is wrong with it."""
    try:
        record = parse_json(line, "")
    except ValueError as e:
        return None, [str(e).removeprefix(": ")]
    if not isinstance(record, dict):
        return None, [f"a clip is a JSON object, got {_kind(record)}"]
    wrong: list[str] = []

    known = [f.name for f in fields(Clip)]
    for name in record.keys() - {*known, "caption"}:
        name = name[:_LONGEST]
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f'; did you mean "{near[0]}"?' if near else f"; known are: {', '.join(known)}"
        wrong.append(f'unknown field "{name}"{hint}')
    given = {name: value for name, value in record.items() if value is not None}

    def text(name: str) -> str | None:
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

    def file(name: str) -> Path | None:
        value = text(name)
        if value is None:
            return None
        try:
            there = (folder / value).is_file()
        except OSError as e:
            wrong.append(f'"{name}" names no file ({e.strerror}): {value[:_LONGEST]}')
            return None
        if not there:
            wrong.append(f'"{name}" names a file that is not there: {value[:_LONGEST]}')
        return folder / value

    name = text("id")
    if "id" not in given:
        wrong.append('"id" is missing')
    audio, video, transcript = file("audio"), file("video"), text("transcript")
    if not given.keys() & {"audio", "video", "transcript"}:
        wrong.append('no stream: give at least one of "audio", "video", "transcript"')
    words = {n: text(n) for n in ("emotion", "speaker", "split", "language")}
    captions = _captions(given, wrong)
    partial = {
        stream: _listed(found, f"captions_of.{stream}", wrong) for stream, found in _object("captions_of", given, wrong)
    }
    for stream in partial.keys() - {"audio", "video", "transcript"}:
        wrong.append(f'"captions_of" names "{stream}"; streams are "audio", "video" and "transcript"')
    attributes = dict(_object("attributes", given, wrong))
    for attribute, value in attributes.items():
        if not isinstance(value, str) or not value.strip():
            wrong.append(f'"attributes.{attribute}" must be a string with a word in it, got {_kind(value)}')
    seconds = given.get("seconds")
    if seconds is not None and not (type(seconds) in (int, float) and 0 < seconds < _MOST_SECONDS):
        above = f", below {_MOST_SECONDS:,}" if type(seconds) in (int, float) and seconds > 0 else ""
        wrong.append(f'"seconds" must be a number above 0{above}, got {json.dumps(seconds)[:_LONGEST]}')
        seconds = None
    if name is None:
        return None, wrong
    extra = dict(_object("extra", given, wrong))
    if not _finite(extra):
        wrong.append('"extra" holds a number that is not finite, for which JSON has no word')
    facts = {"captions_of": partial, "attributes": attributes, "extra": extra}
    return Clip(name, audio, video, transcript, captions, seconds=seconds, **words, **facts), wrong


def _finite(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _object(name: str, given: dict[str, Any], wrong: list[str]) -> Iterable[tuple[str, Any]]:
    value = given.get(name, {})
    if isinstance(value, dict):
        return value.items()
    wrong.append(f'"{name}" must be an object, got {_kind(value)}')
    return ()


def _captions(given: dict[str, Any], wrong: list[str]) -> tuple[str, ...]:
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
        elif not _visible(caption):
            wrong.append(f"a caption of characters that show nothing by themselves: {ascii(caption)[:_LONGEST]}")
    return tuple(c for c in captions if isinstance(c, str))


def _visible(text: str) -> bool:
    """Whether a letter, a number, a sign or a picture is in it: combining and zero-width characters are no words."""
    return any(unicodedata.category(c)[0] in "LNPS" for c in text)


def _kind(value: object) -> str:
    kinds = {str: "a string", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return kinds.get(type(value), "null" if value is None else "an object")
