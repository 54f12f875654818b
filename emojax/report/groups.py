"""Scores by what is known of clips, and which emotion is taken for which."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from emojax.evaluation.bootstrap import mean_interval
from emojax.evaluation.by_clip import Scored
from emojax.report.page import Html, element, section
from emojax.report.runs import Run
from emojax.report.scores import cell, values
from emojax.report.tables import crossed, table

_MOST = 12  # groups that are shown of one kind
_SPANS = (1.0, 2.0, 3.0, 5.0, 10.0, 30.0)  # seconds, upper ends
Key = Callable[[Scored], str | None]


def confusion(run: Run) -> Html:
    """Named against labelled emotion."""
    name = run.judged
    known = [(one.clip.emotion, one.said[name].named) for one in run.clips if one.clip.emotion] if name else []
    if not known or name is None:
        return Html()
    concepts = run.settings.get("reward.concepts")
    order = [str(c.get("name")) for c in concepts if isinstance(c, dict)] if isinstance(concepts, list) else []
    emotions = [*order, *sorted({x for pair in known for x in pair if x} - set(order))]
    emotions = [emotion for emotion in emotions if any(emotion in pair for pair in known)]
    counts, columns = Counter(known), [*emotions, *([None] if any(named is None for _, named in known) else [])]
    labels = [emotion for emotion in emotions if any(emotion == label for label, _ in known)]
    cells = [[counts[label, named] for named in columns] for label in labels]
    caption = f"Rows: the clip's label. Columns: the emotion that the caption of {name} names. Percent of the row."
    return section("Named and labelled emotion", crossed(labels, [c or "none" for c in columns], cells, caption))


def by_group(run: Run) -> Html:
    """Scores of the judged captions by what is known of clips."""
    name = run.judged
    if name is None:
        return Html()
    attributes = dict.fromkeys(fact for one in run.clips for fact in one.clip.attributes)
    kinds: dict[str, Key] = {"Emotion": lambda one: one.clip.emotion, "Streams": streams}
    kinds |= {fact.capitalize(): functools.partial(_attribute, fact) for fact in attributes}
    kinds |= {"Length": _length, "Language": lambda one: one.clip.language, "Source": lambda one: one.clip.source}
    kinds["Speaker"] = lambda one: one.clip.speaker
    tables = [found for kind, key in kinds.items() if (found := _groups(run.clips, name, kind, key))]
    return section("By group", element("div", *tables, at={"class": "charts"}) if tables else "")


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
    edges = (0.0, *_SPANS, math.inf)
    low, high = next((a, b) for a, b in pairwise(edges) if seconds < b)
    return f"{low:g} s and more" if high == math.inf else f"{low:g} to {high:g} s"


def _groups(clips: Sequence[Scored], name: str, kind: str, key: Key) -> Html:
    """A table of the groups of a kind; of many those with the lowest reward. Nothing where all clips are alike."""
    found: dict[str, list[Scored]] = {}
    for one in clips:
        if (group := key(one)) is not None:
            found.setdefault(group, []).append(one)
    if len(found) < 2:
        return Html()
    means = {group: float(np.nanmean(values(ones, name, "reward"))) for group, ones in found.items()}
    order = sorted(found, key=means.__getitem__)[:_MOST] if len(found) > _MOST else sorted(found, key=_natural)
    rows = [_group(group, found[group], name) for group in order]
    caption = f"{kind}: the {_MOST} of {len(found)} with the lowest reward" if len(found) > _MOST else kind
    return table([kind.lower(), "clips", "reward", "emotion right", "none wrong"], rows, caption=caption)


def _natural(group: str) -> tuple[float, str]:
    first = group.split(" ")[0]
    return (float(first) if first.replace(".", "").isdigit() else -1.0, group)


def _group(group: str, clips: Sequence[Scored], name: str) -> list[str]:
    reward, right, sound = (values(clips, name, key) for key in ("reward", "emotion_accuracy", "none_wrong"))
    return [group, str(len(clips)), cell(_mean(reward), 3, mean_interval(reward)), _percent(right), _percent(sound)]


def _mean(found: np.ndarray) -> float | None:
    return float(np.nanmean(found)) if np.isfinite(found).any() else None


def _percent(found: np.ndarray) -> str:
    mean = _mean(found)
    return "–" if mean is None else f"{100 * mean:.0f} %"
