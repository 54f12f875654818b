"""Several processes, one program: who logs, and where all wait for each other.

Barriers go through the coordination service of JAX's own multi-controller runtime: no device is asked, and what is
awaited may take as long as it needs, because a process that dies ends all others.
"""

from typing import Any

import jax

_LONG = 7 * 24 * 3600  # seconds; only a live process is waited for so long


def first() -> bool:
    """Whether this process is the one that logs, prints and writes."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Returns once every process has come; at once where there is one. A name may be used again."""
    client = _client()
    if client is not None:
        client.wait_at_barrier(name, _LONG * 1000)


def _client() -> Any:
    """The coordination service's client; None in a run of one process. The one place that reaches into `jax._src`.

    Public JAX has barriers of devices only (`multihost_utils.sync_global_devices`), which know no time limit and no
    strings.
    """
    from jax._src import distributed

    return distributed.global_state.client
