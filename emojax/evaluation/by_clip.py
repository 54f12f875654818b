"""What captions scored clip by clip, kept beside the report in `scores.jsonl`: pages and comparisons are made of it."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emojax.config.concepts import Attribute
from emojax.data.clip import Clip
from emojax.data.clip_fields import NO_STREAM, read_clip
from emojax.data.clips import record
from emojax.data.present import Files
from emojax.errors import RunError, shown
from emojax.evaluation.emotion_words import emotion_of
from emojax.evaluation.facts import wrong
from emojax.evaluation.modalities import named_by
from emojax.evaluation.report import ByClip
from emojax.rewards.facts import values_of
from emojax.rewards.lexicon import stated
from emojax.storage import parse_json, write_atomically

FILE = "scores.jsonl"
LARGEST = float(np.finfo(np.float32).max)
Places = Callable[[Sequence[str]], np.ndarray]  # texts -> their emotion coordinates, f32[texts C]


@dataclass(frozen=True)
class Said:
    """A caption of a clip and what it scored."""

    caption: str
    named: str | None  # the emotion
    wrong: tuple[str, ...]  # the facts that it states otherwise than they are known
    scores: Mapping[str, float]  # by the keys of a report's row; `emotion_accuracy` and `none_wrong` are 0 or 1
    bleu: tuple[int, ...]  # as of `metrics.bleu_counts`
    place: tuple[float, ...]  # its emotion coordinates; empty: the reward has none


@dataclass(frozen=True)
class Scored:
    clip: Clip
    told: Mapping[str, str]  # the emotion that the captions of a stream alone name, by the stream
    place: tuple[float, ...]  # of its first reference
    said: Mapping[str, Said]  # by the name of the set of captions


def scored(
    clips: Sequence[Clip],
    captions: Mapping[str, Mapping[str, str]],
    found: Mapping[str, ByClip],
    places: Places | None,
    about: Sequence[Attribute],
) -> list[Scored]:
    """Of each clip what is known of it and what was said of it.

    Args:
      captions: of each set by clip id. found: of each set, as `evaluate_clips` returns it.
      about: the facts, the emotion first, as of `evaluate`.
    """
    at = _places([clip.captions[0] for clip in clips], places)
    said: list[dict[str, Said]] = [{} for _ in clips]
    for name, texts in captions.items():
        own = [texts[clip.id] for clip in clips]
        for n, place in enumerate(_places(own, places)):
            said[n][name] = _said(own[n], clips[n], found[name], n, place, about)
    return [Scored(clip, _told(clip, about[0]), at[n], said[n]) for n, clip in enumerate(clips)]


def _places(texts: Sequence[str], places: Places | None) -> list[tuple[float, ...]]:
    return [tuple(row) for row in places(texts).tolist()] if places else [()] * len(texts)


def _said(
    caption: str, clip: Clip, found: ByClip, n: int, place: tuple[float, ...], about: Sequence[Attribute]
) -> Said:
    known, named = values_of(clip), emotion_of(caption, about[0].values)
    faults = tuple(wrong(stated(caption, about), known))
    scores = {name: float(values[n]) for name, values in found.scores.items()}
    scores["emotion_accuracy"] = math.nan if clip.emotion is None else float(named == clip.emotion)
    scores["none_wrong"] = float(not faults)
    return Said(caption, named, faults, scores, tuple(found.bleu[n].tolist()), place)


def _told(clip: Clip, emotion: Attribute) -> dict[str, str]:
    named = {stream: named_by(stream, clip, emotion) for stream in clip.captions_of}
    return {stream: name for stream, name in named.items() if name is not None}


def renamed(one: Scored, old: str, new: str) -> Scored:
    """With a set of captions under another name."""
    return dataclasses.replace(one, said={new if name == old else name: said for name, said in one.said.items()})


def write_scores(folder: Path, found: Sequence[Scored]) -> None:
    """Writes `scores.jsonl`, a line a clip. Raises WriteError."""
    write_atomically(folder / FILE, "".join(_line(one) + "\n" for one in found))


def _line(one: Scored) -> str:
    files = {name: str(path) for name in ("audio", "video") if isinstance(path := getattr(one.clip, name), Path)}
    said = {name: dataclasses.asdict(said) | {"scores": _json(said.scores)} for name, said in one.said.items()}
    line = {"clip": record(one.clip) | files, "told": one.told, "place": one.place, "said": said}
    return json.dumps(line, allow_nan=False)


def _json(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def read_scores(folder: Path) -> list[Scored]:
    """What `write_scores` wrote there; media that are no longer there are left out. None where it wrote nothing.

    Raises RunError for a line that is none of its.
    """
    path = folder / FILE
    found: list[Scored] = []
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), 1):
        try:
            found.append(_read(parse_json(line, "it")))
            if _shape(found[-1]) != _shape(found[0]):
                raise ValueError("it is of other sets of captions, or of other emotions, than the first line")
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as e:
            why = f"{path}: line {number} is no clip's scores ({e})"
            raise RunError(f"{why}; take the file away, or evaluate again by `emojax evaluate`") from None
    return found


def _shape(one: Scored) -> tuple[list[str], int]:
    """What all lines have in common."""
    return list(one.said), len(one.place)


def _read(line: Mapping[str, Any]) -> Scored:
    written = dict(line["clip"])
    # given as they are, for they need not be there any more
    media = {name: Path(path) for name in ("audio", "video") if (path := written.pop(name, None))}
    clip, faults = read_clip(json.dumps(written).encode(), Files("."), media)
    if clip is None or faults not in ([], [NO_STREAM]) or not clip.captions:  # sound in memory is not written down
        raise ValueError(faults[0] if faults else "a clip without a reference")
    place = _place(line["place"], None)
    said = {}
    for name, one in line["said"].items():
        scores = {key: math.nan if value is None else _number(value) for key, value in one["scores"].items()}
        bleu = tuple(int(_number(n)) for n in one["bleu"])
        if "reward" not in scores or len(bleu) != 10:
            raise ValueError(f"{name} has no reward, or not ten counts for BLEU")
        texts = str(one["caption"]), None if one["named"] is None else str(one["named"])
        wrong = tuple(str(fact) for fact in one["wrong"])
        said[name] = Said(*texts, wrong, scores, bleu, _place(one["place"], len(place)))
    told = {str(stream): str(emotion) for stream, emotion in line["told"].items()}
    return Scored(clip, told, place, said)


def _place(given: Any, length: int | None) -> tuple[float, ...]:
    """Emotion coordinates of some length. Raises ValueError where they are none."""
    place = tuple(_number(x) for x in given)
    if length is not None and len(place) != length:
        raise ValueError(f"{len(place)} emotion coordinates beside {length}")
    return place


def _number(x: Any) -> float:
    """Raises ValueError for what no float32 is."""
    if type(x) not in (int, float) or not abs(x) <= LARGEST:
        raise ValueError(f"wanted a number, got {shown(x)}")
    return float(x)
