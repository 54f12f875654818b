"""What a run was made with: `run.json` has the stage, and a record of every session, an entry a life of the process.

Together with `config.json` it says all that the numbers depend on: versions and commit, devices and flags, the mesh,
the lowered program, the manifest, the weights that the session began with. `step` is the one that it began after.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from emojax.parallel import hosts
from emojax.storage import RESUME, read_object, write_atomically
from emojax.training import checkpoint
from emojax.training.job import Job
from emojax.types import TrainState

PACKAGES = ("emojax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "transformers", "tokenizers")
FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "JAX_PLATFORMS", "JAX_DEFAULT_MATMUL_PRECISION")


def about(job: Job, state: TrainState, mesh: jax.sharding.Mesh, program: str) -> dict[str, Any]:
    """What this session is made with; every process calls it.

    Args:
      state: that the session begins with.
      program: fingerprint of the lowered program.
    """
    return {
        **about_here(),
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "step": int(jax.device_get(state.step)),  # asked for: the loop forbids transfers that are not
        "mesh": dict(mesh.shape),
        "program": program,
        "manifest": None if job.manifest is None else _digest(job.manifest),
        "weights": checkpoint.sha256(state.params),  # each process has a part of them
    }


def record(job: Job, session: Mapping[str, Any]) -> None:
    """Adds this session to `run.json`; the first process writes."""
    path = job.out / "run.json"
    if not hosts.first() or not path.exists():
        return
    told = read_object(path)
    write_atomically(path, json.dumps(told | {"sessions": [*told.get("sessions", []), session]}, indent=2), RESUME)


def about_here() -> dict[str, Any]:
    """The command, and the machine and the software that run it."""
    device = jax.devices()[0]
    return {
        "command": shlex.join(sys.argv),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "commit": commit(),
        "devices": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "processes": jax.process_count(),
        },
        "flags": {name: os.environ[name] for name in FLAGS if os.environ.get(name)},
    }


def commit() -> str | None:
    """Of the checkout that emojax is imported from, with `-dirty` where files differ from it; None: it is installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=30).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):  # no git here; a checkout on a slow disk
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
