"""A run that is told to stop, or whose clock says so, leaves a complete checkpoint, and goes on as if it had not."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emojax import cli
from emojax.errors import Stopped
from emojax.training import checkpoint, loop, stop
from emojax.training.stop import Clock, listening
from support.small_loop import STEPS, run


def terminate(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def lines(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "step_seconds"} for line in found]


def in_step(wanted: int, number: int = signal.SIGTERM) -> Callable[[int, dict], None]:
    """A signal comes when that step's metrics are told: the step after it, if there is one, is dispatched."""
    return lambda step, _: terminate(number) if step == wanted else None


def during_a_save(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = checkpoint.save

    def save(*args: Any) -> Any:
        left = ordinary(*args)  # returned at once, the files are being written
        terminate()
        terminate()
        return left

    monkeypatch.setattr(loop.checkpoint, "save", save)


@pytest.mark.parametrize(("at", "number"), [(1, signal.SIGTERM), (3, signal.SIGINT), (STEPS - 1, signal.SIGTERM)])
def test_a_stopped_run_is_complete_up_to_a_finished_step_and_ends_as_the_unbroken(
    at: int, number: int, tmp_path: Path
) -> None:
    unbroken = run(tmp_path / "unbroken")
    with listening(), pytest.raises(Stopped, match=rf"complete up to step {at + 1}; .*--resume"):
        run(tmp_path / "stopped", progress=in_step(at, number))
    done = at + 1
    assert checkpoint.steps(tmp_path / "stopped") == [done]
    assert [line["step"] for line in lines(tmp_path / "stopped")] == list(range(1, done + 1))
    if done < STEPS:
        np.testing.assert_array_equal(run(tmp_path / "stopped").params["w"], unbroken.params["w"])
    assert lines(tmp_path / "stopped") == lines(tmp_path / "unbroken")


def test_before_the_first_step_nothing_is_computed(tmp_path: Path) -> None:
    with listening():
        terminate()
        with pytest.raises(Stopped, match="complete up to step 0"):
            run(tmp_path)
    assert not (tmp_path / "metrics.jsonl").read_text()


def test_told_twice_during_a_save_the_save_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    during_a_save(monkeypatch)
    with listening(), pytest.raises(Stopped, match="complete up to step 3"):
        run(tmp_path, settings=("checkpoint_every=2",))
    assert checkpoint.steps(tmp_path) == [2, 3]
    assert not list((tmp_path / "checkpoints").glob("*tmp*"))


def test_what_was_heard_before_counts_as_before_and_what_listens_inside_forgets_nothing() -> None:
    with listening():
        terminate()
        with listening():  # the second stage of `emojax train`
            assert stop.told()
        assert stop.told()
    with listening():
        assert not stop.told()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


BUSY = """
import hashlib, sys
from emojax.training.stop import listening, told
with listening():
    print("busy", flush=True)
    if sys.argv[1] == "C":  # as XLA compiles: no Python runs in this thread meanwhile
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
    while not told():
        pass
    print("told")
"""


@pytest.mark.parametrize("where", ["C", "Python"])
def test_a_first_ctrl_c_is_noted_and_a_second_one_ends_the_process_at_once(where: str) -> None:
    """Also one that is not in Python's hands; the first one is answered at once, too."""
    command = [sys.executable, "-c", BUSY, where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "busy\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "\n"
        assert process.stderr.readline() == "stopping after this step; Ctrl-C once more stops at once\n"
        if where == "Python":
            assert process.wait(timeout=60) == 0
            assert process.stdout.readline() == "told\n"
            return
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert "stopped at once; --resume goes on from the last checkpoint" in process.stderr.read()


SLOW = """
import os
try:
    print("importing", flush=True)
    while True:
        pass
except BaseException:
    os.abort()
"""


def test_a_ctrl_c_while_libraries_are_imported_is_one_line(tmp_path: Path) -> None:
    """As jaxlib's C++, which an exception ends by an abort."""
    (tmp_path / "slow.py").write_text(SLOW)
    script = "from emojax import cli\ndef command():\n    import slow\n"
    script += "cli.COMMANDS = {'one': command, 'other': command}\ncli.main()\n"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", script, "one"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == "emojax: interrupted\n"
    assert process.returncode == 130


def test_whoever_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    """As what a script starts behind `&` does."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with listening():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_that_hears_no_signals_trains_all_the_same() -> None:
    left: list[bool] = []

    def body() -> None:
        with listening():
            left.append(stop.told())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert left == [False]


def test_the_command_ends_with_the_code_that_says_start_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise Stopped("run: stopped as it was told to, complete up to step 7")

    monkeypatch.setitem(cli.COMMANDS, "doctor", command)
    monkeypatch.setattr(sys, "argv", ["emojax", "doctor"])
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ended.value.code == 75
    assert capsys.readouterr().err == "emojax: run: stopped as it was told to, complete up to step 7\n"


def test_the_clock_counts_from_the_last_checkpoint() -> None:
    now = itertools.count(100.0, 25.0)
    clock = Clock(1.0, lambda: next(now))  # made at 100
    assert [clock.due() for _ in range(4)] == [False, False, True, True]  # 125, 150, 175, 200
    clock.saved()  # 225
    assert [clock.due() for _ in range(3)] == [False, False, True]
    assert not Clock(0.0, lambda: next(now)).due()


def test_the_loop_tells_the_clock_of_every_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = itertools.count(0.0, 25.0)  # asked before the first step, after each, and at each checkpoint
    monkeypatch.setattr(loop, "Clock", lambda minutes: Clock(minutes, lambda: next(now)))
    run(tmp_path, settings=("checkpoint_minutes=1", "keep=9"), steps=9)
    assert checkpoint.steps(tmp_path) == [2, 5, 8, 9]


@pytest.mark.parametrize(("minutes", "wanted"), [(1e-9, [1, 2, 3, 4, 5, 6]), (0, [4, 6]), (30, [4, 6])])
def test_checkpoints_by_the_clock_are_written_beside_those_by_steps_and_change_no_number(
    minutes: float, wanted: list[int], tmp_path: Path
) -> None:
    settings = ("checkpoint_every=4", "keep=9", f"checkpoint_minutes={minutes}")
    ended = run(tmp_path / "clocked", settings=settings)
    assert checkpoint.steps(tmp_path / "clocked") == wanted
    np.testing.assert_array_equal(ended.params["w"], run(tmp_path / "other").params["w"])
    assert lines(tmp_path / "clocked") == lines(tmp_path / "other")
