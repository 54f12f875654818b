"""The mesh and who lies where: the only file that knows of devices.

Models name axes by letter; RULES says which mesh axis a letter is cut along. Clips are cut over `data` and `fsdp`,
weights over `fsdp` (their width) and `model` (heads, feed-forward, vocabulary). Everything else follows by GSPMD.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from emojax.config import Config, ConfigError
from emojax.families import Decoder
from emojax.nn.param import Param
from emojax.types import Array, Tree

AXES = ("data", "fsdp", "model")
RULES: dict[str | None, str | tuple[str, ...] | None] = {
    "B": ("data", "fsdp"),
    "D": "fsdp",
    "F": "model",
    "N": "model",
    "K": "model",
    "V": "model",
    "L": None,
    None: None,
}


def make_mesh(cfg: Config, devices: Sequence[Any] | None = None) -> jax.sharding.Mesh:
    """All devices, or the `jax.Device`s given, as (data, fsdp, model).

    Raises:
      ConfigError: the sizes do not divide the number of devices, the batches, the heads or the widths.
    """
    devices = jax.devices() if devices is None else devices
    fsdp, model = cfg.mesh.fsdp, cfg.mesh.model
    if len(devices) % (fsdp * model):
        raise ConfigError(f"mesh.fsdp={fsdp} times mesh.model={model} does not divide {len(devices)} devices")
    rows = len(devices) // model
    lm = cfg.model.decoder
    divides = [
        ("sft.micro_batch" if cfg.sft.micro_batch else "sft.batch", cfg.sft.micro_batch or cfg.sft.batch, rows),
        ("grpo.micro_batch" if cfg.grpo.micro_batch else "grpo.batch", cfg.grpo.micro_batch or cfg.grpo.batch, rows),
        ("decoder.kv_heads", lm.kv_heads, model) if isinstance(lm, Decoder) else ("decoder.heads", lm.heads, model),
        ("decoder.ff", lm.ff, model),
        ("decoder.vocab + decoder.padding", lm.vocab + lm.padding, model),
        ("decoder.width", lm.width, fsdp),
    ]
    for name, size, parts in divides:
        if size % parts:
            raise ConfigError(
                f"{name}={size} cannot be cut in {parts} equal parts (mesh: {len(devices)} devices, fsdp={fsdp}, "
                f"model={model}); take a multiple of {parts}, or another mesh"
            )
    sizes = (rows // fsdp, fsdp, model)
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def shardings(tree: Tree, mesh: jax.sharding.Mesh) -> Tree:
    """The sharding of every weight of a declaration."""

    def one(p: Param) -> NamedSharding:
        spec = [RULES.get(axis) for axis in p.axes]
        parts = [math.prod(mesh.shape[a] for a in ((s,) if isinstance(s, str) else s or ())) for s in spec]
        fits = [s if size % n == 0 else None for s, size, n in zip(spec, p.shape, parts, strict=True)]
        return NamedSharding(mesh, PartitionSpec(*fits))

    return jax.tree.map(one, tree)


def of_columns(sharding: Any, axes: int) -> NamedSharding | None:
    """Of one number a column of a weight [... in out] with `axes` axes: [... 1 out]."""
    if sharding is None:
        return None
    spec = [*sharding.spec, *[None] * (axes - len(sharding.spec))]
    spec[-2] = None
    return NamedSharding(sharding.mesh, PartitionSpec(*spec))


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def by_clip(mesh: jax.sharding.Mesh) -> NamedSharding:
    """Leading axis B, one part of the clips a device."""
    return NamedSharding(mesh, PartitionSpec(RULES["B"]))


def constrain(x: Array) -> Array:
    """Keeps an activation cut along its leading axis B and nowhere else; nothing happens outside a mesh.

    Left free, XLA may cut the residual stream as the weights are cut and rematerialise whole tensors.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(RULES["B"]))


def to_devices(batch: Tree, mesh: jax.sharding.Mesh) -> Tree:
    """This process's rows of a batch (numpy) -> global arrays cut by clip."""
    sharding = by_clip(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
