"""The pictures of a model card: files of SVG beside it, made as those of the run's page."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from emojax.report import learning, page, plane, reliability, scores
from emojax.report.page import Html
from emojax.report.runs import FLOORS, Run, read_run
from emojax.training.run_files import STAGES

_MADE: dict[str, Callable[[Run], Html]] = {  # what the card calls them
    "scores": scores.rewards,
    "learning": lambda run: learning.first(run.stages[-1]) if run.stages else Html(),
    "calibration": lambda run: reliability.picture(run.rows),
    "emotions": plane.plane,
}


def pictures(folder: Path, stage: str) -> dict[str, str]:
    """Those that a run has numbers for, by what the card calls them.

    Args:
      folder: of the whole run, or of the stage where it was trained alone.
      stage: that the captioner is of.
    Raises:
      RunError: as `read_run`.
    """
    run = _until(read_run(folder), stage)
    return {name: page.picture(figure) for name, make in _MADE.items() if (figure := make(run))}


def _until(run: Run, stage: str) -> Run:
    """As if the stage had been the last one."""
    kept = [*FLOORS, *(STAGES[: STAGES.index(stage) + 1] if stage in STAGES else (stage,))]
    clips = [dataclasses.replace(one, said={k: v for k, v in one.said.items() if k in kept}) for one in run.clips]
    rows = {name: row for name, row in run.rows.items() if name in kept}
    return dataclasses.replace(run, stages=[one for one in run.stages if one.name == stage], rows=rows, clips=clips)
