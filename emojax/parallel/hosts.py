"""Several processes, one program: how they find each other, agree, wait for each other, and who of them logs.

It all goes through the coordination service of JAX's own multi-controller runtime: no device is asked. What is awaited
may take as long as it needs, because a process that dies ends all others.
"""

import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn
from unittest import mock

import jax
import numpy as np
from jax.experimental import multihost_utils

from emojax.errors import ConfigError, RunError

_LONG = 7 * 24 * 3600  # seconds; only live processes are waited for so long
_SLACK = 10  # seconds that a process waits beyond the timeout, for process 0 to say who is missing
_LEAVE = 30  # seconds that a process which is done, or has failed, waits for the others before it ends them, too


def initialize(
    processes: int | None = None, coordinator: str | None = None, process: int | None = None, timeout: float = 300
) -> None:
    """Joins the processes of a run; nothing happens where nothing is given. Call it before JAX is asked for devices.

    Without `coordinator` the cluster says who is who: Cloud TPU, GKE, SLURM, as `jax.distributed.initialize` finds it.

    Args:
      processes: how many there must be.
      coordinator: HOST:PORT of process 0, where its coordination service listens.
      process: the number of this one, from 0.
      timeout: seconds within which all must have come. Where one has not, every other ends with a message that names
        it, and exit code 134: JAX ends them.
    Raises:
      ConfigError: numbers that do not fit each other, or the cluster; no cluster to find.
    """
    if processes is None and coordinator is None and process is None:
        return
    if processes is None or (coordinator is None) != (process is None):
        raise ConfigError(
            "several processes need --processes, and --coordinator and --process together, or neither where the "
            f"cluster knows them; got processes={processes}, coordinator={coordinator}, process={process}"
        )
    if processes < 1 or (process is not None and not 0 <= process < processes) or timeout <= 0:
        raise ConfigError(
            f"--process counts from 0 to --processes - 1 and --timeout is above 0: got process={process}, "
            f"processes={processes}, timeout={timeout}"
        )
    with _explained(process, processes, coordinator, timeout):
        found = _connect(None if coordinator is None else processes, coordinator, process, timeout)
    if not found:
        if processes == 1:
            return
        raise ConfigError(
            f"--processes {processes}, but no cluster was found (Cloud TPU, GKE, SLURM); give --coordinator HOST:PORT "
            "and --process I"
        )
    there = _state().num_processes
    if there != processes:
        raise ConfigError(f"the cluster has {there} processes, --processes says {processes}: give the number it has")
    agree("processes", {"--processes": str(processes)})


def end(code: int) -> NoReturn:
    """Ends this process with `code`, also where it is the only one that failed.

    On its way out JAX waits for the others, and when they do not come ends all, this one with 134: so not that long.
    """
    if _state().client is not None:
        timer = threading.Timer(_LEAVE - 5, os._exit, [code])
        timer.daemon = True  # nobody waits for it
        timer.start()
    sys.exit(code)


def first() -> bool:
    """Whether this process is the one that logs, prints and writes."""
    return _state().process_id == 0


def barrier(name: str) -> None:
    """Returns once every process has come; at once where there is one. A name may be used again."""
    client = _state().client
    if client is not None:
        client.wait_at_barrier(f"emojax/{name}", _LONG * 1000)


def by_first(do: Callable[[], None], what: str) -> None:
    """The first process does it while the others wait; where it fails, all fail.

    Raises:
      RunError: in the others. What `do` raises, in the first one.
    """
    if jax.process_count() == 1:
        do()
        return
    failed: Exception | None = None
    if first():
        try:
            do()
        except Exception as e:  # whatever it is, the others must hear of it before it is raised
            failed = e
    barrier("the first is done")  # which waits for as long as it takes; a broadcast does not
    bad = bool(multihost_utils.broadcast_one_to_all(np.array(failed is not None)))
    if failed is not None:
        raise failed
    if bad:
        raise RunError(f"process 0 could not {what}: it says why")


def agree(name: str, facts: Mapping[str, str]) -> None:
    """Returns once every process has come with the same facts; at once where there is one process.

    Raises:
      ConfigError: in every process, where they differ: each fact that does, and who holds what.
    """
    state = _state()
    if state.client is None:
        return
    text = json.dumps(dict(facts), sort_keys=True)
    told = _exchange(name, hashlib.sha256(text.encode()).hexdigest())
    if len(set(told)) > 1:
        raise ConfigError(
            "the processes are not of one run, so none of them goes on:\n"
            + "\n".join(_differences([json.loads(each) for each in _exchange(name, text)]))
            + "\nstart all of them with the same command, files and environment"
        )


def _differences(held: list[dict[str, str]]) -> list[str]:
    """A line for every fact of which not all processes hold the same."""
    lines = []
    for fact in dict.fromkeys(fact for facts in held for fact in facts):
        holders: dict[str, list[str]] = {}
        for process, facts in enumerate(held):
            holders.setdefault(facts.get(fact, "nothing"), []).append(str(process))
        if len(holders) > 1:
            each = "; ".join(f"{value} on process {', '.join(on)}" for value, on in holders.items())
            lines.append(f"  {fact}: {each}")
    return lines


def _exchange(name: str, text: str) -> list[str]:
    """The texts of all processes, in their order."""
    state = _state()
    key = f"emojax/{name}"
    state.client.key_value_set(f"{key}/{state.process_id}", text, allow_overwrite=True)
    barrier(f"{name}/told")
    texts = {int(at.rpartition("/")[2]): text for at, text in state.client.key_value_dir_get(key)}
    barrier(f"{name}/read")
    return [texts[process] for process in sorted(texts)]


def _state() -> Any:
    """State of JAX's runtime: this process's number, how many there are, and the coordination service's client, None in
    a run of one process. With `_connect` the one place that reaches into `jax._src`: public JAX has barriers of devices
    only (`multihost_utils`), which know no time limit and no strings, and asks for devices to tell a process its
    number.
    """
    from jax._src import distributed

    return distributed.global_state


def _connect(processes: int | None, coordinator: str | None, process: int | None, timeout: float) -> bool:
    """Whether a run was joined; False where there is no cluster to find.

    JAX gives its service no time limit of its own, and so nobody would learn who is missing: each process would only
    know that it has waited in vain.
    """
    from jax._src.lib import _jax  # pyright: ignore[reportPrivateImportUsage] see above

    service = functools.partial(
        _jax.get_distributed_runtime_service,
        cluster_register_timeout=max(1, round(timeout)),
    )
    with mock.patch.object(_jax, "get_distributed_runtime_service", service):
        try:
            jax.distributed.initialize(
                coordinator,
                processes,
                process,
                initialization_timeout=max(1, round(timeout)) + _SLACK,
                shutdown_timeout_seconds=_LEAVE,
            )
        except ValueError as e:
            if "coordinator_address" in str(e):
                return False
            raise
    return True


@contextlib.contextmanager
def _explained(process: int | None, processes: int, coordinator: str | None, timeout: float) -> Iterator[None]:
    """Meanwhile what is written to standard error goes through `rollcall.py`."""
    from emojax.parallel import rollcall

    who = [str(process if process is not None else "?"), str(processes), coordinator or "the cluster's", str(timeout)]
    sys.stderr.flush()
    screen = os.dup(2)
    told = subprocess.Popen(
        [sys.executable, "-I", "-S", rollcall.__file__, *who], stdin=subprocess.PIPE, stdout=screen, text=True
    )
    assert told.stdin is not None
    os.dup2(told.stdin.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(screen, 2)
        os.close(screen)
        told.stdin.close()
        told.wait()
