"""What a run has written of itself so far, read for its page: of a run that ended, that goes on, or that was killed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emojax.errors import RunError
from emojax.evaluation import report as reports
from emojax.evaluation.by_clip import FILE, LARGEST, Scored, read_scores
from emojax.report.charts import Curve
from emojax.storage import parse_json, read_object
from emojax.training import session
from emojax.training.goodput import Mark
from emojax.training.run import flat
from emojax.training.run_files import STAGES

_MOST_STEPS = 1 << 53  # beyond it floats skip
FLOORS = ("constant", "nearest")
_STAGE_NAMES = {"sft": "Cold start", "grpo": "Emo-GRPO", "dpo": "DPO"}


@dataclass(frozen=True)
class Stage:
    name: str  # sft, grpo or dpo
    curves: Mapping[str, Curve]  # by the metric
    steps: int | None  # that it is to have; None: not known
    samples: Sequence[Mapping[str, Any]]  # lines of samples.jsonl
    marks: Sequence[Mark]
    sessions: Sequence[Mapping[str, Any]]  # of run.json

    @property
    def title(self) -> str:
        return _STAGE_NAMES.get(self.name, self.name)

    @property
    def done(self) -> int:
        return max((curve.xs[-1] for curve in self.curves.values()), default=0)


@dataclass(frozen=True)
class Run:
    path: Path
    settings: Mapping[str, Any]  # the configuration, by dotted names
    stages: Sequence[Stage]
    marks: Sequence[Mark]  # of what came after the stages
    report: Mapping[str, Any]  # report.json
    rows: Mapping[str, Mapping[str, Any]]  # of it
    clips: Sequence[Scored]

    @property
    def judged(self) -> str | None:
        """The set of captions that the page is about: the last one that is no floor."""
        named = [name for name in (self.clips[0].said if self.clips else ()) if name not in FLOORS]
        return named[-1] if named else None

    @property
    def state(self) -> str:
        """How far it is."""
        if self.rows:
            return "evaluated"
        told = [
            f"{stage.title} is at step {stage.done}" + (f" of {stage.steps}" if stage.steps else "")
            for stage in self.stages
        ]
        return "; ".join(told) or "not begun"


def read_run(path: Path) -> Run:
    """Reads a run of `train`, `demo` or of one stage, or what `emojax evaluate --out` wrote.

    Raises RunError where nothing of that is there, or a file of it is not what it should be.
    """
    files = ("run.json", "report.json", FILE)
    if not any((path / name).exists() for name in files):
        raise RunError(f"{path} holds no run and no report (none of {', '.join(files)}); name what --out named")
    try:
        settings = flat(read_object(path / "config.json")) if (path / "config.json").exists() else {}
        about = read_object(path / "run.json") if (path / "run.json").exists() else {}
        report = reports.read(path) or {}
        own = str(about.get("stage", ""))
        folders = {own: path} if own in _STAGE_NAMES else {name: path / name for name in STAGES}
        stages = [_stage(name, at, settings) for name, at in folders.items() if (at / "run.json").exists()]
    except ValueError as e:
        raise RunError(str(e)) from None
    marks = session.marks(path) if own not in _STAGE_NAMES else []
    return Run(path, settings, stages, marks, report, reports.rows_of(report), read_scores(path))


def _stage(name: str, folder: Path, settings: Mapping[str, Any]) -> Stage:
    steps = settings.get("sft_steps") if name == "sft" else None
    steps = settings.get("steps") if steps is None else steps
    sessions = read_object(folder / "run.json").get("sessions")
    return Stage(
        name,
        _curves(_lines(folder / "metrics.jsonl")),
        steps if type(steps) is int else None,
        _lines(folder / "samples.jsonl"),
        session.marks(folder),
        [one for one in sessions if isinstance(one, dict)] if isinstance(sessions, list) else [],
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    """Objects that have a step; a line that is just being written is left out, and so is what is damaged."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            one = parse_json(line, "a line", halves=True)
        except ValueError:
            continue
        if isinstance(one, dict) and type(one.get("step")) is int and 0 <= one["step"] < _MOST_STEPS:
            found.append(one)
    return found


def _curves(lines: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Of each metric the steps that have a number for it."""
    found: dict[str, dict[int, float]] = {}
    for line in lines:
        for name, value in line.items():
            if name != "step" and type(value) in (int, float) and abs(value) <= LARGEST:
                found.setdefault(name, {})[line["step"]] = value
    sorted_ones = {name: sorted(points.items()) for name, points in found.items()}
    return {name: Curve(name, [s for s, _ in points], [y for _, y in points]) for name, points in sorted_ones.items()}
