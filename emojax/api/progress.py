"""Progress on the screen: a bar a part of a command, the time left for the whole command, the latest numbers."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

Bar = Callable[[int, int, dict[str, float]], None]
"""Is told (done, total, numbers to show)."""


class Track(Protocol):
    def __call__(self, title: str, after: float = 0.0, /) -> Bar:
        """Opens a bar.

        Args:
          after: the work that the command still does after this part, as a multiple of the part; inf: not known.
        """
        ...


@contextlib.contextmanager
def bars(shown: bool = True) -> Iterator[Track]:
    """Gives what opens a bar.

    Args:
      shown: False: nothing is, as in all processes of a run but the first.
    """
    from rich.console import Console
    from rich.progress import Progress

    # started by its first task: an early error stands alone
    progress = Progress(*columns(), console=Console(stderr=True), disable=not shown)

    def open_bar(title: str, after: float = 0.0) -> Bar:
        tasks, since, held_out = [], [], {}

        def tell(done: int, total: int, numbers: dict[str, float]) -> None:
            now = time.monotonic()
            if not tasks:
                progress.start()
                for one in progress.tasks:
                    progress.update(one.id, left="")
                since.append((done, now))
                tasks.append(progress.add_task(title, total=total, left="", numbers=""))
            held_out.update({name: x for name, x in numbers.items() if name.startswith("eval_")})  # until the next one
            left = Left(seconds_left(since[0], done, total, now, after), now)
            progress.update(tasks[0], completed=done, total=total, left=left, numbers=told(held_out | numbers))

        return tell

    try:
        yield open_bar
    finally:
        if progress.tasks:
            progress.stop()


def columns() -> "list[ProgressColumn]":
    """Of a bar; 80 characters hold them and the numbers of Emo-GRPO."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    return [
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=8),
        MofNCompleteColumn(),
        TextColumn("[cyan]{task.fields[left]}"),
        TextColumn("{task.fields[numbers]}"),
    ]


def seconds_left(since: tuple[int, float], done: int, total: int, now: float, after: float) -> float:
    """Of a command: for what is left of a part and for what comes after it, at the part's own pace; inf: not known.

    Args:
      since: what was done when the part was first told of, and when: compiling, which comes before that, has no pace.
      after: as of `Track`.

    >>> seconds_left((1, 10.0), 5, 9, 18.0, after=2.0)  # at 2 s a step 4 of 9 steps, and 18 that come
    44.0
    """
    rest = total - done + after * total
    if not rest:
        return 0.0
    return rest * (now - since[1]) / (done - since[0]) if done > since[0] else math.inf


@dataclass(frozen=True)
class Left:
    """Seconds that were left at a moment, written as those that are left now; where they have run out before their
    time, nothing is known of it."""

    seconds: float
    at: float  # of time.monotonic()

    def __str__(self) -> str:
        seconds = self.seconds - (time.monotonic() - self.at)
        if self.seconds and not 0 < seconds < math.inf:
            return "--:--"
        minutes, seconds = divmod(round(max(0.0, seconds)), 60)
        return f"{minutes:02}:{seconds:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


_TOLD = {  # word -> the first of these that is known
    "reward": ("reward",),
    "held": ("eval_greedy_reward",),
    "facts": ("reward_facts", "eval_greedy_reward_facts"),
}


def told(numbers: Mapping[str, float]) -> str:
    """The numbers that are worth a look while a run runs; "held" is the reward of held-out clips, and so are the facts
    of the cold start, which samples nothing.

    >>> told({"loss": 1.23456, "entropy": 2.0, "eval_greedy_reward": 0.5, "eval_greedy_reward_facts": 0.25})
    'loss 1.235 held 0.500 facts 0.250'
    >>> told({"loss": 0.01, "reward": 0.75, "reward_facts": 0.25})
    'reward 0.750 facts 0.250'
    """
    names = _TOLD if "reward" in numbers else {"loss": ("loss",)} | _TOLD  # Emo-GRPO's loss tells nothing
    first = {word: next((name for name in known if name in numbers), None) for word, known in names.items()}
    return " ".join(f"{word} {numbers[name]:.3f}" for word, name in first.items() if name)
