"""The safetensors files of a model: which there are, and what their headers tell."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emojax.hub.locate import shards
from emojax.hub.pickles import conversion
from emojax.storage import refuse_pointer


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file, as its header tells."""

    file: Path
    name: str
    kind: str
    shape: tuple[int, ...]


def tensors(path: Path) -> Iterator[Tensor]:
    """Those of a file, none of which is read; ValueError where it is not whole."""
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as beginning:
        refuse_pointer(beginning.read(64), path)
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping, it cannot be iterated
                about = file.get_slice(name)
                yield Tensor(path, name, about.get_dtype(), tuple(about.get_shape()))
    except SafetensorError as e:
        raise ValueError(f"{path}: not a whole safetensors file ({e}); cut off in a copy? Get it again") from e


def load(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor, as the file has them; float64 as float32, and ValueError where it is beyond that."""
    from safetensors import safe_open

    with safe_open(tensor.file, framework="np") as file:  # anew for each: what is mapped of a file counts as memory
        x = file.get_tensor(tensor.name)
    if x.dtype != np.float64:
        return x
    with np.errstate(over="ignore"):  # told of below
        narrow = x.astype(np.float32)
    if (np.isfinite(x) & ~np.isfinite(narrow)).any():
        raise ValueError(f"{tensor.file}: {tensor.name} holds numbers beyond float32; get the file again")
    return narrow


def files(path: Path) -> list[Path]:
    """The files of a model's weights; FileNotFoundError where there are none, or not all, or a pickle alone."""
    if path.is_file() and path.suffix == ".safetensors":
        return [path]
    index, whole = path / "model.safetensors.index.json", path / "model.safetensors"
    if index.is_file():
        parts = [path / name for name in shards(index)]
        if missing := [part.name for part in parts if not part.is_file()]:
            raise FileNotFoundError(f"{index} names files that are not there: {', '.join(missing)}; get them, too")
        return parts
    if whole.is_file():
        return [whole]
    pickles = sorted([path] if path.is_file() else [*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")])
    if pickles:
        raise FileNotFoundError(
            f"{path}: the weights are a pickle ({pickles[0].name}), which can run code when it is read; wanted "
            f"safetensors. Convert it where torch is installed: "
            f"{conversion(pickles[0].parent / 'config.json', pickles[0].parent)}"
        )
    raise FileNotFoundError(f"{path}: no such safetensors file, and no model.safetensors in such a directory")
