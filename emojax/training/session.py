"""What one session of a run does with its time: `sessions.jsonl`, a line a mark."""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from emojax.errors import RunError
from emojax.storage import RESUME, parse_json, write_atomically
from emojax.training.goodput import Mark, Span, from_json, spent, to_json
from emojax.types import Tree

FILE = "sessions.jsonl"


def marks(run: Path) -> list[Mark]:
    """Those of all sessions of a run; none where it has none. Raises RunError for a line that is no mark."""
    path = run / FILE
    found = []
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), 1):
        try:
            found.append(from_json(parse_json(line, f"line {number}")))
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            raise RunError(
                f"{path}: line {number} is no mark of a session ({e}); take the file away: the run needs it for the "
                "times that it tells at its end, and for nothing else"
            ) from None
    return found


class Session:
    """Takes the times; the first process writes them down. Close it to end its thread."""

    def __init__(self, run: Path, began: float, step: int) -> None:
        """
        Args:
          began: `time.time()` when the session began.
          step: steps that were done before it.
        """
        self._offset = time.time() - time.perf_counter()  # a clock that is set must not make seconds
        self._run, self._marks = run, marks(run)
        self._number = self._marks[-1].session + 1 if self._marks else 1
        self._spans: list[Span] = []
        self._dispatched: queue.Queue[tuple[float, list[Any]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._wait, name="step-times", daemon=True)
        self._thread.start()
        self._began = self._since = began
        self._write(Mark(self._number, began, step, {}))

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._offset + time.perf_counter()

    @contextlib.contextmanager
    def doing(self, kind: str) -> Iterator[None]:
        """The loop does nothing else meanwhile."""
        began = self.now()
        try:
            yield
        finally:
            self._spans.append((kind, began, self.now()))

    def started(self) -> None:
        """The first step is about to be dispatched."""
        self._spans.append(("start", self._began, self.now()))

    def dispatched(self, since: float, results: Tree) -> None:
        """The device works from `since` on until `results` are there, which another thread waits for."""
        self._dispatched.put((since, jax.tree.leaves(results)))  # a list: the loop takes the tree apart

    def mark(self, step: int) -> None:
        """What was done until now is kept: the results of all steps are there and a checkpoint of `step` was begun."""
        self._dispatched.join()
        now = self.now()
        self._write(Mark(self._number, now, step, spent(self._spans, self._since, now)))
        self._spans, self._since = [], now

    def close(self) -> None:
        """Returns when the steps that were dispatched are done: a thread that waits inside C++ while Python ends takes
        the process with it (signal 6)."""
        self._dispatched.put(None)
        self._thread.join()

    def _wait(self) -> None:
        while (step := self._dispatched.get()) is not None:
            since, results = step
            with contextlib.suppress(Exception):  # the loop meets it when it fetches the results
                jax.block_until_ready(results)
            self._spans.append(("step", since, self.now()))
            del step, results  # the last step's would be kept
            self._dispatched.task_done()

    def _write(self, mark: Mark) -> None:
        self._marks.append(mark)
        if jax.process_index() == 0:
            write_atomically(self._run / FILE, "".join(json.dumps(to_json(m)) + "\n" for m in self._marks), RESUME)
