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

from emojax.nn.param import dotted
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
    return None if step is None else _whole(checkpoints.restore(step, args=_wanted(state)))


def restore_params(checkpoints: ocp.CheckpointManager, params: Tree) -> Tree | None:
    """The weights alone of the last complete checkpoint, with the shapes and shardings of `params` (abstract)."""
    step = checkpoints.latest_step()
    if step is None:
        return None
    return _whole(checkpoints.restore(step, args=_wanted({"params": params})))["params"]


def save_tree(path: Path, tree: Tree) -> None:
    """Writes a tree of arrays; returns when it is complete."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), tree, force=True)


def restore_tree(path: Path, tree: Tree) -> Tree:
    """Reads it back with the shapes and shardings of `tree` (abstract)."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return _whole(checkpointer.restore(path.absolute(), args=_wanted(tree)))


def _wanted(tree: Tree) -> ocp.args.PyTreeRestore:
    """Partial: a part that is None in `tree` may not have had a name yet when the checkpoint was written.

    What else the checkpoint holds is not looked at: whether it is of the same model, the configuration says.
    """
    args = ocp.checkpoint_utils.construct_restore_args(tree)
    return ocp.args.PyTreeRestore(tree, restore_args=args, partial_restore=True)


def _whole(restored: Any) -> Any:
    """Raises ValueError where the checkpoint lacked leaves: Orbax leaves their shapes in their place."""
    leaves = jax.tree_util.tree_leaves_with_path(restored)
    lacking = [dotted(at) for at, leaf in leaves if isinstance(leaf, jax.ShapeDtypeStruct)]
    if lacking:
        more = ", ..." if len(lacking) > 5 else ""
        raise ValueError(f"it is the checkpoint of another model: it has no {', '.join(lacking[:5])}{more}")
    return restored


def sha256(params: Tree) -> str:
    """Of the bytes of all weights, in the order of their paths."""
    digest = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(params), key=lambda x: jax.tree_util.keystr(x[0])):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()
