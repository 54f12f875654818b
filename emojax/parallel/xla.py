"""The flags that XLA is started with: the one place of them.

XLA reads them once, when jax first looks for devices; to import jax does not yet do it, but this module needs none.

What holds everywhere: the noise of a run is named (seed, step, clip, sample, position), and jax's random numbers do not
depend on how an array is sharded, so it is the same on every platform and mesh. What does not: the order of sums.

    CPU, TPU    a program gives the same bits, run to run, as it is
    GPU         it does not: kernels are chosen by timing them (autotuning), and some add with atomics
    GPU, deterministic
                it does, on the same kind of GPU, number of devices and versions; scatters are slower, for their updates
                are sorted, and so are products, for the default kernel is taken
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Literal

Platform = Literal["gpu", "tpu", "cpu"]

# An unknown flag ends the process: each of these is known to jaxlib 0.10.2 and 0.12.0.
_GPU = (
    # collectives run beside computation: without it the scheduler puts them where they are needed, and everything waits
    "--xla_gpu_enable_latency_hiding_scheduler=true",
    # and across the iterations of a loop, where layers and micro-batches are: the next one's weights come in early
    "--xla_gpu_enable_pipelined_all_gather=true",
    "--xla_gpu_enable_pipelined_all_reduce=true",
    "--xla_gpu_enable_pipelined_reduce_scatter=true",
)
_GPU_DETERMINISTIC = (
    # sorts the updates of a scatter, refuses kernels that add with atomics, cuDNN's among them, and times none
    "--xla_gpu_deterministic_ops=true",
)


def flags(platform: Platform, deterministic: bool) -> dict[str, str]:
    """Environment variables for a platform.

    None for a TPU: its compiler hides latency and runs collectives asynchronously by itself, and is deterministic.
    """
    if platform != "gpu":
        return {}
    return {"XLA_FLAGS": " ".join(_GPU + _GPU_DETERMINISTIC * deterministic)}


def set_environment(deterministic: bool = False) -> None:
    """Merges the flags into os.environ before jax looks for devices; what the user set stays. May be repeated."""
    for name, own in flags(platform(), deterministic).items():
        os.environ[name] = merged(own, os.environ.get(name, ""))


def merged(own: str, users: str) -> str:
    """Both, without our flags that the user gives too."""
    given = {flag.partition("=")[0] for flag in users.split()}
    return " ".join([flag for flag in own.split() if flag.partition("=")[0] not in given] + users.split())


def platform(environment: Mapping[str, str] = os.environ) -> Platform:
    """What jax will run on, from JAX_PLATFORMS, or guessed from the plugins that are installed.

    A guess is enough: a machine with the CUDA plugin and no GPU gets flags that do nothing there.
    """
    first = environment.get("JAX_PLATFORMS", "").split(",")[0]
    if first:
        return "gpu" if first in ("cuda", "gpu") else "tpu" if first == "tpu" else "cpu"
    if any(find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
        return "gpu"
    return "tpu" if find_spec("libtpu") else "cpu"


def in_force() -> str:
    """What a process started from this environment tells XLA."""
    told = [f"{name}={os.environ[name]}" for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS") if os.environ.get(name)]
    return " ".join(told) or "none"
