"""Processes find each other, and none begins unless all have come, and with the same settings and program."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emojax.parallel.rollcall import explain

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "launch"))

from local import free_port  # noqa: E402 a script beside the package

TRAIN = [sys.executable, "-m", "emojax.cli", "sft", "--config", "tiny"]


def together(
    commands: list[list[str]], environments: list[dict[str, str]] | None = None, timeout: float = 100
) -> list[tuple[int, str]]:
    """Exit code and standard error of processes that run side by side."""
    plain = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    running = [
        subprocess.Popen(command, env=plain | more, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for command, more in zip(commands, environments or [{}] * len(commands), strict=True)
    ]
    try:
        said = [child.communicate(timeout=timeout)[1] for child in running]
    finally:
        for child in running:
            child.kill()
    return [(child.returncode, text) for child, text in zip(running, said, strict=True)]


def member(port: int, process: int, processes: int = 2, timeout: int = 60) -> list[str]:
    who = ["--processes", str(processes), "--coordinator", f"localhost:{port}", "--process", str(process)]
    return [*who, "--timeout", str(timeout)]


def test_two_configurations_stop_all_and_are_told_apart(tmp_path: Path) -> None:
    port = free_port()
    commands = [[*TRAIN, "--out", str(tmp_path / "run"), "--set", f"steps={4 + p}", *member(port, p)] for p in range(2)]
    for code, said in together(commands):
        assert code == 2, said[-2000:]
        assert re.search(r"^  steps: 4 on process 0; 5 on process 1$", said, re.MULTILINE), said[-2000:]
        assert "caption_tokens" not in said, "what is the same is not told"
    assert not (tmp_path / "run").exists(), "none of them began"


@pytest.mark.slow
@pytest.mark.parametrize("process", [0, 1])
def test_an_error_of_one_process_ends_it_with_its_own_code_and_the_others(process: int, tmp_path: Path) -> None:
    port, began = free_port(), time.monotonic()
    commands = [[*TRAIN, "--out", str(tmp_path / "run"), *member(port, p)] for p in range(2)]
    commands[process] += ["--executable", str(tmp_path / "none")]  # a file of each machine
    ended = together(commands)
    assert ended[process][0] == 2
    assert "none: no such file" in ended[process][1]
    assert ended[1 - process][0] not in (0, 2)
    assert time.monotonic() - began < 90


@pytest.mark.slow
def test_two_programs_stop_all_and_are_told_apart(tmp_path: Path) -> None:
    port = free_port()
    commands = [[*TRAIN, "--out", str(tmp_path / "run"), *member(port, p)] for p in range(2)]
    for code, said in together(commands, [{}, {"JAX_DEFAULT_PRNG_IMPL": "rbg"}], timeout=200):
        assert code == 2, said[-2000:]
        assert re.search(
            r"^  fingerprint of the program: \w{64} on process 0; \w{64} on process 1$", said, re.MULTILINE
        )
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_whoever_is_missing_is_named_in_time(tmp_path: Path) -> None:
    port, began = free_port(), time.monotonic()
    commands = [[*TRAIN, "--out", str(tmp_path), *member(port, p, processes=4, timeout=6)] for p in (0, 1, 3)]
    for code, said in together(commands):
        assert code != 0
        assert "emojax: 3 of 4 processes came within 6 s; missing: process 2." in said
        assert "stack trace" not in said
    assert time.monotonic() - began < 60


def test_processes_that_count_differently_stop(tmp_path: Path) -> None:
    port = free_port()
    commands = [[*TRAIN, "--out", str(tmp_path), *member(port, p, processes=2 + p)] for p in range(2)]
    for code, said in together(commands):
        assert code == 2, said[-2000:]
        assert "--processes: 2 on process 0; 3 on process 1" in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--processes", "2"], "no cluster was found"),
        (["--coordinator", "localhost:1"], "need --processes"),
        (["--processes", "2", "--coordinator", "localhost:1", "--process", "2"], "counts from 0"),
    ],
)
def test_flags_that_say_too_little_are_refused(flags: list[str], message: str, tmp_path: Path) -> None:
    [(code, said)] = together([[*TRAIN, "--out", str(tmp_path), *flags]])
    assert code == 2
    assert message in said


def test_what_jax_said_is_told_in_plain_words_and_nothing_else_is_touched() -> None:
    came = "F1 client.h:80] Terminating process because\n# of tasks that reached the barrier: 2/4.\nThe first task at "
    came += "the barrier: 0. Some timed out task names:\n3\n1\n\n\nRPC: /xla.coordination"
    assert "2 of 4 processes came within 9 s; missing: process 1, 3." in str(explain(came, "0", "4", "h:1", 9))
    lonely = "F1 client.h:80] Terminating process because ... DEADLINE_EXCEEDED: Deadline Exceeded"
    assert "process 1 of 4 did not reach process 0 at h:1" in str(explain(lonely, "1", "4", "h:1", 9))
    assert explain("a warning", "1", "4", "h:1", 9) is None
    assert explain("F1] Terminating process because of rain", "1", "4", "h:1", 9) is None
