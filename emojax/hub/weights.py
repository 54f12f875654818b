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

from emojax.param import dotted
from emojax.storage import read_object
from emojax.types import Tree

_FLOATS = ("F16", "BF16", "F32", "F64")
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
      ValueError: a damaged file; names that are missing, unused, or of another shape or kind of number: all of them,
        one a line. Nothing is loaded then.
    """
    leaves = {dotted(at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    unread = {_bare(tensor.name, names): tensor for file in _files(Path(path)) for tensor in _tensors(file)}
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
    for key, tensor in unread.items():
        if not any(fnmatch.fnmatchcase(key, harmless) for harmless in names.ignore):
            faults.append(f"unused     {tensor.name}: got {list(tensor.shape)}, the model has no such weight")
    if faults:
        raise ValueError(f"{path}: {len(faults)} weights do not fit the model\n  " + "\n  ".join(faults))
    weights: dict[str, Any] = {}
    for line, tensor in found:
        x = _forwards(_load(tensor), line.pattern)
        weights[line.ours] = _put(weights.get(line.ours), x, line.layer, leaves[line.ours])
    return jax.tree_util.tree_map_with_path(lambda at, _: weights[dotted(at)], tree)


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
    x = x.astype(np.float32) if x.dtype == np.float64 else x
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


@dataclass(frozen=True)
class _Tensor:
    """A tensor of a file, as its header tells."""

    file: Path
    name: str
    kind: str
    shape: tuple[int, ...]


def _tensors(path: Path) -> Iterator[_Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping, it cannot be iterated
                about = file.get_slice(name)
                yield _Tensor(path, name, about.get_dtype(), tuple(about.get_shape()))
    except SafetensorError as e:
        raise ValueError(f"{path}: not a whole safetensors file ({e}); cut off in a copy? Get it again") from e


def _load(tensor: _Tensor) -> np.ndarray:
    from safetensors import safe_open

    with safe_open(tensor.file, framework="np") as file:  # anew for each: what is mapped of a file counts as memory
        return file.get_tensor(tensor.name)


def _files(path: Path) -> list[Path]:
    if path.is_file() and path.suffix == ".safetensors":
        return [path]
    index, whole = path / "model.safetensors.index.json", path / "model.safetensors"
    if index.is_file():
        table = read_object(index).get("weight_map")
        if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
            raise ValueError(f'{index}: wanted "weight_map", an object of file names; cut off in a copy? Get it again')
        shards = [path / name for name in sorted(set(table.values()))]
        if missing := [shard.name for shard in shards if not shard.is_file()]:
            raise FileNotFoundError(f"{index} names files that are not there: {', '.join(missing)}; get them, too")
        return shards
    if whole.is_file():
        return [whole]
    pickles = sorted([path] if path.is_file() else [*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")])
    if pickles:
        raise FileNotFoundError(
            f"{path}: the weights are a pickle ({pickles[0].name}), which can run code when it is read; wanted "
            f'safetensors. Convert it where torch is installed: python -c "import transformers as t; '
            f"d='{pickles[0].parent}'; name = t.AutoConfig.from_pretrained(d).architectures[0]; "
            f'getattr(t, name).from_pretrained(d).save_pretrained(d)"'
        )
    raise FileNotFoundError(f"{path}: no such safetensors file, and no model.safetensors in such a directory")
