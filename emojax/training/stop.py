"""What all processes do after a step: go on, write a checkpoint, or write one and stop because SIGTERM or Ctrl-C came.

JAX's own preemption sync point is not used. It counts calls and stops at the largest count plus one, so step numbers
must begin at 0 and never jump: a notice that comes while a run is being restored at step 500, or between the two
stages, is never reached (seen with jax 0.10.2). And it knows no clock. Here every process says what it wishes,
and the largest wish rules: one maximum over a number a device, dispatched behind the step and fetched behind the next
one, so that nobody waits for it.
"""

import enum
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from emojax.parallel import hosts, sharding
from emojax.types import Array


class Wish(enum.IntEnum):
    """The larger one rules."""

    GO_ON = 0
    SAVE = 1
    STOP = 2


_came = threading.Event()  # a signal is the whole process's, so is this
_AT_ONCE = 128 + signal.SIGINT  # exit code, as shells have it
_SHOW_CURSOR = "\x1b[?25h"  # which a progress bar hides


def _note(*_: object) -> None:
    _came.set()


@contextmanager
def listening() -> Iterator[None]:
    """Meanwhile SIGTERM and Ctrl-C are noted (`told`) and end nothing, but for a second Ctrl-C, which ends the process
    at once. It may be nested.

    Only the main thread hears signals: in another one they do what they did.
    """
    if signal.getsignal(signal.SIGTERM) is _note or threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as behind `&` in a script: nobody's Ctrl-C
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, _note) for number in numbers}
    try:
        with _second_at_once():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not set by Python, as by jax.distributed
        _came.clear()


@contextmanager
def _second_at_once() -> Iterator[None]:
    """A thread hears every Ctrl-C the moment it comes: Python's own handlers wait for as long as XLA compiles."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    thread = threading.Thread(target=_count, args=(read,), name="ctrl-c", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(write)
        thread.join()
        os.close(read)


def _count(pipe: int) -> None:
    """Until the pipe is closed, numbers of signals come through it."""
    interrupts = 0
    while number := os.read(pipe, 1):
        if number[0] != signal.SIGINT:
            continue
        interrupts += 1
        if interrupts == 1:
            print("\nstopping after this step; Ctrl-C once more stops at once", file=sys.stderr, flush=True)
        else:
            os.write(
                2,
                (_SHOW_CURSOR if os.isatty(2) else "").encode() + b"\nemojax: stopped at once; --resume goes on "
                b"from the last checkpoint\n",
            )
            os._exit(_AT_ONCE)


def told() -> bool:
    """Whether SIGTERM or Ctrl-C came to this process."""
    return _came.is_set()


class Clock:
    """Checkpoints every so many minutes: of process 0, that of the others is not asked.

    `minutes` 0: never.
    """

    def __init__(self, minutes: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._now = 60 * minutes, now
        self.saved()

    def saved(self) -> None:
        self._since = self._now()

    def due(self) -> bool:
        return bool(self._seconds) and hosts.first() and self._now() - self._since >= self._seconds


class Agreement:
    """What all processes do; every process asks after each step."""

    def __init__(self, mesh: jax.sharding.Mesh) -> None:
        self._alone = jax.process_count() == 1
        self._each = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._largest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._pending: Array | None = None

    def on(self, wish: Wish) -> Wish:
        """The wish of one process; of several the largest of the wishes after the step before."""
        if self._alone:
            return wish
        agreed = Wish.GO_ON if self._pending is None else Wish(int(jax.device_get(self._pending)))
        mine = np.array([wish if agreed is Wish.GO_ON else Wish.GO_ON], np.int32)  # what is done now need not be wished
        devices = (self._each.mesh.size,)
        self._pending = self._largest(sharding.from_parts(devices, self._each, lambda _: mine))
        return agreed
