"""A published run's first steps taken again here, with what it began with: does this machine make the same numbers?"""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emojax.config import presets
from emojax.errors import RunError
from emojax.reproduce import records, tell
from emojax.reproduce.compare import compare
from emojax.storage import parse_json, path_of, write_atomically
from emojax.training import stages
from emojax.training.record_files import ABOUT, FOLDER
from emojax.training.run import RunOptions, init_of, stage_of


@dataclass(frozen=True)
class Verdict:
    stage: str
    reproduced: bool
    lines: list[str]  # the verdict first


def stages_of(run: Path) -> list[Path]:
    """The run, or of `emojax train` its stages. Raises RunError where there is no run."""
    if stage_of(run) in ("sft", "grpo", "dpo"):
        return [run]
    found = [run / stage for stage in ("sft", "grpo") if (run / stage / "run.json").exists()]
    if not found:
        raise RunError(f"{run} has not trained anything: there are no steps to take again")
    return found


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
    _lay_out(run, work, stage, presets.dumps(cfg))
    options = RunOptions(record=True, until=steps)
    if stage == "sft":
        stages.sft(cfg, work, resume=True, options=options, progress=progress)
    else:
        train = stages.dpo if stage == "dpo" else stages.grpo
        train(cfg, work, init=None, resume=True, options=options, progress=progress)
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


def _lay_out(run: Path, work: Path, stage: str, config: str) -> None:
    """A run that has taken no step yet, with what the other one began with; `--resume` then goes on with it."""
    about = {"stage": stage} | ({"init": init} if (init := init_of(run)) else {})
    if stage == "sft" and init and not path_of(init).exists():
        raise RunError(f"{run} began with {init}, which is not here: its weights are not in the run; put it there")
    if stage != "sft" and not (run / "start").exists():
        raise RunError(f"{run} lacks `start`, the captioner that it began with; get the whole run")
    work.mkdir(parents=True, exist_ok=True)
    write_atomically(work / "config.json", config)
    for name in ("tokenizer.json", "start"):
        if (run / name).is_dir():
            shutil.copytree(run / name, work / name, dirs_exist_ok=True)
        elif (run / name).exists():
            (work / name).write_bytes((run / name).read_bytes())
    write_atomically(work / "metrics.jsonl", "\n")  # it has begun
    write_atomically(work / "run.json", json.dumps(about))


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
