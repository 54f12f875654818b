"""A run's steps taken again in another directory, from its beginning or from a checkpoint of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from emojax.config import presets
from emojax.errors import RunError
from emojax.storage import path_of, write_atomically
from emojax.training import stages
from emojax.training.run import RunOptions, init_of, stage_of


def stages_of(run: Path) -> list[Path]:
    """The run, or of `emojax train` its stages. Raises RunError where there is no run."""
    if stage_of(run) in ("sft", "grpo", "dpo"):
        return [run]
    found = [run / stage for stage in ("sft", "grpo") if (run / stage / "run.json").exists()]
    if not found:
        raise RunError(f"{run} has not trained anything: there are no steps to take again")
    return found


def take_again(
    run: Path,
    work: Path,
    config: str,
    options: RunOptions,
    begin: int = 0,
    progress: Callable[[int, int, dict[str, float]], None] = lambda step, steps, metrics: None,
) -> None:
    """Trains a run of one stage again in the directory `work`.

    Args:
      config: that the steps are taken with, as JSON.
      begin: a checkpoint of it to begin with; 0: what it began with itself.
    Raises:
      RunError: what it began with is not there.
      ConfigError, ManifestError, FileNotFoundError: as training does.
    """
    stage = stage_of(run)
    _lay_out(run, work, stage, config, begin)
    cfg = presets.read_json(work / "config.json")
    if stage == "sft":
        stages.sft(cfg, work, resume=True, options=options, progress=progress)
    else:
        train = stages.dpo if stage == "dpo" else stages.grpo
        train(cfg, work, init=None, resume=True, options=options, progress=progress)


def _lay_out(run: Path, work: Path, stage: str, config: str, begin: int) -> None:
    """A run that has taken no step here, with what the other one began with; `--resume` then goes on with it."""
    about = {"stage": stage} | ({"init": init} if (init := init_of(run)) else {})
    if not begin and stage == "sft" and init and not path_of(init).exists():
        raise RunError(f"{run} began with {init}, which is not here: its weights are not in the run; put it there")
    if stage != "sft" and not (run / "start").exists():
        raise RunError(f"{run} lacks `start`, the captioner that it began with; get the whole run")
    work.mkdir(parents=True, exist_ok=True)
    write_atomically(work / "config.json", config)
    for name in ("tokenizer.json", "start", *([f"checkpoints/{begin}"] if begin else [])):
        if (run / name).is_dir():
            shutil.copytree(run / name, work / name, dirs_exist_ok=True)
        elif (run / name).exists():
            (work / name).write_bytes((run / name).read_bytes())
    write_atomically(work / "metrics.jsonl", "\n")  # it has begun
    write_atomically(work / "run.json", json.dumps(about))
