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
        tasks = []

        def tell(done: int, total: int, numbers: dict[str, float]) -> None:
            if not tasks:
                progress.start()
                tasks.append(progress.add_task(title, total=total, numbers=""))
            progress.update(tasks[0], completed=done, total=total, numbers=told(numbers))

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
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[numbers]}"),
    ]


def told(numbers: Mapping[str, float]) -> str:
    """The numbers that are worth a look while a run runs.

    >>> told({"loss": 1.23456, "kl": 0.01, "entropy": 2.0})
    'loss 1.235 kl 0.010'
    """
    return " ".join(f"{name} {numbers[name]:.3f}" for name in ("loss", "reward", "kl") if name in numbers)
