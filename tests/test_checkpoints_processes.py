"""Several processes write one checkpoint, stop at one step and pass over the same damaged one; one process reads it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from emojax.training import checkpoint, records
from emojax.training.run import RunOptions
from support.small_loop import run
from support.xla_flags import CHEAP
from test_stop import lines

ROOT = Path(__file__).resolve().parents[1]


def start(processes: int, folder: Path) -> list[dict[str, str]]:
    """What each process told, by its subject."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    flags = f"--xla_force_host_platform_device_count=2 {CHEAP}"
    env = {**os.environ, "PYTHONPATH": path, "XLA_FLAGS": flags}
    script = str(ROOT / "tests" / "support" / "saving_process.py")
    started = [
        subprocess.Popen(
            [sys.executable, script, port, str(me), str(processes), str(folder)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in range(processes)
    ]
    ends = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0] * processes, "\n".join(err[-3000:] for _, err in ends)
    assert "manifest" in ends[0][1] or "cannot be read" in ends[0][1]
    return [dict(line.split(": ", 1) for line in out.splitlines() if ": " in line) for out, _ in ends]


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_are_one_run(processes: int, tmp_path: Path) -> None:
    first, *others = start(processes, tmp_path)
    for told in (first, *others):
        assert "not see" in told["apart"]
        assert "as process 0 wrote it: --out must be on storage that all processes share" in told["apart"]
        assert told["together"] == "opened"
        assert told["stopped"] in ("[2, 3]", "[2, 4]")  # a step or two after it was told, the same for all
        assert told["goes on with"] == "3"
        assert told["steps"] == "[2, 4, 5]"
        assert told["clock"] == "[1, 3, 5, 6]"  # wished before the first step, done after it; wished after the second
        whole = np.arange(24, dtype=np.float32).reshape(8, 3)
        assert told["sha256"] == checkpoint.sha256({"w": whole})
    run(tmp_path / "one", RunOptions(record=True), steps=5)
    one, several = (records.read(tmp_path / name / "record") for name in ("one", "run"))
    assert (list(several.states), list(several.rows)) == ([2], [3, 4, 5])
    for step in several.rows:
        np.testing.assert_array_equal(several.rows[step].words, one.rows[step].words)
    assert "already holds a run" in first["again"]
    assert all("process 0 could not open" in told["again"] for told in others)

    here = run(tmp_path / "here")  # one process, one device
    jax.tree.map(np.testing.assert_array_equal, run(tmp_path / "run").params, here.params)
    together = [{name: line[name] for name in ("step", "loss", "skipped")} for line in lines(tmp_path / "run")]
    assert together == [{name: line[name] for name in ("step", "loss", "skipped")} for line in lines(tmp_path / "here")]
    assert not (tmp_path / "0" / "run" / "metrics.jsonl").exists()
