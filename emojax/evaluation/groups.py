"""Scores by what is known of clips: emotion, attributes, language, speaker, length, and which stream tells it."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from emojax.config.concepts import Attribute
from emojax.evaluation.bootstrap import Interval, mean_interval
from emojax.evaluation.by_clip import Scored
from emojax.evaluation.facts import facts

_SPANS = (1.0, 2.0, 3.0, 5.0, 10.0, 30.0)  # seconds, where one length ends and the next begins
Key = Callable[[Scored], str | None]


@dataclass(frozen=True)
class Group:
    name: str
    clips: int
    reward: float | None
    interval: Interval | None  # of the reward
    right: float | None  # share of captions that name the label, of clips that have one
    none_wrong: float | None  # share of captions that state nothing wrong
    facts: Mapping[str, Any] = field(default_factory=dict)  # as of `facts.facts`


def by_kind(clips: Sequence[Scored], captions: str, about: Sequence[Attribute] = ()) -> dict[str, list[Group]]:
    """The groups of each kind that there are at least two of, those of a set of captions, in their order.

    Args:
      about: the facts that are counted in each group, as of `facts.facts`.
    """
    attributes = dict.fromkeys(fact for one in clips for fact in one.clip.attributes)
    keys: dict[str, Key] = {"emotion": lambda one: one.clip.emotion, "streams": streams}
    keys |= {fact: functools.partial(_attribute, fact) for fact in attributes}
    keys |= {"length": _length, "language": lambda one: one.clip.language, "source": lambda one: one.clip.source}
    keys["speaker"] = lambda one: one.clip.speaker
    return {kind: found for kind, key in keys.items() if len(found := _groups(clips, captions, key, about)) > 1}


def streams(one: Scored) -> str | None:
    """Which stream's own captions name the clip's emotion; None: those of sound and film are not both known."""
    heard, seen, label = one.told.get("audio"), one.told.get("video"), one.clip.emotion
    if heard is None or seen is None or label is None:
        return None
    if heard == seen:
        return "sound and film agree"
    return "sound alone tells it" if heard == label else "film alone tells it" if seen == label else "neither tells it"


def _attribute(fact: str, one: Scored) -> str | None:
    return one.clip.attributes.get(fact)


def _length(one: Scored) -> str | None:
    seconds = one.clip.seconds
    if seconds is None:
        return None
    low, high = next((a, b) for a, b in pairwise((0.0, *_SPANS, math.inf)) if seconds < b)
    return f"{low:g} s and more" if high == math.inf else f"{low:g} to {high:g} s"


def _groups(clips: Sequence[Scored], captions: str, key: Key, about: Sequence[Attribute]) -> list[Group]:
    found: dict[str, list[Scored]] = {}
    for one in clips:
        if (name := key(one)) is not None:
            found.setdefault(name, []).append(one)
    return [_group(name, found[name], captions, about) for name in sorted(found, key=_order)]


def _order(name: str) -> tuple[float, str]:
    """Lengths by their seconds, the rest by the alphabet."""
    first = name.split(" ")[0]
    return float(first) if first.replace(".", "", 1).isdecimal() else -1.0, name


def _group(name: str, clips: Sequence[Scored], captions: str, about: Sequence[Attribute]) -> Group:
    reward, right, sound = (values(clips, captions, key) for key in ("reward", "emotion_accuracy", "none_wrong"))
    told = facts([one.said[captions].caption for one in clips], [one.clip for one in clips], about) if about else {}
    return Group(name, len(clips), mean(reward), mean_interval(reward), mean(right), mean(sound), told)


def values(clips: Sequence[Scored], captions: str, key: str) -> np.ndarray:
    """A score of a set of captions, f64[clips]; NaN where a clip has none."""
    return np.array([one.said[captions].scores.get(key, math.nan) for one in clips])


def mean(found: np.ndarray) -> float | None:
    """Of the numbers that are known; None: of none."""
    return float(np.nanmean(found)) if np.isfinite(found).any() else None
