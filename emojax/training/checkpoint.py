"""Checkpoints by Orbax: written beside the training, complete or absent, restored with the shardings they are asked in.

A run directory holds `checkpoints/STEP`, the whole TrainState, and for Emo-GRPO `start`, the captioner that it began
with: its encoders stay frozen and its decoder is the reference policy, so both belong to what the next step depends on.

How they are written and read, and how damage is noticed: `saved_tree.py`.
"""

import contextlib
import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from emojax import storage
from emojax.errors import RunError
from emojax.parallel import hosts
from emojax.training import saved_tree
from emojax.training.saved_tree import hosts_of
from emojax.types import TrainState, Tree

log = logging.getLogger(__name__)


@contextlib.contextmanager
def manager(run: Path, keep: int, keep_best: int = 0) -> Iterator[ocp.CheckpointManager]:
    """Keeps the last `keep` checkpoints of a run, and the `keep_best` of the highest score.

    Saving returns at once and is finished in the background. What a killed run left half written is removed, so there
    may be one manager of a run at a time; whoever only reads needs none.

    Raises:
      WriteError: a checkpoint could not be written. It is noticed when the next one is begun, or at the end.
    """
    policies = [ocp.checkpoint_managers.LatestN(keep), Best(run, keep_best)]
    options = ocp.CheckpointManagerOptions(
        preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
        cleanup_tmp_directories=True,
        enable_async_checkpointing=True,
    )
    with saved_tree.quiet():
        with saved_tree.writing(_folder(run)):
            checkpoints = ocp.CheckpointManager(_folder(run), options=options)
        try:
            yield checkpoints
            finish(checkpoints)
        finally:
            with contextlib.suppress(Exception):  # what went wrong was raised above, or something else before it
                checkpoints.close()


@dataclass(frozen=True)
class Best:
    """Orbax's policy that keeps the `n` of the highest score; its own wants one of every checkpoint."""

    run: Path
    n: int

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        scores = {c.step: c.metrics["score"] if c.metrics else _score_of(self.run, c.step) for c in checkpoints}
        best = _ranked(scores)[: self.n]
        return [c.step in best for c in checkpoints]


def save(
    checkpoints: ocp.CheckpointManager, state: TrainState, step: int, since: Sequence[float], ranked: bool
) -> list[float]:
    """Begins to write it.

    Args:
      since: scores of the steps since the last ranked checkpoint; those that are not finite do not count.
      ranked: whether it is one of those of which the best are kept, by the mean of `since`. One that is written at the
        moment's call, by the clock or by SIGTERM, is not: its mean is of another number of steps.
    Returns:
      What `since` begins with for the next one.
    Raises:
      RunError: there is a checkpoint of this step or of a later one.
    """
    finite = [score for score in since if math.isfinite(score)]
    mean = math.fsum(finite) / len(finite) if ranked and finite else None
    left = [] if ranked else finite
    with saved_tree.writing(storage.path_of(str(checkpoints.directory))):
        saved = checkpoints.save(
            step,
            args=ocp.args.StandardSave(state),
            metrics=None if mean is None else {"score": mean},  # for the policy, while the file is being written
            custom_metadata=saved_tree.sealed({"score": mean, "since": [*left]}, state),  # a copy: the loop goes on
        )
    if not saved:
        raise RunError(
            f"{checkpoints.directory} already has checkpoint {checkpoints.latest_step()}, {step} is not written; does "
            "another process train there?"
        )
    return left


def finish(checkpoints: ocp.CheckpointManager) -> None:
    """Returns when all that was begun is written. Raises WriteError where it could not be."""
    with saved_tree.writing(storage.path_of(str(checkpoints.directory))):
        checkpoints.wait_until_finished()


def since(run: Path, step: int) -> list[float]:
    """The scores that checkpoint `step` handed on: those after the last ranked one; none where they are damaged."""
    return list(_facts(run, step).get("since", []))


def score(metrics: Mapping[str, Any], by: str = "") -> float:
    """Score of a step, more is better; NaN where the step has none.

    Args:
      by: the metric's name, with - before it where less is better; empty: Emo-GRPO's reward, the cold start's -loss.
    """
    by = by or ("reward" if "reward" in metrics else "-loss")
    value = metrics.get(by.removeprefix("-"))
    return math.nan if value is None else -value if by.startswith("-") else value


def steps(run: Path) -> list[int]:
    """Steps of the complete checkpoints of a run, ascending."""
    folder = _folder(run)
    return sorted(ocp.utils.checkpoint_steps(folder)) if folder.exists() else []


def restore(run: Path, state: TrainState) -> TrainState | None:
    """The last valid checkpoint with the shapes and shardings of `state` (abstract); None where there is none yet.

    One that cannot be read is named in a warning and moved to `damaged/`, for it may be the storage that failed, and
    the one before it taken: the run writes it again.

    Raises:
      RunError: there are checkpoints, and none can be read.
    """
    restored, bad = _sound(run, steps(run)[::-1], state)
    if bad and hosts.first():
        for step in bad:
            _set_aside(run, step)
    if bad:
        hosts.barrier("bad checkpoints")
    return restored


def set_aside_after(run: Path, step: int) -> None:
    """Moves the checkpoints of later steps to `damaged/`."""
    for later in steps(run):
        if later > step:
            _set_aside(run, later)


def _set_aside(run: Path, step: int) -> None:
    there = storage.absolute(run) / "damaged" / str(step)
    there.parent.mkdir(exist_ok=True)
    if there.exists():
        storage.remove(there)
    (_folder(run) / str(step)).rename(there)


def restore_params(run: Path, params: Tree, which: str = "last") -> Tree:
    """The weights alone of a checkpoint, with the shapes and shardings of `params` (abstract).

    Args:
      which: "last"; "best", the one of the highest score; or its step. Of the first two, one that cannot be read is
        named in a warning, and the next best is taken.
    Raises:
      RunError: there is no such checkpoint, or it cannot be read.
    """
    there = steps(run)
    if not there:
        raise RunError(f"{run} has no complete checkpoint yet; resume it with --resume")
    if which == "last":
        wanted = there[::-1]
    elif which == "best":
        wanted = _ranked({step: _score_of(run, step) for step in there})
    elif which.isdecimal() and int(which) in there:
        wanted = [int(which)]
    else:
        raise RunError(f"{run} has no checkpoint {which!r}; wanted last, best, or one of {', '.join(map(str, there))}")
    if not wanted:
        raise RunError(f"{run}: no checkpoint has a score: none was written at the end of checkpoint_every steps")
    return _sound(run, wanted, {"params": params})[0]["params"]


def _sound(run: Path, wanted: Sequence[int], tree: Tree) -> tuple[Any, list[int]]:
    """The first of the wanted checkpoints that every process can read, and those before it.

    Nothing is raised for one that is damaged, unless all are: then a RunError.
    """
    bad: dict[int, str] = {}
    together = hosts_of(tree) > 1
    while True:
        step = next((step for step in wanted if step not in bad), -1)
        if together:
            step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
        if step < 0:
            break
        try:
            return saved_tree.load(_folder(run) / str(step), tree, "default"), list(bad)
        except ValueError as e:
            bad[step] = str(e)
        log.warning("%s cannot be read, the one before it is taken: %s", _folder(run) / str(step), bad[step])
    if bad:
        each = "\n".join(f"  {step}: {why}" for step, why in bad.items())
        raise RunError(
            f"no checkpoint in {_folder(run)} can be read:\n{each}\nput a copy back, or begin again by --overwrite"
        )
    return None, []


def _ranked(scores: Mapping[int, float | None]) -> list[int]:
    """The steps that have a score, the best one first; of equals the later one."""
    known = {step: score for step, score in scores.items() if score is not None}
    return sorted(known, key=lambda step: (known[step], step), reverse=True)


def _score_of(run: Path, step: int) -> float | None:
    """None: it is not ranked, or its score is damaged."""
    return _facts(run, step).get("score")


def _facts(run: Path, step: int) -> dict[str, Any]:
    """What `save` handed to Orbax beside the state; nothing where the file is damaged."""
    return saved_tree.facts_or_none(_folder(run) / str(step))


def _folder(run: Path) -> Path:
    return storage.absolute(run) / "checkpoints"


def save_tree(path: Path, tree: Tree) -> None:
    """Writes a tree of arrays; returns when it is complete."""
    saved_tree.save(path, tree)


def has_tree(path: Path) -> bool:
    """Whether it is there, and complete."""
    return path.exists() and ocp.utils.is_checkpoint_finalized(storage.absolute(path))


def restore_tree(path: Path, tree: Tree) -> Tree:
    """Reads it back with the shapes and shardings of `tree` (abstract). Raises RunError where it is damaged."""
    try:
        return saved_tree.load(path, tree)
    except ValueError as e:
        raise RunError(f"{path} cannot be read: {e}; put a copy back, or begin again by --overwrite") from None


def sha256(params: Tree) -> str:
    """SHA-256 of the bytes of all weights, in the order of their paths; every process that holds a part of them calls
    it."""
    digest = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(params), key=lambda x: jax.tree_util.keystr(x[0])):
        digest.update(jax.tree_util.keystr(path).encode())
        here = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated
        whole = jax.device_get(leaf) if here else multihost_utils.process_allgather(leaf, tiled=True)
        digest.update(np.ascontiguousarray(whole).tobytes())
    return digest.hexdigest()
