"""TPU pods by name."""

import importlib.util
import math
import os
import re
from dataclasses import dataclass
from typing import Any

from emojax.config import ConfigError
from emojax.parallel.chips import CHIPS, Chip

_NAME = re.compile(r"(?:(\d+)x)?(v4|v5e|v5p|v6e|tpu7x):(\d+(?:x\d+)+)")
_EXAMPLES = "v4:2x2x2, v5e:16x16, v5p:8x8x8, v6e:8x8, tpu7x:2x2x2, or two slices, 2xv5e:4x4"


@dataclass(frozen=True)
class Topology:
    name: str
    kind: str  # of CHIPS
    sizes: tuple[int, ...]  # chips along each axis of a slice
    slices: int

    @property
    def chip(self) -> Chip:
        return CHIPS[self.kind]

    @property
    def chips(self) -> int:
        return self.slices * math.prod(self.sizes)


def parse(name: str) -> Topology:
    """`v5e:16x16`: a slice of so many chips; `2xv5e:16x16`: two of them.

    Raises:
      ConfigError: it is not such a name.
    """
    found = _NAME.fullmatch(name)
    if not found:
        raise ConfigError(f"no topology is called {name!r}; there are {', '.join(CHIPS)}, with sizes: {_EXAMPLES}")
    slices, kind, sizes = found.groups()
    topology = Topology(name, kind, tuple(int(n) for n in sizes.split("x")), int(slices or 1))
    axes = topology.chip.axes
    if len(topology.sizes) != axes or not topology.chips:
        raise ConfigError(f"topology {name!r}: {kind} wants {axes} sizes of at least one chip, such as {_EXAMPLES}")
    return topology


def prepare() -> None:
    """Has to come before JAX looks for devices: compiling for a TPU needs none, and must not look for one.

    libtpu lets one process of a machine use its TPUs; those that only compile may be many.
    """
    for name, value in {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",  # asks the cloud's metadata server what machine this is
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # what it would have said; any will do
        "TPU_WORKER_HOSTNAMES": "localhost",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }.items():
        os.environ.setdefault(name, value)


def devices(topology: Topology) -> list[Any]:
    """Devices to compile for.

    Raises:
      ConfigError: the TPU compiler is not installed, or knows no such slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError(f"topology {topology.name!r} wants the TPU compiler: pip install -e '.[tpu]' in the clone")
    from jax.experimental import topologies

    sizes = "x".join(map(str, topology.sizes))
    options: dict[str, Any] = {"num_slices": topology.slices} if topology.slices > 1 else {}
    if topology.chip.config:
        options["chip_config_name"] = topology.chip.config
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=f"{topology.kind}:{sizes}", **options)
    except Exception as e:  # the plugin raises types of its own
        why = str(e).strip().splitlines()[0]
        raise ConfigError(f"no compiling for topology {topology.name!r}: {why}; wanted such as {_EXAMPLES}") from e
    return list(found.devices)


def slices_of(mesh: Any) -> list[int]:
    """The slice of each device of a mesh, in its order."""
    return [getattr(device, "slice_index", 0) or 0 for device in mesh.devices.flat]
