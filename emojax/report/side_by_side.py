"""Several runs on one page: what they were set to, their curves overlaid, and by how much they differ."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emojax.evaluation.bootstrap import mean_interval
from emojax.evaluation.groups import values
from emojax.evaluation.report import COLUMNS
from emojax.report import learning, page
from emojax.report.intervals import Between, whiskers
from emojax.report.page import Html, details, element, joined, section
from emojax.report.runs import Run, read_run
from emojax.report.scores import cell
from emojax.report.tables import pairs, table

_COMPARED = ("reward", "rouge_l", "meteor", "sbert", "emotion_similarity", "emotion_accuracy", "none_wrong")
_LONG = 120  # characters of a setting
_OF_A_HUNDRED = ("rouge_l", "meteor")  # no picture holds these beside the others
_HEADINGS = {key: heading for key, (heading, _) in COLUMNS.items()} | {"none_wrong": "none wrong"}


def page_of(paths: Sequence[Path]) -> str:
    """The page of several runs, finished or still going. Raises RunError."""
    runs = dict(zip(names_of(paths), map(read_run, paths), strict=True))
    states = {name: f"{run.path}: {run.state}" for name, run in runs.items()}
    stages = {one.name: one.title for run in runs.values() for one in run.stages}
    curves = [section(f"Learning curves: {title}", learning.beside(runs, name)) for name, title in stages.items()]
    title = f"{len(runs)} runs: {', '.join(runs)}"
    return page.whole(title, pairs(states), _scores(runs), *differences(runs), *curves, _settings(runs))


def names_of(paths: Sequence[Path]) -> list[str]:
    """Short names that tell paths apart: as much of each one's end as that takes.

    >>> names_of([Path("a/run"), Path("b/run"), Path("b/other")])
    ['a/run', 'b/run', 'b/other']
    """
    parts = [path.absolute().parts for path in paths]
    tails = (["/".join(own[-n:]) for own in parts] for n in range(1, max(map(len, parts)) + 1))
    alike = [f"{path} ({n})" for n, path in enumerate(paths, 1)]  # one that is named twice
    return next((names for names in tails if len(set(names)) == len(names)), alike)


def _settings(runs: Mapping[str, Run]) -> Html:
    """The fields of the configurations that are not the same in all."""
    fields = dict.fromkeys(field for run in runs.values() for field in run.settings)
    shown = {field: [json.dumps(run.settings.get(field)) for run in runs.values()] for field in fields}
    rows = [[field, *map(_short, cells)] for field, cells in shown.items() if len(set(cells)) > 1]
    same = element("p", "Their configurations are the same.")
    return section("Configuration that differs", table(["field", *runs], rows, numbers=False) or same)


def _short(value: str) -> str:
    """A long value by its beginning, the rest where it is asked for."""
    return value if len(value) <= _LONG else details(f"{value[: _LONG // 2]}…", value)


def _scores(runs: Mapping[str, Run]) -> Html:
    rows = []
    for name, run in runs.items():
        if run.judged and run.judged in run.rows:
            row = run.rows[run.judged]
            rows.append([name, run.judged, *(cell(row[key], digits, None) for key, (_, digits) in COLUMNS.items())])
    return section("Scores", table(["run", "captions", *_HEADINGS.values()][: 2 + len(COLUMNS)], rows))


def differences(runs: Mapping[str, Run]) -> list[Html]:
    """Of each run from the first one that was evaluated, over the clips that both captioned (paired bootstrap)."""
    told = {name: run for name, run in runs.items() if run.judged}
    if len(told) < 2:
        return []
    (base, one), *others = told.items()
    figures, rows, apart = [], [], []
    for name, other in others:
        found = {key: gap for key in _COMPARED if (gap := difference(one, other, key)) is not None}
        if _reward(one) != _reward(other) and found.pop("reward", None):
            apart.append(element("p", f"{name} was scored by another reward than {base}: these do not compare."))
        drawn = [Between(_HEADINGS[key], *gap) for key, gap in found.items() if key not in _OF_A_HUNDRED]
        figures.append(whiskers(f"{name} minus {base}", drawn, zero=True))
        rows += [[name, _HEADINGS[key], *(f"{x:+.4f}" for x in gap), _verdict(gap)] for key, gap in found.items()]
    about = f"From {base}: clips are drawn again, the same for both runs. An interval without 0 is no noise of clips."
    head = ["run", "score", "difference", "from", "to", ""]
    return [section("Differences", element("p", about), *apart, joined(*figures), table(head, rows))]


def _reward(run: Run) -> dict[str, Any]:
    """What a run's reward was set to."""
    return {field: value for field, value in run.settings.items() if field.startswith("reward.")}


def difference(one: Run, other: Run, key: str) -> tuple[float, float, float] | None:
    """A score of the other run less that of the one, and its interval; None: they have no two clips of it in common."""
    here, there = ({x.clip.id: x for x in run.clips} for run in (one, other))
    common = [name for name in here if name in there]
    if not common or one.judged is None or other.judged is None:
        return None
    gap = values([there[n] for n in common], other.judged, key) - values([here[n] for n in common], one.judged, key)
    found = mean_interval(gap)
    return None if found is None else (float(np.nanmean(gap)), *found)


def _verdict(gap: tuple[float, float, float]) -> str:
    return "higher" if gap[1] > 0 else "lower" if gap[2] < 0 else "no more than noise"
