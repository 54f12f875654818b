"""Digests of the leaves of a tree, computed where they lie: written with a checkpoint, asked again when it is read.

    digest = sum over all elements of mix(bits ^ mix(place)), modulo 2^32, twice with other constants

`mix` is a bijection of 32 bits (the finaliser of MurmurHash3), so one element that changes always changes the digest,
and any other damage leaves both sums as they were once in 2^64 times. A sum of integers has no order: the digest is the
same on any mesh, and for any number of processes. It is one pass over the memory.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from emojax.param import dotted
from emojax.types import Array, Tree

_SEEDS = (0x9E3779B9, 0x85EBCA6B)
_AT_ONCE = 1 << 22  # elements that NumPy works on


def digests(tree: Tree) -> dict[str, str]:
    """Sixteen hexadecimal digits by the path of each leaf. Every process that holds a part of the tree calls it.

    A bfloat16 number has the digest of the float32 that it is equal to, for it may be read back as one.
    """
    leaves: dict[str, Array] = {dotted(at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    if not leaves:
        return {}
    devices = {device for leaf in leaves.values() for device in leaf.sharding.device_set}
    if {device.platform for device in devices} == {"cpu"}:  # the memory is the host's: nothing is compiled for it
        sums = np.stack([_on_host(leaf) for leaf in leaves.values()])
        if len({device.process_index for device in devices}) > 1:
            sums = multihost_utils.process_allgather(sums).sum(0, dtype=np.uint32)
    else:
        with jax.transfer_guard("allow"):
            sums = jax.device_get([_on_device(leaf.sharding)(leaf) for leaf in leaves.values()])
    return {path: "".join(f"{int(part):08x}" for part in parts) for path, parts in zip(leaves, sums, strict=True)}


def differ(there: Mapping[str, str], tree: Tree) -> list[str]:
    """The paths of leaves whose digest is not the one that was written, or of which none was."""
    return [path for path, digest in digests(tree).items() if there.get(path) != digest]


def _on_host(x: Array) -> np.ndarray:
    """u32[2]: the sums over the shards that are here; of equal ones one process has the first."""
    sums = np.zeros(2, np.uint32)
    for shard in x.addressable_shards:
        if shard.replica_id:
            continue
        data = np.asarray(shard.data)
        starts = [0 if at.start is None else at.start for at in shard.index]
        if not data.ndim:
            data, starts, shape = data[None], [0], (1,)
        else:
            shape = x.shape
        rows = max(1, _AT_ONCE // max(1, math.prod(data.shape[1:])))
        for row in range(0, data.shape[0], rows):
            here = data[row : row + rows]
            sums += _sums(here, [starts[0] + row, *starts[1:]], shape, np)
    return sums


@functools.cache
def _on_device(sharding: jax.sharding.Sharding) -> Any:
    mesh = sharding.mesh if isinstance(sharding, NamedSharding) else None
    everywhere = NamedSharding(mesh, PartitionSpec()) if mesh else None
    return jax.jit(lambda x: _sums(x, [0] * x.ndim, x.shape, jnp), out_shardings=everywhere)


def _sums(x: Any, starts: Sequence[int], shape: Sequence[int], xp: ModuleType) -> Any:
    """u32[2] of the part of an array that begins at `starts`; `shape` is that of the whole."""
    return xp.stack([h.sum(dtype=xp.uint32) for h in hashes(bits(x), places(x.shape, starts, shape, xp))])


def hashes(bits: Any, place: Any) -> list[Any]:
    """Of each element, twice: what is summed."""
    return [mix(bits ^ mix(place + np.uint32(seed))) for seed in _SEEDS]


def places(here: Sequence[int], starts: Sequence[int], shape: Sequence[int], xp: ModuleType) -> Any:
    """u32 number of each element, counted along the last axis first, of a part that has the shape `here`."""
    place = xp.zeros((), xp.uint32)
    for axis, start in enumerate(starts):
        along = xp.arange(here[axis], dtype=xp.uint32) + xp.uint32(start)
        stride = np.uint32(math.prod(shape[axis + 1 :]) % 2**32)
        place = place + (along * stride).reshape([1] * axis + [-1] + [1] * (len(here) - axis - 1))
    return place


def bits(x: Any) -> Any:
    """The elements as u32, different for different ones."""
    if x.dtype == jnp.float32:
        return x.view(np.uint32)
    if x.dtype == jnp.bfloat16:
        return x.view(np.uint16).astype(np.uint32) << 16
    if x.dtype.itemsize > 4 or jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"no digest of {x.dtype}")
    return x.astype(np.uint32)


def mix(h: Any) -> Any:
    """A bijection of u32."""
    h = (h ^ (h >> 16)) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * np.uint32(0xC2B2AE35)
    return h ^ (h >> 16)
