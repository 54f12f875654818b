"""A stalled step is told of once, with the stacks of all threads; what is no stall never is."""

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from emojax.training.watchdog import Watchdog, limit

LEAST = 0.1


class Clock:
    """Stands still, but where it is told to go on: a slow machine makes no stalls."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def told(file: Path, wanted: int) -> str:
    """What the watchdog wrote, once it has told of `wanted` stalls."""
    deadline = time.monotonic() + 30
    while not (file.exists() and file.read_text().count("has taken") >= wanted):
        assert time.monotonic() < deadline, "nothing was told"
        time.sleep(0.02)
    return file.read_text()


def test_a_stall_is_ten_medians_and_some_seconds() -> None:
    assert limit([], 5) is None
    assert limit([1.0, 1.0], 5) is None
    assert limit([1.0, 2.0, 100.0], 5) == 20.0
    assert limit([0.1, 0.1, 0.2, 0.1], 5) == 5


def test_a_stall_is_told_of_once_with_the_stacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = threading.Event()

    def a_thread_that_hangs() -> None:
        ended.wait()

    thread = threading.Thread(target=a_thread_that_hangs, daemon=True)
    thread.start()
    clock = Clock()
    with closing(Watchdog(tmp_path / "stalls.txt", "process 3", LEAST, clock)) as watchdog:
        for step in range(1, 6):
            watchdog.finished(step)
        time.sleep(2 * LEAST)
        assert not (tmp_path / "stalls.txt").exists()
        clock.now += 2 * LEAST
        text = told(tmp_path / "stalls.txt", 1)
        assert "step 6 of process 3 has taken 0.2 s so far; the median of the last 4 is 0.00 s" in text
        assert "a_thread_that_hangs" in text
        assert "test_a_stall_is_told_of_once_with_the_stacks" in text
        clock.now += 20 * LEAST
        time.sleep(2 * LEAST)
        assert told(tmp_path / "stalls.txt", 1).count("has taken") == 1
        watchdog.finished(6)
        clock.now += 20 * LEAST
        assert "step 7 of process 3 has taken" in told(tmp_path / "stalls.txt", 2)
    ended.set()
    thread.join()
    assert "step 6 of process 3 has taken" in capsys.readouterr().err


def test_neither_a_pause_nor_the_first_steps_are_stalls(tmp_path: Path) -> None:
    clock = Clock()
    with closing(Watchdog(tmp_path / "stalls.txt", "the run", LEAST, clock)) as watchdog:
        watchdog.finished(1)
        clock.now += 100
        time.sleep(2 * LEAST)
        for step in range(2, 6):
            watchdog.finished(step)
        with watchdog.paused():
            clock.now += 100
            time.sleep(2 * LEAST)
        time.sleep(2 * LEAST)
        watchdog.finished(6)
    assert not (tmp_path / "stalls.txt").exists()
