"""Where the seconds of a run went: from made-up clocks, and from a loop that really runs."""

import json
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from emojax.training.goodput import KINDS, Mark, account, lines, spent
from emojax.training.session import FILE, Session, marks


def test_every_moment_is_of_one_kind_and_the_first_of_the_list_wins() -> None:
    r = np.random.default_rng(0)
    for _ in range(20):
        spans = []
        for _ in range(r.integers(0, 12)):
            a, b = sorted(r.integers(-5, 45, 2).tolist())
            spans.append((KINDS[r.integers(len(KINDS))], a, b))
        wanted = dict.fromkeys(KINDS, 0)
        for second in range(3, 40):  # one by one
            here = [kind for kind, a, b in spans if a <= second < b]
            if here:
                wanted[min(here, key=KINDS.index)] += 1
        assert spent(spans, 3, 40) == wanted


def test_data_that_is_read_while_the_device_works_costs_nothing() -> None:
    spans = [("step", 0.0, 1.0), ("data", 0.1, 0.9), ("data", 1.0, 1.5), ("step", 1.5, 2.5), ("data", 2.0, 3.0)]
    assert spent(spans, 0, 3) == dict.fromkeys(KINDS, 0) | {"step": 2.0, "data": 1.0}


def test_an_unbroken_run_has_lost_nothing() -> None:
    found = account([Mark(1, 100, 0, {}), Mark(1, 130, 10, {"step": 20, "start": 5}), Mark(1, 150, 20, {"step": 20})])
    assert (found.wall, found.lost, found.other, found.restarts) == (50, 0, 5, 0)
    assert found.goodput == 40 / 50
    assert found.spent == dict.fromkeys(KINDS, 0) | {"step": 40, "start": 5}


@pytest.mark.parametrize(
    ("resumed", "step", "lost"),
    [
        (20, 20 + 20 + 5, 200 - 150),  # killed in the steps after its last checkpoint
        (10, 20 + 5, 200 - 130),  # its last checkpoint was never complete
        (0, 5, 200 - 100),  # nor was any other
    ],
)
def test_what_a_killed_session_did_beyond_the_step_that_is_gone_on_with_is_lost(
    resumed: int, step: int, lost: int
) -> None:
    killed = [Mark(1, 100, 0, {}), Mark(1, 130, 10, {"step": 20}), Mark(1, 150, 20, {"step": 20})]
    found = account([*killed, Mark(2, 200, resumed, {}), Mark(2, 210, 30, {"step": 5})])
    assert (found.spent["step"], found.lost, found.wall, found.restarts) == (step, lost, 110, 1)


def test_steps_that_are_kept_are_counted_once_whatever_is_killed() -> None:
    """A made-up run: a step takes 1 s, a checkpoint may fail or be lost later, sessions are killed at random."""
    r = np.random.default_rng(1)
    for _ in range(50):
        now, complete, left = 0.0, [0], []
        for session in range(1, 8):
            now += r.uniform(0, 50)
            if len(complete) > 1 and r.random() < 0.3:
                complete.pop()
            step = complete[-1]
            left.append(Mark(session, now, step, {}))
            for _ in range(r.integers(0, 5)):
                done = int(r.integers(1, 10))
                step, now = step + done, now + done
                left.append(Mark(session, now, step, {"step": done}))
                if r.random() < 0.7:
                    complete.append(step)
        left.append(Mark(8, now, complete[-1], {}))
        found = account(left)
        assert found.spent["step"] == complete[-1]
        assert sum(found.spent.values()) + found.other + found.lost == pytest.approx(found.wall)


def test_the_lines_for_people_name_each_run_and_all_of_them() -> None:
    sft = [Mark(1, 0, 0, {}), Mark(1, 10, 5, {"step": 8, "compile": 2})]
    report = [Mark(1, 30, 0, {}), Mark(1, 40, 1, {"evaluation": 10})]
    assert lines({"sft": sft, "grpo": [], "report": report}) == [
        "sft: 80% of 10 s spent training; the rest: compiling 2 s",
        "report: 0% of 10 s spent training; the rest: captions and scores 10 s",
        "all: 20% of 40 s spent training; the rest: compiling 2 s, captions and scores 10 s, between stages 20 s",
    ]


class Result:
    """Of a step: there when it is told to be."""

    def __init__(self) -> None:
        self.there = threading.Event()

    def block_until_ready(self) -> None:
        self.there.wait()


def test_a_session_measures_the_device_and_writes_what_is_kept(tmp_path: Path) -> None:
    with closing(Session(tmp_path, time.time() - 100, 3)) as session:
        session.started()
        loss = Result()
        session.dispatched(session.now(), {"loss": loss})
        with session.doing("data"):
            time.sleep(0.1)
        loss.there.set()  # the device worked all the time
        session.mark(4)
        with session.doing("data"):
            time.sleep(0.1)
        with session.doing("checkpoint"):
            assert len(marks(tmp_path)) == 2  # a killed session would be known so far
        session.mark(5)
    begun, first, second = marks(tmp_path)
    assert [(mark.session, mark.step) for mark in (begun, first, second)] == [(1, 3), (1, 4), (1, 5)]
    assert first.spent["start"] > 99
    assert first.spent["step"] > 0.09
    assert first.spent["data"] == 0
    assert second.spent["data"] > 0.09
    assert second.spent["step"] == 0
    Session(tmp_path, time.time(), 5).close()
    assert [mark.session for mark in marks(tmp_path)] == [1, 1, 1, 2]
    assert len((tmp_path / FILE).read_text().splitlines()) == 4
    assert all(json.loads(line)["at"] > 0 for line in (tmp_path / FILE).read_text().splitlines())
