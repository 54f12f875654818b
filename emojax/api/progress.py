"""Progress on the screen: one bar a task, with the time left and the latest numbers."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


@contextlib.contextmanager
def bars(shown: bool = True) -> Iterator[Callable[[str], Callable[[int, int, dict[str, float]], None]]]:
    """Gives a function that opens a bar by its title; the bar is told (done, total, numbers).

    Args:
      shown: False: nothing is, as in all processes of a run but the first.
    """
    from rich.console import Console
    from rich.progress import Progress

    # started by its first task: an early error stands alone
    progress = Progress(*columns(), console=Console(stderr=True), disable=not shown)

    def open_bar(title: str) -> Callable[[int, int, dict[str, float]], None]:
        tasks, held_out = [], {}

        def tell(done: int, total: int, numbers: dict[str, float]) -> None:
            if not tasks:
                progress.start()
                tasks.append(progress.add_task(title, total=total, numbers=""))
            held_out.update({name: x for name, x in numbers.items() if name.startswith("eval_")})  # until the next one
            progress.update(tasks[0], completed=done, total=total, numbers=told(held_out | numbers))

        return tell

    try:
        yield open_bar
    finally:
        if progress.tasks:
            progress.stop()


def columns() -> "list[ProgressColumn]":
    """Of a bar; 80 characters hold them and the numbers of Emo-GRPO."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return [
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=8),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[numbers]}"),
    ]


_TOLD = {"reward": "reward", "held": "eval_greedy_reward", "facts": "reward_facts"}


def told(numbers: Mapping[str, float]) -> str:
    """The numbers that are worth a look while a run runs; "held" is the reward of held-out clips.

    >>> told({"loss": 1.23456, "entropy": 2.0, "eval_greedy_reward": 0.5})
    'loss 1.235 held 0.500'
    >>> told({"loss": 0.01, "reward": 0.75, "reward_facts": 0.25})
    'reward 0.750 facts 0.250'
    """
    names = _TOLD if "reward" in numbers else {"loss": "loss"} | _TOLD  # Emo-GRPO's loss tells nothing
    return " ".join(f"{word} {numbers[name]:.3f}" for word, name in names.items() if name in numbers)
