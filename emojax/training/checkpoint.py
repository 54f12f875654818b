"""Checkpoints by Orbax: written beside the training, complete or absent, restored with the shardings they are asked in.

A run directory holds `checkpoints/STEP`, the whole TrainState, and for Emo-GRPO `start`, the captioner that it began
with: its encoders stay frozen and its decoder is the reference policy, so both belong to what the next step depends on.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from emojax.types import TrainState, Tree


def manager(run: Path, keep: int) -> ocp.CheckpointManager:
    """Keeps the last `keep` checkpoints of a run; saving returns at once and is finished in the background."""
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
    return ocp.CheckpointManager(run.absolute() / "checkpoints", options=options)


def save(checkpoints: ocp.CheckpointManager, state: TrainState, step: int) -> None:
    checkpoints.save(step, args=ocp.args.StandardSave(state))


def restore(checkpoints: ocp.CheckpointManager, state: TrainState) -> TrainState | None:
    """The last complete checkpoint with the shapes and shardings of `state` (abstract); None where there is none."""
    step = checkpoints.latest_step()
    restored: Any = None if step is None else checkpoints.restore(step, args=ocp.args.StandardRestore(state))
    return restored


def restore_params(checkpoints: ocp.CheckpointManager, params: Tree) -> Tree | None:
    """The weights alone of the last complete checkpoint, with the shapes and shardings of `params` (abstract)."""
    step = checkpoints.latest_step()
    if step is None:
        return None
    item = {"params": params}
    wanted = ocp.args.PyTreeRestore(
        item, restore_args=ocp.checkpoint_utils.construct_restore_args(item), partial_restore=True
    )
    return checkpoints.restore(step, args=wanted)["params"]


def save_tree(path: Path, tree: Tree) -> None:
    """Writes a tree of arrays; returns when it is complete."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), tree, force=True)


def restore_tree(path: Path, tree: Tree) -> Tree:
    """Reads it back with the shapes and shardings of `tree` (abstract)."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path.absolute(), tree)


def sha256(params: Tree) -> str:
    """Of the bytes of all weights, in the order of their paths."""
    digest = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(params), key=lambda x: jax.tree_util.keystr(x[0])):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()
