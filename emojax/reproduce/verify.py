"""A published run's first steps taken again here, with what it began with: does this machine make the same numbers?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emojax.config import presets
from emojax.errors import RunError
from emojax.reproduce import tell
from emojax.reproduce.compare import compare
from emojax.reproduce.replay import take_again
from emojax.storage import parse_json
from emojax.training import records
from emojax.training.record_files import ABOUT, FOLDER
from emojax.training.run import RunOptions, stage_of


@dataclass(frozen=True)
class Verdict:
    stage: str
    reproduced: bool
    lines: list[str]  # the verdict first


def verify(
    run: Path,
    work: Path,
    steps: int,
    overrides: Sequence[str] = (),
    progress: Callable[[int, int, dict[str, float]], None] = lambda step, steps, metrics: None,
) -> Verdict:
    """Takes the first `steps` steps of a run of one stage again, in the directory `work`.

    They are compared by its record, or, where it has none, by the metrics that it logged.

    Args:
      overrides: fields of the configuration that are otherwise here, such as where the manifest lies.
    Raises:
      RunError: the run has nothing to compare with, or what it began with is not there.
      ConfigError, ManifestError, FileNotFoundError: as training does.
    """
    stage, cfg = stage_of(run), presets.override(presets.read_json(run / "config.json"), overrides)
    recorded = (run / FOLDER / ABOUT).exists()
    logged = {} if recorded else _logged(run, steps)
    take_again(run, work, presets.dumps(cfg), RunOptions(record=True, until=steps), progress=progress)
    if not recorded:
        return _by_metrics(stage, logged, _logged(work, steps))
    found = compare(records.read(run / FOLDER), records.read(work / FOLDER))
    if found.steps[-1] == 0:
        raise RunError(f"{run / FOLDER} holds none of the first {steps} steps; verify more of them by --steps")
    said = tell.lines(found, (str(run), "here"))
    span = f"steps {found.steps[0]} to {found.steps[-1]}"
    return Verdict(stage, found.same, [_verdict(found.same, span if found.same else said[0]), *said[1:]])


def _verdict(reproduced: bool, what: str) -> str:
    return f"reproduced: {what}, bit for bit" if reproduced else f"not reproduced: {what}"


def _logged(run: Path, steps: int) -> dict[int, dict[str, Any]]:
    """The metrics of the first steps. Raises RunError where there are none."""
    path, found = run / "metrics.jsonl", {}
    for n, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), 1):
        told = parse_json(line, f"{path}, line {n}", halves=True)
        if isinstance(told, dict) and isinstance(told.get("step"), int) and told["step"] <= steps:
            found[told["step"]] = told
    if not found:
        raise RunError(f"{run} has neither a record nor metrics of its first {steps} steps: nothing to compare with")
    return found


def _by_metrics(stage: str, there: dict[int, dict[str, Any]], here: dict[int, dict[str, Any]]) -> Verdict:
    """Metrics say less than a record: that they agree in every digit is all that is told."""
    own = ("step_seconds", "params_sha256", "epoch", "learning_rate")  # of the clock, or of the run's length
    common = sorted(there.keys() & here.keys())
    for step in common:
        for name, value in there[step].items():
            other = here[step].get(name)
            if name not in own and not name.startswith("eval_") and name in here[step] and value != other:
                why = f"they differ first at step {step}, in {name}: {_said(value)} and {_said(other)}"
                return Verdict(stage, False, [_verdict(False, why)])
    if not common:
        raise RunError("the two have no step in common")
    what = f"the metrics of steps {common[0]} to {common[-1]} (the run has no record, which would say more)"
    return Verdict(stage, True, [_verdict(True, what)])


def _said(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) and math.isfinite(value) else str(value)
