"""Compiled programs are kept, so that the next run of the same program starts in seconds: JAX's persistent cache.

Programs that compile in less than a second are not kept (JAX's own threshold). Any number of runs may share a
directory, which may be deleted at any time, and wants to be now and then: JAX never removes what is old.
"""

import os
from pathlib import Path

from emojax.storage import cache_folder


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
