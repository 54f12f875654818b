"""The loop around any step: metrics a step late, no transfer that nobody asked for, traces, times."""

import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.config import ConfigError
from emojax.errors import RunError
from emojax.training import checkpoint, loop, stages, trace
from emojax.training.board import Board
from emojax.training.goodput import account
from emojax.training.run import RunOptions
from emojax.training.session import marks
from support.small_loop import STEPS, TINY, run


def stepping(monkeypatch: pytest.MonkeyPatch, around: Callable[[Any, Any], Any]) -> None:
    """The loop's compiled step is called by `around(compiled, arguments)`."""
    ordinary = loop.aot.compiler

    def compiler(*args: Any) -> Callable[[Any], Any]:
        compiled = ordinary(*args)
        return lambda batch: lambda *arguments: around(compiled(batch), arguments)

    monkeypatch.setattr(loop.aot, "compiler", compiler)


class Late:
    """A metric that tells when it is fetched."""

    def __init__(self, value: Any, fetched: Callable[[], None]) -> None:
        self.value, self.fetched = value, fetched

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        self.fetched()
        return np.asarray(self.value)


def test_metrics_are_fetched_while_the_next_step_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def around(compiled: Any, arguments: Any) -> Any:
        number = sum(event.startswith("step") for event in events) + 1
        events.append(f"step {number}")
        state, metrics = compiled(*arguments)
        return state, metrics | {"loss": Late(metrics["loss"], lambda: events.append(f"loss {number}"))}

    stepping(monkeypatch, around)
    run(tmp_path)
    late = [event for n in range(1, STEPS) for event in (f"step {n + 1}", f"loss {n}")]
    assert events == ["step 1", *late, f"loss {STEPS}"]


@pytest.mark.parametrize(
    "careless",
    [
        lambda metrics: metrics | {"loss": metrics["loss"] + np.ones(3)},
        lambda metrics: metrics | {"loss": jnp.asarray([1.0])},
    ],
)
def test_a_transfer_that_nobody_asked_for_is_an_error(
    careless: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def around(compiled: Any, arguments: Any) -> Any:
        state, metrics = compiled(*arguments)
        return state, careless(metrics)

    stepping(monkeypatch, around)
    with pytest.raises(RuntimeError, match=r"Disallowed host-to-device transfer"):
        run(tmp_path)


def test_a_trace_holds_the_steps_that_were_asked_for(tmp_path: Path) -> None:
    run(tmp_path, RunOptions(profile=(3, 4)))
    (file,) = (tmp_path / "profile").rglob("*.xplane.pb")
    found = {
        dict(event.stats)["step_num"]
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes
        for line in plane.lines
        for event in line.events
        if event.name == "step"
    }
    assert found == {3, 4}


def test_a_run_that_goes_on_beyond_the_traced_steps_writes_no_trace(tmp_path: Path) -> None:
    beyond = trace.Trace(tmp_path, (3, 4))
    assert [n for n in range(1, 9) if beyond.begins(n)] == [3, 4]  # gone on with at 4, that one is traced
    assert not any(beyond.begins(n) for n in range(5, 9))


@pytest.mark.parametrize("asked", ["", "3", "4:3", "0:2", "a:b", "1:2:3", "-1:2"])
def test_a_range_that_is_none_is_refused(asked: str) -> None:
    with pytest.raises(ConfigError, match=r"--profile wants FIRST:LAST, .* such as 10:13; got "):
        trace.steps_of(asked)
    assert trace.steps_of("10:13") == (10, 13)


def test_steps_that_a_stage_has_not_are_refused_before_a_run_is_begun(tmp_path: Path) -> None:
    for stage in (stages.sft, lambda *args, **kw: stages.grpo(*args, init=None, **kw)):
        with pytest.raises(ConfigError, match=r"--profile 3:900: (sft|grpo) has \d+ steps"):
            stage(TINY, tmp_path / "run", options=RunOptions(profile=(3, 900)), progress=lambda *_: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("every", "first", "left"), [(2, 8, [2, 4, 6]), (1, 8, [1, 2, 3, 4, 5, 6]), (3, 4, [])])
def test_a_run_that_diverged_names_the_last_state_that_trained_and_ends_there(
    every: int, first: int, left: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`first`: the first update that is skipped; its weights, of the step before, are those that do not train."""
    steps: list[int] = []

    def around(compiled: Any, arguments: Any) -> Any:
        state, metrics = compiled(*arguments)
        steps.append(len(steps) + 1)
        return state, metrics | {"skipped": Late(max(0, steps[-1] - first + 1), lambda: None)}

    stepping(monkeypatch, around)
    named = rf"the last valid state is checkpoint {left[-1]} of " if left else "no checkpoint in .* is from before them"
    with pytest.raises(RunError, match=rf"step {first + 3}: .* 4 updates in a row \(max_skipped=3\); .*{named}"):
        run(tmp_path, settings=(f"checkpoint_every={every}", "keep=99", "max_skipped=3"), steps=20)
    assert checkpoint.steps(tmp_path) == left
    monkeypatch.undo()
    again = run(tmp_path, settings=("keep=99",), steps=first)
    assert int(again.step) == first


def test_one_update_that_was_skipped_is_forgotten_and_the_last_state_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def around(compiled: Any, arguments: Any) -> Any:
        state, metrics = compiled(*arguments)
        steps.append(len(steps) + 1)
        return state, metrics | {"skipped": Late(int(steps[-1] in (2, 6)), lambda: None)}

    stepping(monkeypatch, around)
    run(tmp_path, settings=("checkpoint_every=2", "keep=99"))
    assert checkpoint.steps(tmp_path) == [4, 6]


def test_tensorboard_reads_the_metrics(tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    for last, steps in ((0, (1, 2)), (1, (2,))):
        with closing(Board(tmp_path / str(last), last)) as board:
            for step in steps:
                board.scalars(step, {"loss": step / 2, "kl": float("nan")})
        (file,) = (tmp_path / str(last)).iterdir()
        events, data = [], file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            events.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
        told = [(e.step, {v.tag: v.simple_value for v in e.summary.value}) for e in events if e.summary.value]
        assert [(step, values["loss"]) for step, values in told] == [(step, step / 2) for step in steps]
        assert events[0].file_version == "brain.Event:2"
        assert [e.step for e in events if e.session_log.status] == ([2] if last else [])


def test_the_times_of_a_run_are_kept_with_it(tmp_path: Path) -> None:
    run(tmp_path)
    left = marks(tmp_path)
    assert [mark.step for mark in left] == [0, STEPS, STEPS]
    found = account(left)
    assert min(found.spent[kind] for kind in ("step", "compile", "data", "checkpoint")) > 0
    assert (found.lost, found.restarts) == (0, 0)
