"""One step of a run, recorded operation by operation: the run is taken again up to it, and whether it is the same is
said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from emojax.config import presets
from emojax.errors import RunError
from emojax.param import dotted
from emojax.reproduce import records, step_files, tell
from emojax.reproduce.align import align
from emojax.reproduce.compare import compare
from emojax.reproduce.operations import Feed, Writer, kind, name, plain
from emojax.reproduce.replay import take_again
from emojax.reproduce.step_files import StepRecord
from emojax.training import checkpoint, provenance
from emojax.training.program import Program, stage_steps
from emojax.training.record_files import ABOUT, FOLDER
from emojax.training.run import RunOptions, stage_of
from emojax.training.sketch import on_host

_ARGUMENTS = ("state", "frozen", "batch", "key")
_RETURNED = ("state", "metrics")


@dataclass(frozen=True)
class Wanted:
    """What is recorded of a step."""

    step: int
    file: Path
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
    shown: list[Any] = []  # one: the step's facts

    with step_files.writing(wanted.file) as file:

        def look(step: int, program: Program, given: tuple[Any, ...]) -> None:
            if step == wanted.step:
                with jax.transfer_guard("allow"), jax.debug_key_reuse(False):
                    writer = _evaluated(program, given, wanted, file)
                    shown.append((writer.written, provenance.about_here() | {"mesh": dict(program.mesh.shape)}))

        options = RunOptions(record=True, until=wanted.step, looked_at=look)
        take_again(run, work, presets.dumps(cfg), options, begin, progress)
        ((written, session),) = shown
        proof = _proof(there, records.read(work / FOLDER), wanted.step)
        if wanted.like is not None:
            proof += f"; each operation was given what it was given in {wanted.like.path}"
        about = {"stage": stage, "step": wanted.step, "session": session, "proof": proof}
        file.close(written, about | {"config": records.read(work / FOLDER).config})
    return proof


def _proof(there: records.Record | None, here: records.Record, step: int) -> str:
    if there is None:
        return "the run has no record: nothing shows that this is its own step"
    found = compare(there, here)
    if found.same and found.steps[-1] == step:
        return f"its own step: steps {found.steps[0]} to {step}, taken again, are those of its record, bit for bit"
    return f"NOT the step that was recorded: {tell.verdict(found)}"


def _evaluated(program: Program, given: tuple[Any, ...], wanted: Wanted, file: step_files.StepFile) -> Writer:
    closed, shape = jax.make_jaxpr(program.step, return_shape=True)(*given)
    names, results = _names(given, _ARGUMENTS), _names(shape, _RETURNED)
    args, keep = jax.tree.leaves(given), file.keep if wanted.tensors else None
    if wanted.like is None:
        writer = Writer(keep)
        writer.step(closed, names, args, results)
        return writer
    first = Writer()  # says which operation stands for which
    first.step(closed, names, args, results)
    writer = Writer(keep, feed=fed(wanted.like, first), after=first)
    there = {argument: n for n, argument in enumerate(wanted.like.written.arguments)}
    args = [_read(wanted.like, there[own], x) if own in there else x for own, x in zip(names, args, strict=True)]
    writer.step(closed, names, args, results)
    return writer


def _names(trees: Any, parts: Sequence[str]) -> list[str]:
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tuple(trees))]
    return [f"{parts[path[0].idx]}.{dotted(path[1:])}".rstrip(".") for path in paths]


def fed(like: StepRecord, own: Writer) -> Feed:
    """Of each operation what the other step made in its place."""
    stands = {mine: its for its, mine in align(like.written, own.written).items()}
    rows = {(row.operation, row.turns): row.outputs for row in like.written.rows}

    def feed(operation: int, turns: tuple[int, ...], made: Sequence[Any]) -> Sequence[Any]:
        outputs = rows.get((stands.get(operation, -1), turns))
        if outputs is None or len(outputs) != len(made):
            return made
        return [_read(like, value, x) for value, x in zip(outputs, made, strict=True)]

    return feed


def _read(like: StepRecord, value: int, own: Any) -> Any:
    """A value of the other step in the form, type and place of `own`; that itself, where they are equal.

    Raises RunError where the other step has not kept it.
    """
    array = plain(own)
    theirs = like.written.kinds[value]
    called = name(like.written.words[value], theirs)
    if theirs != kind(array) or name(on_host(array), theirs) == called:
        return own
    found = like.tensor(called)
    if found is None:
        raise RunError(f"{like.path} has no tensors: record that step again with --tensors")
    if jax.dtypes.issubdtype(own.dtype, jax.dtypes.prng_key):
        return jax.device_put(jax.random.wrap_key_data(found, impl=jax.random.key_impl(own)), own.sharding)
    if own.dtype == np.complex64:
        found = found.view(np.complex64)[..., 0]
    return jax.device_put(found.astype(own.dtype), own.sharding)
