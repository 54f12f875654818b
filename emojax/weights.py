"""Weights of other frameworks: a name table, read forwards to load and backwards to save.

A line of a table is (their name, our path, einops pattern from their axes to ours):

    ("encoder.layer.{l}.output.dense.weight", "layers.mlp.down.w", "o i -> i o")

`{l}` counts layers: those tensors are stacked on our leading axis L. An axis whose size the way back cannot infer
states it: "o i w=3 -> (w i) o". A path that the model does not declare (an optional bias) makes its line idle.

Only safetensors files are read: a pickle can run code.
"""

import contextlib
import fnmatch
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType

import jax
import numpy as np
from einops import rearrange

from emojax.types import Tree

_FLOATS = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True)
class Names:
    """The table of a model family."""

    table: tuple[tuple[str, str, str], ...]
    ignore: tuple[str, ...] = ()  # names, with * for any text, that a file may hold and that are not read
    prefix: str = ""  # may stand before the names of a file; the table leaves it out


def read(path: str | Path, declaration: Tree, names: Names) -> Tree:
    """The weights of a declared model (`nn/param.py`), as float32 numpy arrays in its tree.

    Args:
      path: a safetensors file, or a directory with model.safetensors or with shards and their index.
    Raises:
      FileNotFoundError: there is no safetensors file; says how to convert a pickle.
      ValueError: names that are missing, unused, or of another shape or kind of number: all of them, one a line.
    """
    weights = {ours: np.empty(shape, np.float32) for ours, shape in _shapes(declaration).items()}
    faults = []
    with contextlib.ExitStack() as opened:
        unread = dict(_tensors(_files(Path(path)), names.prefix, opened))
        for theirs, ours, layer, pattern in _lines(declaration, names):
            place = weights[ours][layer]
            wanted = _backwards(place, pattern).shape
            if theirs not in unread:
                faults.append(f"missing    {theirs}: expected {list(wanted)}, for our {ours}")
                continue
            file, name = unread.pop(theirs)
            kind, got = file.get_slice(name).get_dtype(), tuple(file.get_slice(name).get_shape())
            if got != wanted or kind not in _FLOATS:
                faults.append(f"misshapen  {theirs}: expected floats {list(wanted)}, got {kind} {list(got)}")
                continue
            place[...] = _forwards(file.get_tensor(name).astype(np.float32), pattern)
        for theirs, (file, name) in unread.items():
            if not any(fnmatch.fnmatchcase(theirs, harmless) for harmless in names.ignore):
                faults.append(
                    f"unused     {theirs}: got {file.get_slice(name).get_shape()}, the model has no such weight"
                )
    if faults:
        raise ValueError(f"{path}: {len(faults)} weights do not fit the model\n  " + "\n  ".join(faults))
    return jax.tree_util.tree_map_with_path(lambda at, _: weights[_dotted(at)], declaration)


def write(path: str | Path, weights: Tree, names: Names) -> None:
    """Saves a tree of arrays under their names, as float32: what `read` of the file gives back, bit for bit."""
    from safetensors.numpy import save_file

    arrays = {_dotted(at): np.asarray(leaf) for at, leaf in jax.tree_util.tree_leaves_with_path(weights)}
    tensors = {
        theirs: np.array(_backwards(arrays[ours][layer], pattern), np.float32, order="C")
        for theirs, ours, layer, pattern in _lines(weights, names)
    }
    save_file(tensors, path, metadata={"format": "pt"})


def _dotted(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    return {_dotted(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _lines(tree: Tree, names: Names) -> Iterator[tuple[str, str, int | EllipsisType, str]]:
    """(their name, our path, the layer or `...`, pattern) of every tensor that the tree needs."""
    shapes = _shapes(tree)
    unnamed = set(shapes) - {ours for _, ours, _ in names.table}
    if unnamed:
        raise ValueError(f"the name table has no line for {', '.join(sorted(unnamed))}")
    for theirs, ours, pattern in names.table:
        if ours in shapes:
            for layer in range(shapes[ours][0]) if "{l}" in theirs else [...]:
                yield theirs.replace("{l}", str(layer)), ours, layer, pattern


def _forwards(x: np.ndarray, pattern: str) -> np.ndarray:
    return rearrange(x, re.sub(r"=\d+", "", pattern))


def _backwards(x: np.ndarray, pattern: str) -> np.ndarray:
    sizes = {axis: int(size) for axis, size in re.findall(r"(\w+)=(\d+)", pattern)}
    theirs, ours = re.sub(r"=\d+", "", pattern).split("->")
    return rearrange(x, f"{ours} -> {theirs}", **sizes)


def _tensors(files: list[Path], prefix: str, opened: contextlib.ExitStack) -> Iterator[tuple[str, tuple]]:
    """(their name without the prefix, (open file, name in the file)); nothing is read yet."""
    from safetensors import safe_open

    for path in files:
        file = opened.enter_context(safe_open(path, framework="np"))
        for name in file.keys():  # noqa: SIM118 - not a mapping, it cannot be iterated
            yield name.removeprefix(prefix), (file, name)


def _files(path: Path) -> list[Path]:
    if path.is_file() and path.suffix == ".safetensors":
        return [path]
    index, whole = path / "model.safetensors.index.json", path / "model.safetensors"
    if index.is_file():
        return [path / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
    if whole.is_file():
        return [whole]
    pickles = sorted([path] if path.is_file() else [*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")])
    if pickles:
        raise FileNotFoundError(
            f"{path}: the weights are a pickle ({pickles[0].name}), which can run code when it is read; wanted "
            f'safetensors. Convert it where torch is installed: python -c "from transformers import AutoModel; '
            f"AutoModel.from_pretrained('{pickles[0].parent}').save_pretrained('{pickles[0].parent}')\""
        )
    raise FileNotFoundError(f"{path}: no such safetensors file, and no model.safetensors in such a directory")
