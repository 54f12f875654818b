"""Eight CPU devices, and programs compiled without LLVM's optimisation: the laws are the same, and they compile in half
the time."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0")
# XLA runs all CPU devices on one pool of threads, and a collective holds its thread until every device has come: with
# eight threads, independent collectives of a (data, fsdp, model) mesh take them all, and the program hangs
os.environ.setdefault("PJRT_NPROC", "64")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import gc
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

MAPS = Path("/proc/self/maps")


@pytest.fixture(autouse=True, scope="module")
def forget_programs() -> Iterator[None]:
    """Every compiled CPU program maps memory, and Linux lets a process have 65,530 maps: beyond, XLA is killed."""
    yield
    if MAPS.exists() and MAPS.read_text().count("\n") > 25_000:
        jax.clear_caches()
        gc.collect()
