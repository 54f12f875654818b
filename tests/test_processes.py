"""However many processes: the same samples, the same losses and rewards, the same update."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.xla_flags import CHEAP

TESTS = Path(__file__).parent
LOCAL = TESTS.parent / "launch" / "local.py"
STEPS = [sys.executable, str(TESTS / "support" / "process_steps.py")]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    flags = CHEAP
    return os.environ | {"PYTHONPATH": path, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PJRT_NPROC": "64"}


def launch(processes: int, devices: int, *command: str, timeout: float = 300) -> subprocess.CompletedProcess:
    local = [sys.executable, str(LOCAL), "-n", str(processes), "--devices", str(devices), "--grace", "5", "--"]
    return subprocess.run(
        [*local, *command], env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process with one device gives."""
    out = tmp_path_factory.mktemp("alone")
    done = subprocess.run(
        [*STEPS, str(out), "1x1", "--"], env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def assert_same(ours: Path, theirs: Path, meshes: list[str]) -> None:
    for stage in ("sft", "grpo"):
        wanted = np.load(theirs / f"{stage}-1x1.npz")
        for mesh in meshes:
            found = np.load(ours / f"{stage}-{mesh}.npz")
            assert sorted(found.files) == sorted(wanted.files)
            for name in found.files:
                if name.startswith("metrics.samples") and found[name].dtype != np.float32:
                    np.testing.assert_array_equal(found[name], wanted[name], err_msg=f"{stage} {mesh} {name}")
                else:
                    np.testing.assert_allclose(
                        found[name], wanted[name], rtol=1e-5, atol=1e-5, err_msg=f"{stage} {mesh} {name}"
                    )


@pytest.mark.slow
@pytest.mark.timeout(2400)  # each process compiles every mesh for both stages
@pytest.mark.parametrize(
    ("processes", "devices", "meshes"),
    [
        (2, 2, ["1x1", "2x2", "2x1", "1x2", "4x1"]),
        (4, 2, ["1x1", "2x2", "4x2", "8x1", "4x1"]),
        (2, 1, ["1x2"]),  # both need all rows
    ],
)
def test_processes_equal_one_of_one_device(
    alone: Path, processes: int, devices: int, meshes: list[str], tmp_path: Path
) -> None:
    done = launch(processes, devices, *STEPS, str(tmp_path), *meshes, "--", timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert_same(tmp_path, alone, meshes)
