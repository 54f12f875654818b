"""The part of a model card that says how a captioner scored: metrics, learning, calibration, and facts by group."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emojax.config.concepts import Attribute
from emojax.evaluation import report
from emojax.evaluation.by_clip import Scored, read_scores
from emojax.evaluation.facts import cell
from emojax.evaluation.groups import Group, by_kind
from emojax.evaluation.report import markdown, rows_of, ruled

PICTURES = {  # name -> what it shows
    "scores": "Reward of each set of captions, with 95 % intervals over clips",
    "learning": "Learning curve of the last stage",
    "calibration": "How often captions name the label, by how probable they are",
    "emotions": "Captions and references in the emotion coordinates, along the two directions that they vary most in",
}
_GROUP = ("clips", "reward", "none wrong, %")
_NOT_YET = "Not evaluated when it was exported: `emojax evaluate` does it."
_FLOORS = (
    "On the test clips; `constant` is the best single caption for all of them, `nearest` that of the most like "
    "training clip: captions that understood nothing."
)
_BY_GROUP = (
    "Reward with its 95 % interval over clips; none wrong: captions that state nothing wrong. Of each fact: percent of "
    "captions that state it / of those, how many are right."
)


@dataclass(frozen=True)
class Evaluation:
    report: Mapping[str, Any]  # report.json; empty: it was not evaluated
    clips: Sequence[Scored] = ()  # the test clips with their scores, where they were kept


def folder_of(run: Path) -> Path:
    """Where the report of a run lies: in it, or beside the stage that it is of."""
    return run.parent if report.read(run) is None and report.read(run.parent) is not None else run


def read_evaluation(folder: Path) -> Evaluation:
    """Raises RunError, ValueError for files that are none of an evaluation."""
    return Evaluation(report.read(folder) or {}, read_scores(folder))


def picture_file(name: str) -> str:
    """
    >>> picture_file("scores")
    'plot-scores.svg'
    """
    return f"plot-{name}.svg"


def sections(found: Evaluation, stage: str, about: Sequence[Attribute], pictures: Collection[str]) -> list[str]:
    """Lines of Markdown.

    Args:
      about: the facts, as of `facts.facts`. pictures: as of `card.model_card`.
    """
    rows = rows_of(found.report)
    scores = [_FLOORS, "", markdown(rows)] if rows else [_NOT_YET, ""]
    lines = ["## Metrics and floors", "", *scores, *_picture("scores", pictures), *_picture("emotions", pictures)]
    lines += _calibration(rows.get(stage) or {}, pictures)
    lines += _by_group(found.clips, stage, about)
    learning = _picture("learning", pictures)
    return lines + (["## Learning", "", *learning] if learning else [])


def _picture(name: str, there: Collection[str]) -> list[str]:
    return [f"![{PICTURES[name]}]({picture_file(name)})", ""] if name in there else []


def _calibration(row: Mapping[str, Any], pictures: Collection[str]) -> list[str]:
    told = row.get("calibration")
    if not told:
        return []
    text = (
        f"Expected calibration error {told['ece']:.3f}, Brier score {told['brier']:.3f}: the captions' probability "
        f"(the geometric mean of their tokens') is {told['confidence']:.2f} in the mean, and "
        f"{100 * told['right']:.0f} % of {told['clips']} captions name the label."
    )
    return ["### Calibration", "", text, "", *_picture("calibration", pictures)]


def _by_group(clips: Sequence[Scored], stage: str, about: Sequence[Attribute]) -> list[str]:
    """Tables of those kinds of groups that its users belong to, and of emotions; speakers are not named."""
    found = by_kind(clips, stage, about) if clips and stage in clips[0].said else {}
    lines = []
    for kind, groups in found.items():
        if kind != "speaker":
            names = [fact.name for fact in about if any(fact.name in group.facts for group in groups)]
            lines.append(ruled([[_plain(kind), *_GROUP, *map(_plain, names)], *(_cells(g, names) for g in groups)]))
    return ["### By group", "", _BY_GROUP, "", *lines] if lines else []


def _cells(group: Group, names: Sequence[str]) -> list[str]:
    told = (cell(group.facts[name]) if name in group.facts else "–" for name in names)
    return [_plain(group.name), str(group.clips), _of_reward(group), _percent(group.none_wrong), *told]


def _of_reward(group: Group) -> str:
    if group.reward is None:
        return "–"
    between = f" ({group.interval[0]:.2f} to {group.interval[1]:.2f})" if group.interval else ""
    return f"{group.reward:.2f}{between}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"


def _plain(name: str) -> str:
    """A name of the manifest's in a cell of a table."""
    return re.sub(r"[|\n\r`<>\[\]\\]", " ", name)
