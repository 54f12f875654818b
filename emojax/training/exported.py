"""An exported captioner, read: the directory that `emojax export` wrote, or a hub id.

README.md              the model card               decoder/   a Hugging Face model with its tokenizer
emojax.json            the whole configuration      audio/     likewise, if the encoder is of a published family
captioner.safetensors  all weights of our own kind  video/     likewise

A part's directory may have adapters alone, as peft reads them, and the name of the published model that they belong to.
`export/directory.py` writes it.
"""

import operator
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from emojax import param
from emojax.config import Config, presets
from emojax.decoder import captioner, pretrained
from emojax.hub import weights
from emojax.hub.locate import locate
from emojax.parallel import sharding
from emojax.training import adapters, peft_files
from emojax.training.program import abstract_weights
from emojax.types import Tree

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONFIG, OWN = "emojax.json", "captioner.safetensors"
FILES = (CONFIG, "*.json", "*.safetensors", "README.md")


def find(model: str) -> Path | None:
    """The directory of an exported captioner: itself, or a hub id's; None: `model` is something else."""
    if Path(model).exists():
        return Path(model) if (Path(model) / CONFIG).is_file() else None
    return locate(model, files=FILES, wanted="captioner", needs=(CONFIG,))


def read(
    at: Path, mesh: jax.sharding.Mesh | None = None
) -> tuple[Config, captioner.Params, "Tokenizer", jax.sharding.Mesh]:
    """The captioner, its adapters merged, on a mesh; None: the first device.

    Raises:
      FileNotFoundError, ValueError: files that are missing, damaged, or do not fit together.
    """
    cfg = presets.read_json(at / CONFIG)
    mesh = mesh or sharding.make_mesh(cfg, jax.local_devices()[:1])
    like = abstract_weights(captioner.declare(cfg), mesh)
    rest, declared = own(cfg, like), abstract_weights(adapters.declare(cfg), mesh)
    params = weights.read(at / OWN, rest, identity(rest))
    for path, sizes in pretrained.backbones(cfg).items():
        names, there = pretrained.files(sizes).names(sizes), at / folder(path)
        if (there / peft_files.CONFIG).is_file():
            base = adapters.beside(part(declared, path), weights.read(locate(sizes.weights), part(like, path), names))
            found = adapters.merged(param.merge(peft_files.read(there, part(declared, path), names), base))
        else:
            found = weights.read(there, part(like, path), names)
        params = pretrained.replaced(params, path, found)
    return cfg, params, tokenizer(at), mesh


def tokenizer(at: Path) -> "Tokenizer":
    from emojax.data.text import pretrained_tokenizer

    return pretrained_tokenizer(at / "decoder")


def part(tree: Tree, path: str) -> Tree:
    """What stands in a captioner at a path."""
    return operator.attrgetter(path)(tree)


def folder(path: str) -> str:
    """Of a part's files.

    >>> folder("encoders.audio.backbone"), folder("decoder")
    ('audio', 'decoder')
    """
    return path.split(".")[1] if path.startswith("encoders.") else path


def own(cfg: Config, tree: Tree) -> Tree:
    """What no Hugging Face directory holds: projectors, mixes of layers, encoders made from nothing."""
    parts = pretrained.backbones(cfg)
    return param.split(tree, lambda path: not any(path.startswith(f"{part}.") for part in parts))[0]


def identity(tree: Tree) -> weights.Names:
    """Names that are our own paths."""
    paths = [param.dotted(at) for at, _ in jax.tree_util.tree_leaves_with_path(tree)]
    return weights.Names(tuple((path, path, "... -> ...") for path in paths))
