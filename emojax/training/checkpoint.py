"""Checkpoints by Orbax: written beside the training, complete or absent, restored with the shardings they are asked in.

A run directory holds `checkpoints/STEP`, the whole TrainState, and for Emo-GRPO `start`, the captioner that it began
with: its encoders stay frozen and its decoder is the reference policy, so both belong to what the next step depends on.

All processes write; each reads by itself what its devices hold, from the storage that all of them see, so that a
checkpoint does not care how many processes and devices wrote it, and one process alone may read it, too.
"""

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
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
from emojax.param import dotted
from emojax.types import TrainState, Tree

log = logging.getLogger(__name__)


def manager(run: Path, keep: int, keep_best: int = 0) -> ocp.CheckpointManager:
    """Keeps the last `keep` checkpoints of a run, and the `keep_best` of the highest score.

    Saving returns at once and is finished in the background. What a killed run left half written is removed, so there
    may be one manager of a run at a time; whoever only reads needs none.
    """
    policies = [ocp.checkpoint_managers.LatestN(keep), Best(run, keep_best)]
    options = ocp.CheckpointManagerOptions(
        preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
        cleanup_tmp_directories=True,
        enable_async_checkpointing=True,
    )
    return ocp.CheckpointManager(_folder(run), options=options)


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
    if not checkpoints.save(
        step,
        args=ocp.args.StandardSave(state),
        metrics=None if mean is None else {"score": mean},  # for the policy, while the file is being written
        custom_metadata={"score": mean, "since": [*left]},  # a copy: it is written while the loop goes on
    ):
        raise RunError(
            f"{checkpoints.directory} already has checkpoint {checkpoints.latest_step()}, {step} is not written; does "
            "another process train there?"
        )
    return left


def since(run: Path, step: int) -> list[float]:
    """The scores that checkpoint `step` handed on: those after the last ranked one; none where they are damaged."""
    return list(_facts(run, step).get("since", []))


def score(metrics: dict[str, float]) -> float:
    """Score of a step, more is better: Emo-GRPO's reward, the cold start's loss."""
    return metrics["reward"] if "reward" in metrics else -metrics["loss"]


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
    together = hosts_of(tree) > 1
    bad: dict[int, str] = {}
    while True:
        step = next((step for step in wanted if step not in bad), -1)
        if together:
            step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
        if step < 0:
            break
        restored, why = None, ""
        try:
            restored = _read(_folder(run) / str(step) / "default", tree)
        except MemoryError:
            raise
        except Exception as e:  # Orbax and TensorStore raise of many kinds for a damaged file
            if "RESOURCE_EXHAUSTED" in str(e):
                raise
            why = f"{type(e).__name__}: {str(e).split('[tensorstore_spec')[0].strip()}"[:300]
        if together and not multihost_utils.process_allgather(np.array(not why)).all():
            why = why or "another process could not read it"
        if not why:
            return restored, list(bad)
        bad[step] = why
        log.warning("%s cannot be read, the one before it is taken: %s", _folder(run) / str(step), why)
    if bad:
        each = "\n".join(f"  {step}: {why}" for step, why in bad.items())
        raise RunError(
            f"no checkpoint in {_folder(run)} can be read:\n{each}\nput a copy back, or begin again by --overwrite"
        )
    return None, []


def hosts_of(tree: Tree) -> int:
    """Number of processes that the arrays of a tree, or their shapes, lie on."""
    devices = {device for leaf in jax.tree.leaves(tree) for device in leaf.sharding.device_set}
    return len({device.process_index for device in devices})


def _ranked(scores: Mapping[int, float | None]) -> list[int]:
    """The steps that have a score, the best one first; of equals the later one."""
    known = {step: score for step, score in scores.items() if score is not None}
    return sorted(known, key=lambda step: (known[step], step), reverse=True)


def _score_of(run: Path, step: int) -> float | None:
    """None: it is not ranked, or its score is damaged."""
    return _facts(run, step).get("score")


def _facts(run: Path, step: int) -> dict[str, Any]:
    """What `save` handed to Orbax beside the state; nothing where the file is damaged, which the state need not be."""
    path = _folder(run) / str(step) / "_CHECKPOINT_METADATA"  # Orbax's reader warns of all else that it does not read
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["custom_metadata"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _folder(run: Path) -> Path:
    return storage.absolute(run) / "checkpoints"


def save_tree(path: Path, tree: Tree) -> None:
    """Writes a tree of arrays; returns when it is complete."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(storage.absolute(path), tree, force=True)


def has_tree(path: Path) -> bool:
    """Whether it is there, and complete."""
    return path.exists() and ocp.utils.is_checkpoint_finalized(storage.absolute(path))


def restore_tree(path: Path, tree: Tree) -> Tree:
    """Reads it back with the shapes and shardings of `tree` (abstract)."""
    return _read(storage.absolute(path), tree)


def _read(path: Path, tree: Tree) -> Any:
    """Without waiting for other processes.

    Partial: a part that is None in `tree` may not have had a name yet when the checkpoint was written. What else the
    checkpoint holds is not looked at: whether it is of the same model, the configuration says.
    """
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process-{me}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    args = ocp.checkpoint_utils.construct_restore_args(tree)
    wanted = ocp.args.PyTreeRestore(tree, restore_args=args, partial_restore=True)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        return _whole(checkpointer.restore(path, args=wanted))


def _whole(restored: Any) -> Any:
    """Raises ValueError where the checkpoint lacked leaves: Orbax leaves their shapes in their place."""
    leaves = jax.tree_util.tree_leaves_with_path(restored)
    lacking = [dotted(at) for at, leaf in leaves if isinstance(leaf, jax.ShapeDtypeStruct)]
    if lacking:
        more = ", ..." if len(lacking) > 5 else ""
        raise ValueError(f"it is the checkpoint of another model: it has no {', '.join(lacking[:5])}{more}")
    return restored


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
