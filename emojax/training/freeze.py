"""What a stage trains: everything it could, but for what its `freeze` names."""

import fnmatch

import jax
import jax.numpy as jnp

from emojax.config import Config, ConfigError
from emojax.nn import param
from emojax.presets import nearest
from emojax.types import Tree


def split(tree: Tree, patterns: tuple[str, ...], root: str = "") -> tuple[Tree, Tree]:
    """(what is trained, what is frozen): two trees of the same form, None where the other has the weight.

    Args:
      tree: of the captioner, or of a part of it that stands at the path `root`.
      patterns: paths from the captioner's root, with * for any text; a path stands for all that is below it.
    Raises:
      ConfigError: a pattern that matches nothing, or patterns that leave nothing to train.
    """
    paths = [root + param.dotted(at) for at, _ in jax.tree_util.tree_leaves_with_path(tree)]
    for pattern in patterns:
        if not any(matches(path, pattern) for path in paths):
            parts = sorted({path.rsplit(".", n)[0] for path in paths for n in range(path.count(".") + 1)})
            raise ConfigError(f"freeze={pattern!r} matches no weight that this stage trains{nearest(pattern, parts)}")
    if paths and all(any(matches(path, pattern) for pattern in patterns) for path in paths):
        raise ConfigError(f"freeze={patterns} leaves nothing to train")
    frozen, trained = param.split(tree, lambda path: any(matches(root + path, pattern) for pattern in patterns))
    return trained, frozen


def matches(path: str, pattern: str) -> bool:
    """A pattern stands for what it names and for all that is below it."""
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, pattern + ".*")


def kept(tree: Tree, cfg: Config) -> Tree:
    """Frozen weights (arrays or shapes) in the type that they are kept in."""

    def one(leaf):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(cfg.frozen_precision), sharding=leaf.sharding)
        return leaf.astype(cfg.frozen_precision)

    return jax.tree.map(one, tree)
