"""Tells where a run hangs: the stacks of all threads, once a step takes far longer than the steps before it."""

import contextlib
import faulthandler
import math
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from emojax.storage import write_atomically

TIMES = 10.0  # the median of the last steps
LEAST = 10.0  # seconds that are never a stall
WINDOW = 50  # last steps
ENOUGH = 3  # steps before there is a median


def limit(seconds: Sequence[float], least: float) -> float | None:
    """Seconds after which a step is stalled, from those of the last steps; None: too few of them to tell."""
    return max(TIMES * statistics.median(seconds), least) if len(seconds) >= ENOUGH else None


class Watchdog:
    """A thread beside the loop, which tells it of finished steps. It never ends anything. Close it to end it."""

    def __init__(self, file: Path, who: str, least: float = LEAST, clock: Callable[[], float] = time.monotonic):
        """
        Args:
          file: gets the stacks, beside the standard error output.
          who: names the process, for the message.
        """
        self._file, self._who, self._least, self._clock = file, who, least, clock
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._step, self._since = 0, math.nan  # awaited since; nan: not now
        self._change, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def finished(self, step: int) -> None:
        """A step is, and the next one is awaited from now on."""
        with self._change:
            now = self._clock()
            if not math.isnan(self._since):
                self._seconds.append(now - self._since)
            self._step, self._since = step + 1, now
            self._change.notify()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """No step is awaited meanwhile: the loop compiles or saves."""
        with self._change:
            self._since = math.nan
        yield
        with self._change:
            self._since = self._clock()
            self._change.notify()

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join()

    def _watch(self) -> None:
        while (stall := self._stalled()) is not None:
            self._tell(*stall)

    def _stalled(self) -> tuple[int, float, list[float]] | None:
        """Waits for the next stall: its step, its seconds so far, those of the last steps; None: closed."""
        with self._change:
            told = self._since  # one stall is told of once
            while not self._closed:
                allowed = limit(self._seconds, self._least)
                if allowed is None or math.isnan(self._since) or self._since == told:
                    self._change.wait()
                elif (left := self._since + allowed - self._clock()) > 0:
                    self._change.wait(left)
                else:
                    return self._step, self._clock() - self._since, list(self._seconds)
        return None

    def _tell(self, step: int, seconds: float, before: list[float]) -> None:
        text = (
            f"step {step} of {self._who} has taken {seconds:.1f} s so far; the median of the last {len(before)} "
            f"is {statistics.median(before):.2f} s. It goes on. The stacks of all threads, in {self._file}, too:\n"
        )
        try:
            with tempfile.TemporaryFile() as stacks:  # faulthandler wants a file of the operating system
                faulthandler.dump_traceback(stacks, all_threads=True)
                stacks.seek(0)
                text += stacks.read().decode(errors="replace")
        except OSError as e:
            text += f"(there is no room for them: {e})"
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)
        try:
            earlier = self._file.read_text() if self._file.exists() else ""
            write_atomically(self._file, f"{earlier}{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        except OSError as e:  # the run goes on, and so does this thread
            with contextlib.suppress(OSError):
                print(f"emojax: {e}", file=sys.stderr, flush=True)
