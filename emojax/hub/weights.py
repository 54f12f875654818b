"""Weights of other frameworks: a name table, read forwards to load and backwards to save.

A line of a table is (their name, our path, einops pattern from their axes to ours):

    ("encoder.layer.{l}.output.dense.weight", "layers.mlp.down.w", "o i -> i o")

`{l}` counts layers: those tensors are stacked on our leading axis L. An axis whose size the way back cannot infer
states it: "o i w=3 -> (w i) o". A path that the model does not declare (an optional bias) makes its line idle.

Only safetensors files are read: a pickle can run code. A file is checked whole before the first tensor is read; then
tensor after tensor goes straight to where it lies on the mesh.
"""

import fnmatch
import functools
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import EllipsisType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.sharding import NamedSharding, PartitionSpec

from emojax.hub.tensor_files import Tensor, files, load, tensors
from emojax.param import dotted
from emojax.types import Tree

_FLOATS = ("F16", "BF16", "F32", "F64")
log = logging.getLogger(__name__)
SHOWN = 20  # weights that do not fit and that an error lists
SHARD = 5_000_000_000  # bytes, the most that one file of a directory holds


@dataclass(frozen=True)
class Names:
    """The table of a model family."""

    table: tuple[tuple[str, str, str], ...]
    ignore: tuple[str, ...] = ()  # names, with * for any text, that a file may hold and that are not read
    prefix: tuple[str, ...] = ()  # of which one may stand before a name, in the table or in a file; not compared
    old: tuple[tuple[str, str], ...] = ()  # ends of names in older files, and the ends that the table has for them
    rows: Mapping[str, int] = field(default_factory=dict)  # of our tables that have padding after them: rows of theirs


def linear_names(theirs: str, ours: str) -> tuple[tuple[str, str, str], ...]:
    """The lines of a linear layer as torch has it.

    >>> linear_names("layer.{l}.query", "layers.q")
    (('layer.{l}.query.weight', 'layers.q.w', 'o i -> i o'), ('layer.{l}.query.bias', 'layers.q.b', 'o -> o'))
    """
    return (f"{theirs}.weight", f"{ours}.w", "o i -> i o"), (f"{theirs}.bias", f"{ours}.b", "o -> o")


def norm_names(theirs: str, ours: str) -> tuple[tuple[str, str, str], ...]:
    """The lines of a layer norm."""
    return (f"{theirs}.weight", f"{ours}.scale", "d -> d"), (f"{theirs}.bias", f"{ours}.bias", "d -> d")


@dataclass(frozen=True)
class _Line:
    """One tensor of theirs and its place in our tree."""

    theirs: str
    ours: str
    layer: int | EllipsisType
    pattern: str
    rows: int | None
    shape: tuple[int, ...]  # in the file


def read(path: str | Path, tree: Tree, names: Names) -> Tree:
    """The weights of a model, from a file or a directory.

    Args:
      path: a safetensors file, or a directory with model.safetensors or with shards and their index.
      tree: a declaration (`nn/param.py`), which gives float32 numpy arrays; or `jax.ShapeDtypeStruct`s with shardings,
        which give arrays of that type, laid out so: the host holds one tensor of the file at a time.
    Raises:
      FileNotFoundError: there is no safetensors file, or a shard is missing; says how to convert a pickle.
      ValueError: a damaged file; names that are missing, unused, or of another shape or kind of number: how many, the
        first of them one a line. Nothing is loaded then.
    """
    leaves = {dotted(at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    there = [tensor for file in files(Path(path)) for tensor in tensors(file)]
    there.sort(key=lambda tensor: tensor.name.startswith(names.prefix))  # the last of two with one bare name counts
    unread = {_bare(tensor.name, names): tensor for tensor in there}
    found, faults = [], []
    for line in _lines({ours: leaf.shape for ours, leaf in leaves.items()}, names):
        tensor = unread.pop(_bare(line.theirs, names), None)
        if tensor is None:
            faults.append(f"missing    {line.theirs}: expected {list(line.shape)}, for our {line.ours}")
        elif tensor.shape != line.shape or tensor.kind not in _FLOATS:
            got = f"{tensor.kind} {list(tensor.shape)}"
            faults.append(f"misshapen  {tensor.name}: expected floats {list(line.shape)}, got {got}")
        else:
            found.append((line, tensor))
    unused = [t for key, t in unread.items() if not any(fnmatch.fnmatchcase(key, name) for name in names.ignore)]
    heads = _heads(unused, [tensor for _, tensor in found], names)
    for tensor in unused:
        if tensor not in heads:
            faults.append(f"unused     {tensor.name}: got {list(tensor.shape)}, the model has no such weight")
    if faults:
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise ValueError(
            f"{path}: {len(faults)} weights do not fit the model\n  " + "\n  ".join([*faults[:SHOWN], *more])
        )
    if heads:
        listed = ", ".join(sorted({f"{_first(tensor)}.*" for tensor in heads}))
        log.warning("%s: heads beside the model are left out: %s", path, listed)
    weights: dict[str, Any] = {}
    for line, tensor in found:
        x = _forwards(load(tensor), line.pattern)
        weights[line.ours] = _put(weights.get(line.ours), x, line.layer, leaves[line.ours])
    return jax.tree_util.tree_map_with_path(lambda at, _: weights[dotted(at)], tree)


def _first(tensor: Tensor) -> str:
    return tensor.name.partition(".")[0]


def _heads(unused: list[Tensor], found: list[Tensor], names: Names) -> set[Tensor]:
    """The tensors of heads, whatever they are called: all beside a backbone whose names carry its prefix.

    What stands beside a tensor that is known (an `lm_head.bias`) is none.
    """
    if not any(tensor.name.startswith(names.prefix) for tensor in found):
        return set()
    known = {_first(tensor) for tensor in found} | {name.partition(".")[0] for name in names.ignore if "*" not in name}
    return {tensor for tensor in unused if _first(tensor) not in known}


def write(path: str | Path, weights: Tree, names: Names) -> None:
    """Saves a tree of arrays under their names: what `read` of it gives back, bit for bit.

    `path` is a file (.safetensors), or a directory: several files and their index where one would be over 5 GB.
    """
    from safetensors.numpy import save_file

    arrays = {dotted(at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(weights)}
    lines = list(_lines({ours: leaf.shape for ours, leaf in arrays.items()}, names))
    shards: list[list[_Line]] = [[]]
    size = 0
    for line in lines:
        more = int(np.prod(line.shape)) * arrays[line.ours].dtype.itemsize
        if size + more > SHARD and shards[-1] and Path(path).suffix != ".safetensors":
            shards.append([])
            size = 0
        shards[-1].append(line)
        size += more

    def tensor(line: _Line) -> np.ndarray:
        x = np.asarray(arrays[line.ours][line.layer])
        return np.array(_backwards(x if line.rows is None else x[: line.rows], line.pattern), order="C")

    names_of_files = _file_names(Path(path), len(shards))
    for file, shard in zip(names_of_files, shards, strict=True):
        save_file({line.theirs: tensor(line) for line in shard}, file, metadata={"format": "pt"})
    if len(shards) > 1:
        where = {line.theirs: file.name for file, shard in zip(names_of_files, shards, strict=True) for line in shard}
        index = {"metadata": {}, "weight_map": where}
        (Path(path) / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _file_names(path: Path, files: int) -> list[Path]:
    if path.suffix == ".safetensors":
        return [path]
    if files == 1:
        return [path / "model.safetensors"]
    return [path / f"model-{i + 1:05}-of-{files:05}.safetensors" for i in range(files)]


def _lines(shapes: Mapping[str, tuple[int, ...]], names: Names) -> Iterator[_Line]:
    """Every tensor that a tree of these shapes needs."""
    unnamed = set(shapes) - {ours for _, ours, _ in names.table}
    if unnamed:
        raise ValueError(f"the name table has no line for {', '.join(sorted(unnamed))}")
    for theirs, ours, pattern in names.table:
        if ours not in shapes:
            continue
        stacked, rows = "{l}" in theirs, names.rows.get(ours)
        one = shapes[ours][1:] if stacked else shapes[ours]
        shape = _backwards(np.broadcast_to(0, one if rows is None else (rows, *one[1:])), pattern).shape
        for layer in range(shapes[ours][0]) if stacked else [...]:
            yield _Line(theirs.replace("{l}", str(layer)), ours, layer, pattern, rows, shape)


def _forwards(x: np.ndarray, pattern: str) -> np.ndarray:
    return rearrange(x, re.sub(r"=\d+", "", pattern))


def _backwards(x: np.ndarray, pattern: str) -> np.ndarray:
    sizes = {axis: int(size) for axis, size in re.findall(r"(\w+)=(\d+)", pattern)}
    theirs, ours = re.sub(r"=\d+", "", pattern).split("->")
    return rearrange(x, f"{ours} -> {theirs}", **sizes)


def _put(whole: Any, x: np.ndarray, layer: int | EllipsisType, leaf: Any) -> Any:
    """`whole` (None: nothing yet) with `x` in its place, zeros after it where ours has padding.

    On devices the tensor travels as the file has it, and is widened and stacked there.
    """
    one = leaf.shape if layer is ... else leaf.shape[1:]
    x = np.pad(x, [(0, n - m) for n, m in zip(one, x.shape, strict=True)]) if x.shape != one else x
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        whole = np.empty(leaf.shape, np.float32) if whole is None else whole
        whole[layer] = x
        return whole
    spec = tuple(leaf.sharding.spec) + (None,) * (len(leaf.shape) - len(leaf.sharding.spec))
    where = NamedSharding(leaf.sharding.mesh, PartitionSpec(*(spec if layer is ... else spec[1:])))
    there = jax.make_array_from_callback(one, where, lambda part: x[part])
    if layer is ...:
        return _cast(there, leaf.dtype)
    return _update(_zeros(leaf.shape, leaf.dtype, leaf.sharding) if whole is None else whole, there, layer)


@functools.partial(jax.jit, static_argnums=1)
def _cast(x: jax.Array, dtype: Any) -> jax.Array:
    return x.astype(dtype)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _zeros(shape: tuple[int, ...], dtype: Any, sharding: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(jnp.zeros(shape, dtype), sharding)


@functools.partial(jax.jit, donate_argnums=0)
def _update(whole: jax.Array, x: jax.Array, layer: int) -> jax.Array:
    """`whole[layer] = x` in place; as bits, because a CPU would widen all of a bfloat16 stack for it."""
    kind = jnp.uint16 if whole.dtype.itemsize == 2 else jnp.uint32
    stack, row = (jax.lax.bitcast_convert_type(y, kind) for y in (whole, x.astype(whole.dtype)))
    return jax.lax.bitcast_convert_type(jax.lax.dynamic_update_index_in_dim(stack, row, layer, 0), whole.dtype)


def _bare(name: str, names: Names) -> str:
    """A name as it is compared: without a prefix, as newer files have it."""
    name = next((name.removeprefix(p) for p in names.prefix if name.startswith(p)), name)
    return next((name.removesuffix(old) + new for old, new in names.old if name.endswith(old)), name)
