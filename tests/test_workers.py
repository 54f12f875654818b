"""Workers change no result, and are gone when nobody wants their work: closed, killed or interrupted."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import islice
from operator import mul, truediv
from pathlib import Path

import numpy as np
import pytest

from emojax.data.workers import prefetch


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order_and_all_of_them(workers: int) -> None:
    assert list(prefetch(partial(mul, 3), range(4, 25), workers)) == list(range(12, 75, 3))
    assert list(prefetch(partial(mul, 3), "abc", workers)) == ["aaa", "bbb", "ccc"]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_arrives_where_it_would_have_been_the_result(workers: int) -> None:
    results = prefetch(partial(truediv, 6), range(-2, 5), workers)
    assert list(islice(results, 2)) == [-3, -6]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_closing_with_large_results_unread_stops_the_workers() -> None:
    before = set(multiprocessing.active_children())
    results = prefetch(np.zeros, range(10_000_000, 20_000_000), 2)  # 80 MB each: no pipe holds one
    assert len(next(results)) == 10_000_000
    results.close()
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_is_an_error_not_a_hang(workers: int) -> None:
    before = set(multiprocessing.active_children())
    results = prefetch(partial(mul, 3), range(2**31), workers)
    next(results)
    next(iter(set(multiprocessing.active_children()) - before)).kill()
    with pytest.raises(RuntimeError, match="a worker process died"):
        list(islice(results, 100))


def test_a_worker_does_not_hear_what_tells_the_run_to_stop() -> None:
    """Batches are needed until all hosts have stopped; schedulers tell every process of a job."""
    before = set(multiprocessing.active_children())
    results = prefetch(partial(mul, 3), range(2**31), 2)
    for done in (0, 20):  # while they start, and while they work
        assert list(islice(results, done)) == list(range(0, 3 * done, 3))
        while len(workers := set(multiprocessing.active_children()) - before) < 2:
            time.sleep(0.01)
        for worker in workers:
            worker.terminate()
    assert list(islice(results, 200)) == list(range(60, 660, 3))
    results.close()


SCRIPT = """
import os, signal, sys, time
from emojax.data.workers import prefetch
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs inherit it ignored
def make(i):
    time.sleep(0.05)
    return os.getpid()
def main():
    results, workers = prefetch(make, range(2**31), 2), set()
    while len(workers) < 2:
        workers.add(next(results))
    print(*workers, flush=True)
    time.sleep(float(sys.argv[1]))
"""
GUARD = 'if __name__ == "__main__":\n    '


def start(folder: Path, guard: str, seconds: int) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(f"{SCRIPT}{guard}main()\n")
    path = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(folder / "script.py"), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
        start_new_session=True,
    )


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("end", [None, signal.SIGKILL, signal.SIGINT])
def test_workers_die_with_their_parent(tmp_path: Path, end: signal.Signals | None) -> None:
    with start(tmp_path, GUARD, 60 if end else 0) as run:
        assert run.stdout is not None
        workers = [int(word) for word in run.stdout.readline().split()]
        assert len(workers) == 2
        if end:
            # Ctrl-C goes to all processes of a terminal; a kill to one of them
            os.killpg(run.pid, end) if end == signal.SIGINT else run.kill()
        _, errors = run.communicate(timeout=240)
    assert errors.count("Traceback") == (end == signal.SIGINT), errors
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    with start(tmp_path, "", 0) as run:
        _, errors = run.communicate(timeout=240)
    assert run.returncode == 1
    assert "outside of `if __name__" in errors
