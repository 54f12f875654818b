"""A tree of arrays on storage by Orbax, with the digests of its leaves: what is read is what was written, or an error.

All processes write; each reads by itself what its devices hold, from the storage that all of them see, so that a tree
does not care how many processes and devices wrote it, and one process alone may read it, too.
"""

import contextlib
import hashlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from emojax import storage
from emojax.param import dotted
from emojax.training.digests import differ, digests
from emojax.types import Tree

log = logging.getLogger(__name__)
_FACTS = "_CHECKPOINT_METADATA"  # Orbax's file, written with the tree
_warned: set[str] = set()
# of several arrays that could not be read or written Orbax fetches one error; of the others asyncio tells when they are
# collected, at the end of the process it may be
logging.getLogger("asyncio").addFilter(lambda record: "exception was never retrieved" not in record.getMessage())


def save(path: Path, tree: Tree) -> None:
    """Writes a tree; returns when it is complete. Raises WriteError where it cannot be written."""
    with writing(path), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(storage.absolute(path), tree, force=True, custom_metadata=sealed({}, tree))


def load(path: Path, tree: Tree, item: str = ".") -> Any:
    """The tree that lies in `path`, with the shapes and shardings of `tree` (abstract), as it was written.

    Args:
      item: its folder in `path`.
    Raises:
      ValueError: it is damaged, or another model's; in every process that the tree lies on.
    """
    together = hosts_of(tree) > 1
    restored, there, why = None, {}, ""
    with quiet():
        try:
            there = facts(path)
            restored = _read(path / item, tree)
        except MemoryError:
            raise
        except Exception as e:  # Orbax and TensorStore raise of many kinds for a damaged file
            if "RESOURCE_EXHAUSTED" in str(e):
                raise
            why = " ".join(f"{type(e).__name__}: {str(e).split('[tensorstore_spec')[0]}".split())[:300]
    if together and not multihost_utils.process_allgather(np.array(not why)).all():
        why = why or "another process could not read it"
    if why:
        raise ValueError(why)
    if "digests" not in there:
        _warn_once("old", f"{path} has no digests, as an older emojax wrote it: it is read, and not checked")
    elif wrong := differ(there["digests"], restored):
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"damaged: not what was written: {', '.join(wrong[:3])}{more}")
    return restored


def sealed(told: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    """What Orbax writes beside the tree: `told`, the digests of its leaves, and a sum over all of it."""
    whole = {**told, "digests": digests(tree)}
    return {**whole, "sum": _sum(whole)}


def facts(path: Path) -> dict[str, Any]:
    """What was written beside the tree in `path`; without "digests" where an older emojax wrote it.

    Raises:
      ValueError, OSError: the file is damaged.
    """
    found = storage.read_object(path / _FACTS).get("custom_metadata") or {}
    if not isinstance(found, dict):
        raise ValueError(f"{_FACTS} is damaged")
    told = {name: value for name, value in found.items() if name != "sum"}
    if ("digests" in found or "sum" in found) and found.get("sum") != _sum(told):
        raise ValueError(f"{_FACTS} is damaged")
    return told


def facts_or_none(path: Path) -> dict[str, Any]:
    """The same; nothing where there are none yet, or, with a warning, where they are damaged."""
    try:
        return facts(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        _warn_once(str(path), f"{path / _FACTS} cannot be read: {e}")
        return {}


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """While Orbax writes there; raises WriteError as `storage.writing`."""
    with storage.writing(path, storage.RESUME), quiet():
        yield


def _sum(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _warn_once(key: str, text: str) -> None:
    if key not in _warned:
        _warned.add(key)
        log.warning("%s", text)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Meanwhile Orbax does not show the errors that it raises, nor what comes too late for its event loop."""

    def raised(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR and not record.exc_info

    def late(what: Any) -> None:
        if str(what.exc_value) != "Event loop is closed":
            hook(what)

    logger, hook = logging.getLogger("absl"), sys.unraisablehook
    logger.addFilter(raised)
    sys.unraisablehook = late
    try:
        yield
    finally:
        sys.unraisablehook = hook
        logger.removeFilter(raised)


def hosts_of(tree: Tree) -> int:
    """Number of processes that the arrays of a tree, or their shapes, lie on."""
    devices = {device for leaf in jax.tree.leaves(tree) for device in leaf.sharding.device_set}
    return len({device.process_index for device in devices})


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
        return _whole(checkpointer.restore(storage.absolute(path), args=wanted))


def _whole(restored: Any) -> Any:
    """Raises ValueError where the checkpoint lacked leaves: Orbax leaves their shapes in their place."""
    leaves = jax.tree_util.tree_leaves_with_path(restored)
    lacking = [dotted(at) for at, leaf in leaves if isinstance(leaf, jax.ShapeDtypeStruct)]
    if lacking:
        more = ", ..." if len(lacking) > 5 else ""
        raise ValueError(f"it is the checkpoint of another model: it has no {', '.join(lacking[:5])}{more}")
    return restored
