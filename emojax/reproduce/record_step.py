"""One step of a run, recorded from inside: the run is taken again up to it, and whether it is the same is said."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from emojax.config import presets
from emojax.errors import RunError
from emojax.reproduce import step_files, tell
from emojax.reproduce.compare import compare
from emojax.reproduce.operations import Written
from emojax.reproduce.replay import take_again
from emojax.reproduce.step_files import OPERATIONS, WAYPOINTS, StepRecord
from emojax.reproduce.step_operations import evaluated
from emojax.reproduce.step_waypoints import sketched
from emojax.training import checkpoint, records
from emojax.training.program import Program, stage_steps
from emojax.training.record_files import ABOUT, FOLDER
from emojax.training.run import RunOptions, stage_of
from emojax.training.sketch import HASH


@dataclass(frozen=True)
class Wanted:
    """What is recorded of a step."""

    step: int
    file: Path
    ops: bool = False  # operation by operation; else the waypoints of the step as it is
    tensors: bool = False  # all of them are kept
    like: StepRecord | None = None  # each operation reads what it read there


def record_step(
    run: Path,
    work: Path,
    wanted: Wanted,
    overrides: Sequence[str] = (),
    progress: Callable[[int, int, dict[str, float]], None] = lambda step, steps, metrics: None,
) -> str:
    """Takes the run's steps again in the directory `work`, from the nearest checkpoint, and writes the file.

    Args:
      overrides: fields of the configuration that are otherwise here.
    Returns:
      Whether the step is the run's own, in words.
    Raises:
      RunError: the run has not that many steps, its record is damaged, or what it began with is not there.
      ConfigError, ManifestError, FileNotFoundError: as training does.
    """
    stage, cfg = stage_of(run), presets.override(presets.read_json(run / "config.json"), overrides)
    if wanted.step > (last := stage_steps(cfg, stage)):
        raise RunError(f"{run} has {last} steps; there is no step {wanted.step}")
    there = records.read(run / FOLDER) if (run / FOLDER / ABOUT).exists() else None
    begin = max((step for step in checkpoint.steps(run) if step < wanted.step), default=0)
    found: list[tuple[Written, dict[str, np.ndarray]]] = []  # of the one step

    with step_files.writing(wanted.file) as file:

        def look(step: int, program: Program, given: tuple[Any, ...]) -> None:
            if step != wanted.step:
                return
            with jax.transfer_guard("allow"), jax.debug_key_reuse(False):
                if wanted.ops:
                    keep = file.keep if wanted.tensors else None
                    found.append((evaluated(program.step, given, keep, wanted.like), {}))
                else:
                    found.append(sketched(program, given, cfg.caption_tokens))

        options = RunOptions(record=True, until=wanted.step, looked_at=look)
        take_again(run, work, presets.dumps(cfg), options, begin, progress)
        here, ((written, made),) = records.read(work / FOLDER), found
        proof = _proof(there, here, wanted.step)
        if made:
            proof += f"; {faithful(here.rows[wanted.step], here.layout.names, made)}"
        if wanted.like is not None:
            proof += f"; each operation was given what it was given in {wanted.like.path}"
        about = {"stage": stage, "step": wanted.step, "config": here.config, "session": here.sessions[-1]}
        file.close(written, about | {"proof": proof, "of": OPERATIONS if wanted.ops else WAYPOINTS})
    return proof


def _proof(there: records.Record | None, here: records.Record, step: int) -> str:
    if there is None:
        return "the run has no record: nothing shows that this is its own step"
    found = compare(there, here)
    if found.same and found.steps[-1] == step:
        return f"its own step: steps {found.steps[0]} to {step}, taken again, are those of its record, bit for bit"
    return f"NOT the step that was recorded: {tell.verdict(found)}"


def faithful(row: records.Row, names: Sequence[str], made: Mapping[str, np.ndarray]) -> str:
    """Whether the step with waypoints gives what it gives without."""
    words = dict(zip(names, row.words, strict=True))
    moved = [name for name, own in made.items() if (words[name][HASH] != own[HASH]).any()]
    if not moved:
        return f"faithful: with waypoints it gives the same {len(made)} arrays, bit for bit"
    more = f" and {len(moved) - 1} more" if moved[1:] else ""
    return f"NOT faithful: waypoints change {moved[0]}{more} of the {len(made)} arrays that it gives"
