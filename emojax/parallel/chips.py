"""What a chip of each kind of TPU can do, and the memory of any device."""

from dataclasses import dataclass
from typing import Any

GIB = 1 << 30


@dataclass(frozen=True)
class Chip:
    """Peaks of one chip, by Google's documentation (cloud.google.com/tpu/docs/v4, v5e, v5p, v6e, tpu7x)."""

    names: tuple[str, ...]  # as JAX has it: `device_kind`
    axes: int  # of the network between chips
    devices: int  # that JAX sees of it
    memory: float  # GiB a device that a program may use: what libtpu 0.0.50.1 says when a program wants too much
    operations: float  # bfloat16 operations a second
    bandwidth: float  # bytes a second from its memory
    ici: float  # bytes a second to other chips of its slice, all links, one direction: half of what is documented
    dcn: float  # bytes a second to other slices: its share of its host's network
    config: str | None = None  # libtpu's name of how its cores are joined, where that is not the default


CHIPS = {
    # 2 x 6 links of 45 GB/s: jax-ml.github.io/scaling-book/tpus; the hosts' network: 81 Tbit/s between two pods of
    # 3,072 chips (PaLM, arXiv 2204.02311, section 4)
    "v4": Chip(("TPU v4",), 3, 1, 30.75, 275e12, 1228e9, 270e9, 3.3e9, "megacore"),
    "v5e": Chip(("TPU v5 lite", "TPU v5e"), 2, 1, 15.75, 197e12, 819e9, 200e9, 3.125e9),  # 6.4 Tbit/s a pod of 256
    "v5p": Chip(("TPU v5", "TPU v5p"), 3, 1, 95.73, 459e12, 2765e9, 600e9, 6.25e9),
    "v6e": Chip(("TPU v6 lite", "TPU v6e"), 2, 1, 31.24, 918e12, 1638e9, 400e9, 12.5e9),
    "tpu7x": Chip(("TPU7x",), 3, 2, 94.74, 2307e12, 7380e9, 600e9, 12.5e9),
}


def chip_of(device: Any) -> Chip | None:
    """None: not a TPU that is known here."""
    return next((chip for chip in CHIPS.values() if device.device_kind in chip.names), None)


def memory(device: Any) -> int | None:
    """Bytes that a program may use on a device; None: it does not say.

    Of a TPU by its name, since devices of a described topology and of other hosts cannot be asked.
    """
    chip = chip_of(device)
    if chip:
        return int(chip.memory * GIB)
    try:
        stats = device.memory_stats()
    except RuntimeError:  # a device that is only compiled for
        return None
    return (stats or {}).get("bytes_limit")
