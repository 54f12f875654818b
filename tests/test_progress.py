"""The screen tells of the whole command: how long it still takes, whichever part of it runs, and the latest numbers."""

import dataclasses
import io
import math
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress

from emojax.api import ahead, progress
from emojax.api.progress import Left, bars, seconds_left
from emojax.config import presets
from emojax.data.clips import Clip


def test_a_bar_keeps_its_numbers_in_a_terminal_of_eighty_columns() -> None:
    screen = io.StringIO()
    shown = Progress(
        *progress.columns(), console=Console(file=screen, width=80, force_terminal=True, color_system=None)
    )
    for title in ("cold start", "Emo-GRPO", "captions grpo"):
        numbers = {"loss": -0.0123, "reward": -0.456, "eval_greedy_reward": -0.789, "reward_facts": -2.345}
        numbers = {} if "captions" in title else numbers
        left = Left(math.inf, 0.0)
        shown.add_task(title, total=20_000, completed=19_999, left=left, numbers=progress.told(numbers))
    shown.console.print(shown.get_renderable())
    lines = screen.getvalue().splitlines()
    assert len(lines) == 3
    assert all("…" not in line and "19999/20000 --:--" in line for line in lines)
    assert lines[0].rstrip().endswith("reward -0.456 held -0.789 facts -2.345")


def test_the_time_left_is_that_of_all_that_comes() -> None:
    """A job whose parts take what their work says: told in any step of any part, it is what the clock will show."""
    work, pace = {"a": 30.0, "b": 200.0, "c": 5.0}, 0.5  # seconds for a unit of work
    end, began = pace * sum(work.values()), 0.0
    for name, after in ahead.after(work).items():
        steps, own = 10, pace * work[name]
        since = (3, began + 0.3 * own)  # gone on with
        for done in range(4, steps + 1):
            now = began + own * done / steps
            assert seconds_left(since, done, steps, now, after) == pytest.approx(end - now, abs=1e-9)
        began += own
    assert seconds_left((1, 5.0), 1, 10, 5.0, 0.0) == math.inf
    assert seconds_left((1, 5.0), 7, 10, 9.0, math.inf) == math.inf
    assert seconds_left((10, 5.0), 10, 10, 5.0, 0.0) == 0


def test_what_ran_out_before_its_time_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    told, done = Left(30.0, 50.0), Left(0.0, 50.0)
    assert (str(told), str(done)) == ("00:30", "00:00")
    now[0] = 80.0
    assert (str(told), str(done)) == ("--:--", "00:00")


def test_the_last_bar_alone_says_it_and_it_runs_down(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with bars() as track:
        first, second = track("first", 2.0), track("second")
        for done in range(1, 4):
            first(done, 3, {})
            now[0] += 20
        second(1, 300, {"loss": 1.5, "eval_greedy_reward_facts": 0.75})
        now[0] += 20
        second(2, 300, {"loss": 1.25})
        now[0] += 5
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].split()[-1] == "3/3"
    assert lines[1].split()[-5:] == ["1:39:15", "loss", "1.250", "facts", "0.750"]  # 298 steps of 20 s, less 5 s


def test_work_grows_with_what_there_is_to_do() -> None:
    cfg = presets.load("base")
    clips = [Clip(str(n), transcript="so", split="test" if n % 5 == 0 else "train") for n in range(200)]
    work = ahead.work_of(cfg, clips, ablate=False)
    longer = ahead.work_of(dataclasses.replace(cfg, steps=2 * cfg.steps), clips, ablate=False)
    more = ahead.work_of(cfg, clips * 2, ablate=True)
    assert longer["Emo-GRPO"] == 2 * work["Emo-GRPO"]
    assert more["captions sft"] == 2 * work["captions sft"] > 0
    assert more["captions grpo"] > 4 * more["captions sft"]
    assert all(number > 0 for number in work.values())
