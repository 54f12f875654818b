"""TPU slices by the names that `emojax plan --topology` takes: `v5e:4x4` is a shape in chips.

Sizes, names and shapes are Google's ("Cloud TPU system architecture", "Plan TPUs in GKE"): v5e and v6e are meshes of a
few shapes; v4, v5p and tpu7x are blocks of which the small ones are fixed and the others made of cubes 4x4x4.
"""

import math
import re
from dataclasses import dataclass

from emojax_command import LaunchError

_MESHES = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
_SMALL_BLOCKS = ((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))


@dataclass(frozen=True)
class Kind:
    """What Google calls a generation. `runtime` None: Cloud TPU does not lend it, GKE does."""

    accelerator: str  # before the count in an accelerator type
    cores: int  # of a chip, in that count
    runtime: str | None  # the VM image
    node: str  # GKE's label cloud.google.com/gke-tpu-accelerator
    chips: int  # of the largest slice
    block: bool  # three dimensions


KINDS = {
    "v4": Kind("v4", 2, "tpu-ubuntu2204-base", "tpu-v4-podslice", 4096, True),
    "v5e": Kind("v5litepod", 1, "v2-alpha-tpuv5-lite", "tpu-v5-lite-podslice", 256, False),
    "v5p": Kind("v5p", 2, "v2-alpha-tpuv5", "tpu-v5p-slice", 6144, True),
    "v6e": Kind("v6e", 1, "v2-alpha-tpuv6e", "tpu-v6e-slice", 256, False),
    "tpu7x": Kind("tpu7x", 2, None, "tpu7x", 9216, True),
}


@dataclass(frozen=True)
class Slice:
    kind: Kind
    shape: tuple[int, ...]

    @property
    def chips(self) -> int:
        return math.prod(self.shape)

    @property
    def accelerator(self) -> str:
        """The accelerator type: v4 and later blocks count TensorCores, meshes count chips."""
        return f"{self.kind.accelerator}-{self.chips * self.kind.cores}"

    @property
    def topology(self) -> str:
        return "x".join(map(str, self.shape))

    @property
    def vms(self) -> int:
        """Hosts of a slice that Cloud TPU lends: four chips each, but a mesh of eight is one machine."""
        return 1 if not self.kind.block and self.chips <= 8 else math.ceil(self.chips / 4)

    @property
    def nodes(self) -> int:
        """Hosts of a slice in GKE: four chips each (machine types -4t), or one."""
        return math.ceil(self.chips / 4)


def parse(name: str) -> Slice:
    """`v5e:4x4` -> a slice.

    Raises:
      LaunchError: a generation that is not known, or a shape that it is not lent in.
    """
    generation, _, shape = name.partition(":")
    if generation not in KINDS:
        raise LaunchError(f"--tpu {name!r}: got {generation!r}, wanted one of {', '.join(KINDS)}, as in v5e:4x4")
    kind = KINDS[generation]
    sizes = tuple(map(int, shape.split("x"))) if re.fullmatch(r"[0-9]+(x[0-9]+)*", shape) else ()
    if not kind.block and sizes not in _MESHES:
        known = ", ".join("x".join(map(str, mesh)) for mesh in _MESHES)
        raise LaunchError(f"--tpu {name!r}: {generation} slices are {known}, got {shape or 'no shape'}")
    cubes = len(sizes) == 3 and all(size and size % 4 == 0 for size in sizes) and sorted(sizes) == list(sizes)
    if kind.block and (sizes not in _SMALL_BLOCKS and not (cubes and math.prod(sizes) <= kind.chips)):
        small = ", ".join("x".join(map(str, block)) for block in _SMALL_BLOCKS)
        raise LaunchError(
            f"--tpu {name!r}: {generation} slices are {small}, or three ascending multiples of 4 with at most "
            f"{kind.chips} chips together, got {shape or 'no shape'}"
        )
    return Slice(kind, sizes)
