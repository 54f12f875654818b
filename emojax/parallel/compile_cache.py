"""Compiled programs are kept, so that the next run of the same program starts in seconds: JAX's persistent cache.

Programs that compile in less than a second are not kept (JAX's own threshold). Any number of runs may share a
directory, which may be deleted at any time, and wants to be now and then: JAX never removes what is old.
"""

import contextlib
import json
import os
import platform
from pathlib import Path
from typing import Any

from emojax.storage import cache_folder, read_object, write_atomically

_SECONDS = "compile-seconds.json"  # in the user's cache: how long programs took, so that the next wait can be told
_REMEMBERED = 500


def use(where: str | None = None) -> None:
    """To be called before anything compiles, and after `jax.distributed.initialize`.

    Args:
      where: a directory (`gs://...`, too), "none" for no cache, or None: `$JAX_COMPILATION_CACHE_DIR` if that is set,
        else `compiled` in emojax's own folder of the user's cache, where that is safe. It is not on CPU: XLA refuses on
        some machines what it compiled there, loudly (jax-ml/jax#38445). Nor for several processes on GPU: one whose
        disk lacks what the first one's has would compile alone, and wait without end for its share of the others'
        autotuning; name a directory that all of them see. Of several processes the first one writes.
    Raises:
      OSError: a local directory that cannot be made.
    """
    import jax

    if where == "none":
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if where is None:
        if os.environ.get("JAX_COMPILATION_CACHE_DIR") or not _safe(jax.default_backend(), jax.process_count()):
            return
        where = str(cache_folder() / "compiled")
    elif "://" not in where:
        Path(where).mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", where)


def _safe(platform: str, processes: int) -> bool:
    return platform == "tpu" or (platform != "cpu" and processes == 1)


def seconds_of(program: str) -> float | None:
    """Seconds that a program, by its fingerprint, took to compile here when it last did; None: that is not known."""
    found = _known().get(_here(program))
    return found if isinstance(found, int | float) else None


def keep_seconds(program: str, seconds: float) -> None:
    """Remembers it; where it cannot be written nothing is lost."""
    known = {name: s for name, s in _known().items() if name != _here(program)} | {_here(program): round(seconds, 1)}
    with contextlib.suppress(OSError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_atomically(cache_folder() / _SECONDS, json.dumps(dict(list(known.items())[-_REMEMBERED:])))


def _known() -> dict[str, Any]:
    try:
        return read_object(cache_folder() / _SECONDS)
    except (OSError, ValueError):
        return {}


def _here(program: str) -> str:
    """Of this kind of machine."""
    import jax

    return f"{program} {jax.devices()[0].device_kind} {jax.device_count()} {platform.node()}"
