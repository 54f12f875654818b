"""Eight CPU devices, and programs compiled as cheaply as XLA can: the laws are the same, most of the time is XLA's.

What one test, worker or process has compiled, the others of the session read.
"""

import os

from support.long import LONG
from support.xla_flags import CHEAP, HAS_EMITTERS_FLAG

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count=8 {CHEAP}")
# XLA runs all CPU devices on one pool of threads, and a collective holds its thread until every device has come: with
# eight threads, independent collectives of a (data, fsdp, model) mesh take them all, and the program hangs
os.environ.setdefault("PJRT_NPROC", "64")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# what broadcasts or widens is said, no key is used twice: also in the processes that tests start
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
os.environ.setdefault("JAX_DEBUG_KEY_REUSE", "1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import gc
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of what a script starts behind `&`; Ctrl-C is tested
    signal.signal(signal.SIGINT, signal.default_int_handler)

MAPS = Path("/proc/self/maps")
LONGEST = [  # files that take the longest, begun first so that no worker waits for another at the end
    "test_pretrained",
    "test_pairs",
    "test_devices",
    "test_from_features",
    "test_noise",
    "test_grpo_laws",
    "test_caption_file",
    "test_retokenize",
    "test_bpe",
    "test_sums",
    "test_plan_proposals",
    "test_reward_pairs",
    "test_executable",
    "test_bare",
]

# emojax keeps no programs on CPU unasked, for another machine may refuse them (jax-ml/jax#38445): here it is the same.
# Workers and other processes inherit the folder of the process that makes it, which removes it
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    KEPT = tempfile.TemporaryDirectory(prefix="emojax-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = KEPT.name
    jax.config.update("jax_compilation_cache_dir", KEPT.name)


@pytest.fixture(autouse=True, scope="module")
def forget_programs() -> Iterator[None]:
    """Every compiled CPU program maps memory, and Linux lets a process have 65,530 maps: beyond, XLA is killed."""
    yield
    if MAPS.exists() and MAPS.read_text().count("\n") > 25_000:
        jax.clear_caches()
        gc.collect()


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what `-m` does not ask for
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        file, name = item.path.stem, item.name
        if LONG & {file, f"{file}::{name}", f"{file}::{name.partition('[')[0]}"}:
            item.add_marker("long")
    if "not slow" in config.option.markexpr:  # slow tests run in the order that they are asked for in
        items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors on the jax that parity is tested on; a newer one's own warnings, some raised inside its C++,
    where an error ends the process, are shown. Deprecations in emojax are errors on both."""
    if not HAS_EMITTERS_FLAG:
        config.addinivalue_line("filterwarnings", "default")
        config.addinivalue_line("filterwarnings", "error::DeprecationWarning:emojax.*")
