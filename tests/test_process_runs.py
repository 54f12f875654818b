"""Whole runs of several processes: to the end with a report, and to the same end however often one is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.xla_flags import CHEAP

ROOT = Path(__file__).parents[1]
EMOJAX = [sys.executable, "-m", "emojax.cli"]


def environment() -> dict[str, str]:
    flags = CHEAP
    return os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PJRT_NPROC": "64"}


def start(processes: int, devices: int, *command: str) -> subprocess.Popen:
    local = [sys.executable, str(ROOT / "launch/local.py"), "-n", str(processes), "--devices", str(devices)]
    return subprocess.Popen(
        [*local, "--grace", "3", "--", *EMOJAX, *command],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_train_and_report(tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = ("train", "--config", "tiny", "--set", "steps=3", "--out", str(run))
    with start(2, 1, *asked) as started:
        out, said = started.communicate(timeout=400)
    assert started.returncode == 0, said[-3000:]
    for stage in ("sft", "grpo"):
        assert [line["step"] for line in lines(run / stage / "metrics.jsonl")] == [1, 2, 3]
    assert (run / "report.md").exists()
    shown = [line for line in (out + said).splitlines() if line.startswith("[1]") and "Gloo" not in line]
    assert shown == [], "the second process shows nothing"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_however_often_one_of_four_is_killed_the_end_is_the_same(tmp_path: Path) -> None:
    def asked(out: str, *more: str) -> tuple[str, ...]:
        how = ("--set", "steps=60", "--set", "checkpoint_every=4")
        return ("sft", "--config", "tiny", *how, "--out", str(tmp_path / out), *more)

    with start(4, 1, *asked("whole")) as unbroken:
        said = unbroken.communicate(timeout=900)[1]
    assert unbroken.returncode == 0, said[-3000:]
    rng, kills = random.Random(0), 0
    while kills < 10:
        with start(4, 1, *asked("killed", "--resume")) as started:
            time.sleep(rng.uniform(5, 40))
            children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
            if children:
                os.kill(int(rng.choice(children)), signal.SIGKILL)
                kills += 1
            started.communicate(timeout=900)
        if started.returncode == 0:
            break  # done before it could be killed
    with start(4, 1, *asked("killed", "--resume")) as last:
        said = last.communicate(timeout=900)[1]
    assert last.returncode == 0, said[-3000:]
    assert kills == 10, "the run was over too soon to be killed ten times: give it more steps"
    wanted, found = (lines(tmp_path / name / "metrics.jsonl") for name in ("whole", "killed"))
    for line in (*wanted, *found):
        del line["step_seconds"]
    assert found == wanted
