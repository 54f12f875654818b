"""The mesh and who lies where: with `meshes.py`, which chooses its shape, the only file that knows of devices.

Models name axes by letter; RULES says which axes of the mesh a letter may be sharded over. Clips are sharded over
`data` and `fsdp`; where there are too few for that, over `data` alone, and the samples of each over `fsdp`. Weights are
sharded over `fsdp` (their width) and `model` (heads, feed-forward, vocabulary); so are the optimizer's moments, which
lie where their weights lie. What has no name here follows by GSPMD.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from emojax.config import Config
from emojax.parallel import meshes
from emojax.param import Param
from emojax.types import Array, Tree

AXES = meshes.Sizes._fields
RULES: dict[str, tuple[tuple[str, ...], ...]] = {  # the first that divides the axis, and that no axis before it took
    "B": (("data", "fsdp"), ("data",)),
    "G": (("fsdp",),),
    "D": (("fsdp",),),  # of weights; activations never name their width
    "F": (("model",),),
    "N": (("model",),),
    "K": (("model",),),
    "V": (("model",),),
}


def make_mesh(
    cfg: Config,
    devices: Sequence[Any] | None = None,
    stage: meshes.Stage | None = None,
    held: Callable[[meshes.Sizes], float] | None = None,
) -> jax.sharding.Mesh:
    """All devices, or the `jax.Device`s given, as (data, fsdp, model); see `meshes.choose` for the shape.

    Raises:
      ConfigError: the sizes do not divide the number of devices, the batches, the heads or the widths.
    """
    devices = jax.devices() if devices is None else devices
    sizes = meshes.choose(cfg, devices, stage, held)
    return jax.sharding.Mesh(meshes.arrange(devices, sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def alone() -> jax.sharding.Mesh:
    """A device of this process, for what no other process takes part in."""
    device = np.array(jax.local_devices()[:1]).reshape((1,) * len(AXES))
    return jax.sharding.Mesh(device, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def sharded_over(axes: Sequence[str | None], shape: Sequence[int], sizes: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Axes of a mesh of these sizes that each axis of an array is sharded over; none, where nothing divides it."""
    found: list[tuple[str, ...]] = []
    for letter, size in zip(axes, shape, strict=False):
        taken = {name for along in found for name in along}
        free = (along for along in RULES.get(letter or "-", ()) if taken.isdisjoint(along))
        found.append(next((along for along in free if size % parts(along, sizes) == 0), ()))
    return found


def parts(along: Sequence[str], sizes: Mapping[str, int]) -> int:
    """Number of equal parts of a sharded axis."""
    return math.prod(sizes[name] for name in along)


def spec(axes: Sequence[str | None], shape: Sequence[int], sizes: Mapping[str, int]) -> PartitionSpec:
    """`sharded_over` as JAX has it.

    >>> sizes = {"data": 2, "fsdp": 4, "model": 2}
    >>> spec("DF", [64, 256], sizes) == PartitionSpec("fsdp", "model")
    True
    >>> spec("DF", [64, 255], sizes) == PartitionSpec("fsdp", None)  # 255 has no halves: it is not sharded
    True
    """
    return PartitionSpec(*(along or None for along in sharded_over(axes, shape, sizes)))


def shardings(tree: Tree, mesh: jax.sharding.Mesh) -> Tree:
    """The sharding of every weight of a declaration."""
    return jax.tree.map(lambda p: NamedSharding(mesh, spec(p.axes, p.shape, mesh.shape)), tree)


def weights_held(tree: Tree, sizes: Mapping[str, int]) -> float:
    """Weights of a declaration on one device of a mesh of these sizes."""

    def one(p: Param) -> float:
        return math.prod(p.shape) / math.prod(parts(along, sizes) for along in sharded_over(p.axes, p.shape, sizes))

    return sum(map(one, jax.tree.leaves(tree)))


def of_columns(sharding: Any, axes: int) -> NamedSharding | None:
    """Sharding of one number a column of a weight [... in out] with `axes` axes: [... 1 out]."""
    if sharding is None:
        return None
    spec = [*sharding.spec, *[None] * (axes - len(sharding.spec))]
    spec[-2] = None
    return NamedSharding(sharding.mesh, PartitionSpec(*spec))


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def by_clip(mesh: jax.sharding.Mesh, clips: int) -> NamedSharding:
    """Leading axis B, one part of the clips a device; where `data` alone divides their number, one a row of `fsdp`."""
    return NamedSharding(mesh, spec("B", [clips], mesh.shape))


def constrain(tree: Tree, axes: str = "B") -> Tree:
    """Keeps activations sharded over the axes that are named (in order, "-" for one that is not) and over no other;
    nothing happens outside a mesh.

    Left free, XLA may shard the residual stream as the weights are sharded and rematerialise whole tensors.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return tree

    def one(x: Array) -> Array:
        return jax.lax.with_sharding_constraint(x, spec(axes.split(), x.shape, mesh.shape))

    return jax.tree.map(one, tree)


def cuts(axes: str, shape: Sequence[int]) -> tuple[int, ...]:
    """In how many parts `constrain` cuts each of the axes that are named; 1 outside a mesh."""
    mesh, named = jax.sharding.get_abstract_mesh(), axes.split()
    if mesh.empty:
        return (1,) * len(named)
    return tuple(parts(along, mesh.shape) for along in sharded_over(named, shape, mesh.shape))


def on_one_device() -> bool:
    """Whether what is traced here is for one device: none of its axes is sharded, whatever is made of them."""
    return jax.sharding.get_abstract_mesh().size <= 1  # 0: there is no mesh


def clip_by_clip(f: Callable[[Array], Array], x: Array) -> Array:
    """f(x) of arrays [B ...], each device on the clips that it has: for what XLA does not shard along B by itself.

    An FFT is such: every device would gather all clips, and transform all of them.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return f(x)
    own = spec("B", x.shape, mesh.shape)
    return jax.shard_map(f, in_specs=own, out_specs=own, check_vma=False)(x)


def gathered(declared: Tree, weights: Tree) -> Tree:
    """Weights replicated but for what is sharded over `model`: what reads them token by token would gather them for
    each.

    Args:
      declared: the same model's declaration.
      weights: in any form; what an adapter adds to a weight stays as it is.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return weights

    def one(p: Param, weight: Tree) -> Tree:
        axes = [None if letter == "D" else letter for letter in p.axes]
        keep = spec(axes, p.shape, mesh.shape)
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, keep) if x.shape == p.shape else x, weight)

    return jax.tree.map(one, declared, weights)


def rows_here(mesh: jax.sharding.Mesh, clips: int) -> np.ndarray:
    """Which rows of a batch of `clips` this process's devices hold, ascending; several processes may hold the same."""
    held = by_clip(mesh, clips).addressable_devices_indices_map((clips,)).values()
    return np.unique(np.concatenate([np.arange(clips)[rows] for rows in held]))


def to_devices(batch: Tree, mesh: jax.sharding.Mesh, clips: int | None = None) -> Tree:
    """The rows `rows_here` of a batch of `clips` (numpy) -> global arrays sharded by clip; None: all rows are here."""
    clips = clips or len(jax.tree.leaves(batch)[0])
    sharding, here = by_clip(mesh, clips), rows_here(mesh, clips)

    def one(x: np.ndarray) -> jax.Array:
        def part(index: Any) -> np.ndarray:
            start, stop, _ = index[0].indices(clips)
            return x[np.searchsorted(here, start) : np.searchsorted(here, stop)]

        return from_parts((clips, *x.shape[1:]), sharding, part)

    return jax.tree.map(one, batch)


def first_here(tree: Tree) -> Tree:
    """The first row (numpy) that this process holds of arrays that are sharded by clip alone."""
    return jax.tree.map(lambda x: x[0], jax.device_get(jax.tree.map(lambda x: x.addressable_data(0), tree)))


def everywhere(tree: Tree, mesh: jax.sharding.Mesh) -> Tree:
    """Arrays and random keys that every process holds -> replicated on all devices.

    Without a collective, which `jax.device_put` would compare the processes' values by.
    """
    sharding = replicated(mesh)

    def one(x: Array) -> jax.Array:
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(one(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        here = np.asarray(x)
        return from_parts(here.shape, sharding, lambda index: here[index])

    return jax.tree.map(one, tree)


def from_parts(shape: tuple[int, ...], sharding: NamedSharding, part: Callable[[Any], np.ndarray]) -> jax.Array:
    """A global array; `part` gives the values at an index, which is asked for what this process's devices hold."""
    with jax.transfer_guard("allow"):  # it is asked for, by whoever calls this
        return jax.make_array_from_callback(shape, sharding, part)
