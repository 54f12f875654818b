"""The scores of sets of captions: the report's table with intervals, and what captions state."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emojax.evaluation import asked_table
from emojax.evaluation.bootstrap import Interval, mean_interval, percentiles, resampled
from emojax.evaluation.facts import grid, grid_with_less
from emojax.evaluation.groups import values
from emojax.evaluation.metrics import bleu_of
from emojax.evaluation.report import COLUMNS, FACTS, note
from emojax.report.intervals import Between, whiskers
from emojax.report.page import Html, details, element, joined, section
from emojax.report.runs import Run
from emojax.report.tables import table


def table_of_scores(run: Run) -> Html:
    """The report's table, each number with its interval."""
    if not run.rows:
        return Html()
    speakers = {one.clip.speaker for one in run.clips}
    over_speakers = Html()
    if len(speakers) > 1 and None not in speakers:
        groups = [one.clip.speaker for one in run.clips]
        over_speakers = details(f"Intervals over {len(speakers)} speakers instead of clips", _numbers(run, groups))
    told = "Below each number its 95 % interval: clips drawn again, 1,000 times. " if run.clips else ""
    return section(
        "Scores",
        rewards(run),
        _numbers(run, None),
        element("p", told + note(run.rows), at={"class": "soft"}),
        over_speakers,
        *map(_asked, asked_table.tables(run.rows)),
    )


def rewards(run: Run) -> Html:
    """The rewards of the sets of captions with their intervals, as a figure."""
    spans = {name: _score(run, name, "reward") for name in run.rows}
    return whiskers("Reward", [Between(name, run.rows[name]["reward"], *s) for name, s in spans.items() if s])


def _asked(found: tuple[Sequence[Sequence[str]], str]) -> Html:
    """A table of metrics that were asked for, with the line below it."""
    lines, told = found
    return joined(table(lines[0], lines[1:]), element("p", told, at={"class": "soft"}))


def _numbers(run: Run, groups: Sequence[Any] | None) -> Html:
    lines = []
    for name, row in run.rows.items():
        cells = [cell(row[key], digits, _score(run, name, key, groups)) for key, (_, digits) in COLUMNS.items()]
        lines.append([name, *cells])
    return table(["captions", *(heading for heading, _ in COLUMNS.values())], lines)


def cell(value: float | None, digits: int, found: Interval | None) -> str:
    """A number, and below it its interval where there is one."""
    if value is None:
        return "–"
    shown = f"{value:.{digits}f}"
    if found is None:
        return shown
    span = f"{found[0]:.{digits}f} to {found[1]:.{digits}f}"
    return joined(shown, Html("<br>"), element("small", span))


def _score(run: Run, name: str, key: str, groups: Sequence[Any] | None = None) -> Interval | None:
    """The interval of a column; None: its number is none of clips, or the clips are not known."""
    if not run.clips or name not in run.clips[0].said:
        return None
    if key in ("bleu1", "bleu4"):
        counts = np.array([one.said[name].bleu for one in run.clips])
        return percentiles(bleu_of(resampled(counts, groups))[:, int(key[-1]) - 1])
    if key not in run.clips[0].said[name].scores:
        return None
    return mean_interval(values(run.clips, name, key), groups)


def facts(run: Run) -> Html:
    """What captions state, and what they still do with less of the clip."""
    lines = grid(run.rows)
    told = [table(lines[0], lines[1:]), element("p", FACTS, at={"class": "soft"})] if lines else []
    return section("Facts", *told, _with_less(run.report.get("subsets") or {}))


def _with_less(rows: Mapping[str, Any]) -> Html:
    lines = grid_with_less(rows)
    if not lines:
        return Html()
    told = "Without video or sound the emotion is what the other tells. Fluent: reads like the training captions."
    return joined(element("h3", "With less"), table(lines[0], lines[1:]), element("p", told, at={"class": "soft"}))
