"""f(items[0]), f(items[1]), ... in order, made ahead of their use in worker processes.

Grain keeps the order and the look-ahead; a process pool does the work. Grain's own `mp_prefetch` is not used: it moves
arrays through shared memory, of which a container often has 64 MB (a batch beyond that is a bus error), and with
messages too large for a pipe's buffer instead it takes half a minute to close, or never does.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

A = TypeVar("A")
T = TypeVar("T")
_PARENTS = (signal.SIGINT, signal.SIGTERM)  # are for the parent to answer
_PREFETCH = 2  # results per worker that are in the making or wait to be used
_make: Callable[[Any], Any] | None = None  # in a worker: what it makes, once it was told


def prefetch(make: Callable[[A], T], items: Sequence[A], workers: int) -> Generator[T, None, None]:
    """Results in order, the same for any number of workers; 0 makes them in this process, when they are asked for.

    Workers start at the call; closing the iterator stops them. An error in a worker is raised here; one that dies is
    a RuntimeError.

    Args:
      make: can be pickled; sent to a worker once.
      items: what it is called with; each is sent when its turn is near. `range(start, 2**31)`: numbers without end.
    """
    import grain

    pool, alive = None, None
    if workers:
        spawn = multiprocessing.get_context("spawn")  # a fork of a process that runs JAX's threads may deadlock
        wanted, alive = spawn.Pipe(duplex=False)
        pool = ProcessPoolExecutor(workers, spawn, _begin, (wanted,))

    def result(i: int) -> T:
        item = items[i]
        if pool is None:
            return make(item)
        told, value = _submit(pool, item).result()
        return value if told else _submit(pool, item, make).result()[1]

    depth = _PREFETCH * workers  # threads only wait for the pool; 0 of them: no look-ahead
    options = grain.ReadOptions(num_threads=depth, prefetch_buffer_size=depth)
    iterator = iter(grain.MapDataset.range(len(items)).map(result).to_iter_dataset(options))
    iterator.start_prefetch()

    def results() -> Generator[T, None, None]:
        try:
            yield from iterator
        except BrokenProcessPool as e:
            if alive is not None:
                alive.close()  # the pool ends the others by SIGTERM and waits for them, who do not hear it
            raise RuntimeError(
                "a worker process died: out of memory, or it could not start because a script starts its work outside "
                'of `if __name__ == "__main__":`. With data.workers=0 this process decodes by itself.'
            ) from e
        finally:
            iterator.close()
            if pool is not None:
                pool.shutdown(cancel_futures=True)

    return results()


def _submit(pool: ProcessPoolExecutor, *call: Any) -> Future:
    """It may start a worker, which inherits what is blocked here: `_begin` comes a second later, a signal may not."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PARENTS)  # of this thread
    try:
        return pool.submit(_run, *call)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(item: Any, make: Callable[[Any], Any] | None = None) -> tuple[bool, Any]:
    """In a worker: (True, result), or (False, None) where it was not told yet what to make.

    `make` may hold a long manifest. It goes neither with every item nor with the start of the process, which would
    hang if the process died before it had read all of it.
    """
    global _make
    _make = _make or make
    return (False, None) if _make is None else (True, _make(item))


def _begin(wanted: multiprocessing.connection.Connection) -> None:
    """In a worker: Ctrl-C and SIGTERM, which schedulers send to all processes of a job, are for the parent to answer,
    who may need batches for the steps until all hosts have stopped. Its death, by whatever signal, is ours too, and so
    is the closing of the other end of `wanted`."""
    for number in _PARENTS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PARENTS)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel, wanted])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
