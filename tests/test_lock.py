"""One writer a run: a second one learns who holds it and touches nothing; a dead one's lock is free."""

import contextlib
import errno
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emojax.config import presets
from emojax.errors import RunError
from emojax.training import lock, stages
from emojax.training.job import silent
from emojax.training.run import open_run
from support.xla_flags import CHEAP
from test_cli import files
from test_storage import bucket as bucket

ROOT = Path(__file__).parents[1]
TINY = presets.load("tiny")
HOLD = """
import os, sys, time
from pathlib import Path
from emojax.training import lock
with lock.run(Path(sys.argv[1])):
    if "fork" in sys.argv and not os.fork():
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holding(run: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a run until the block ends, or it is killed."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", HOLD, str(run), *more]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(other.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A run of both stages, and the process that trains the second."""
    run = tmp_path_factory.mktemp("held")
    open_run(run, "train", TINY, False, False)
    for stage in ("sft", "grpo"):
        open_run(run / stage, stage, TINY, False, False)
    with holding(run / "grpo") as other:
        yield run, other.pid


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}])
def test_a_second_writer_is_told_who_the_first_is_and_touches_nothing(
    how: dict[str, bool], held: tuple[Path, int]
) -> None:
    run, pid = held
    before = files(run)
    said = rf"grpo is being written by process {pid} on \S+ since \d{{4}}-.*; wait for its end, stop it, or name"
    with pytest.raises(RunError, match=said):
        stages.sft(TINY, run / "grpo", **how, progress=silent)
    assert files(run) == before


def test_overwriting_both_stages_does_not_touch_one_that_is_being_trained(held: tuple[Path, int]) -> None:
    run, pid = held
    before = files(run)
    with pytest.raises(RunError, match=f"grpo is being written by process {pid}"):
        open_run(run, "train", TINY, resume=False, overwrite=True)
    assert files(run) == before


def test_the_lock_of_a_dead_process_is_free_even_if_a_child_of_it_lives(tmp_path: Path) -> None:
    with holding(tmp_path, "fork") as other:
        other.kill()
        other.wait()
        assert (tmp_path / lock.FILE).exists()
        with lock.run(tmp_path):
            assert json.loads((tmp_path / lock.FILE).read_text())["pid"] == os.getpid()
        assert not (tmp_path / lock.FILE).exists()


def test_what_was_made_for_the_lock_alone_is_gone_again(tmp_path: Path) -> None:
    with lock.run(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / lock.FILE).exists()
    assert not (tmp_path / "a").exists()
    with lock.run(tmp_path / "a" / "b"):
        (tmp_path / "a" / "more").write_text("")
    assert files(tmp_path).keys() == {"a/more"}
    assert not (tmp_path / "a" / "b").exists()


def test_a_lock_that_was_removed_while_it_was_awaited_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordinary, first = fcntl.flock, [True]

    def flock(fd: int, how: int) -> None:
        if first.pop() if first else False:
            (tmp_path / lock.FILE).unlink()  # its holder ends between our open and our lock
        ordinary(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.run(tmp_path), pytest.raises(RunError, match="is being written by process"), lock.run(tmp_path):
        pass


def test_a_file_system_without_locks_is_said_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.run(tmp_path):
        assert caplog.text.count("its file system has no locks; see to it that nothing else writes there") == 1
    assert not list(tmp_path.iterdir())


def test_in_a_bucket_a_lease_is_renewed_refused_and_expires(
    bucket: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock, "RENEW", 0.05)
    monkeypatch.setattr(lock, "EXPIRE", 1.0)
    with lock.run(bucket):
        told = (bucket / lock.FILE).read_text()
        with pytest.raises(RunError, match=rf"is being written by process {os.getpid()} on"), lock.run(bucket):
            pass
        assert (bucket / lock.FILE).read_text() != told, "renewed"
    assert not (bucket / lock.FILE).exists()
    (bucket / lock.FILE).write_text(told)  # of a process that was killed
    monkeypatch.setattr(lock, "EXPIRE", 0.2)
    with lock.run(bucket):
        assert json.loads((bucket / lock.FILE).read_text())["token"] != json.loads(told)["token"]


def emojax(out: Path, *flags: str) -> subprocess.Popen[str]:
    """A cold start of a few steps, in a process of its own."""
    command = [sys.executable, "-m", "emojax.cli", "sft", "--config", "tiny", "--out", str(out), *flags]
    command += [f"--set={pair}" for pair in ("steps=8", "checkpoint_every=2")]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": CHEAP}
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def numbers(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "step_seconds"} for line in found]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_of_pairs_of_writers_one_ends_unharmed_and_the_other_says_who_holds_the_run(tmp_path: Path) -> None:
    alone = emojax(tmp_path / "alone")
    assert alone.wait(timeout=600) == 0
    took, unbroken, r = 10.0, numbers(tmp_path / "alone"), random.Random(0)
    for pair in range(20):
        out = tmp_path / str(pair)
        if pair % 2:  # there is a run that was killed
            with emojax(out) as begun:
                time.sleep(r.uniform(2, took))
                begun.kill()
        first = emojax(out, "--resume")
        time.sleep(r.uniform(0, took))
        second = emojax(out, *r.choice([["--resume"], ["--overwrite"], []]))
        ends = [(one, *one.communicate(timeout=600)) for one in (first, second)]
        codes = [one.returncode for one, *_ in ends]
        for (one, _, said), (other, *_) in zip(ends, reversed(ends), strict=True):
            if one.returncode == 2:
                lines = [line for line in said.splitlines() if line.startswith("emojax: ")]
                done = f"{out} already holds a run; " in lines[-1]  # the other one had ended
                assert done or f"is being written by process {other.pid} on " in lines[-1], said
                assert "Traceback" not in said
        assert sorted(codes) in ([0, 2], [0, 0]), codes  # both: the second came when the first had ended
        assert numbers(out) == unbroken
        assert not (out / lock.FILE).exists()
