"""Progress on the screen: one bar a task, with the time left and the latest numbers."""

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bars(shown: bool = True) -> Iterator[Callable[[str], Callable[[int, int, dict[str, float]], None]]]:
    """Gives a function that opens a bar by its title; the bar is told (done, total, numbers).

    Args:
      shown: False: nothing is, as in all processes of a run but the first.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<13}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    progress = Progress(
        *columns, console=Console(stderr=True), disable=not shown
    )  # started by its first task: an early error stands alone

    def open_bar(title: str) -> Callable[[int, int, dict[str, float]], None]:
        tasks = []

        def tell(done: int, total: int, numbers: dict[str, float]) -> None:
            if not tasks:
                progress.start()
                tasks.append(progress.add_task(title, total=total, numbers=""))
            shown = [f"{name} {numbers[name]:.3f}" for name in ("loss", "reward", "kl") if name in numbers]
            progress.update(tasks[0], completed=done, total=total, numbers="  ".join(shown))

        return tell

    try:
        yield open_bar
    finally:
        if progress.tasks:
            progress.stop()
