"""What a stage trains: everything it could, in Emo-GRPO and DPO what its `train` names, but for what its `freeze`
names; and how the rest is kept.

A part of the captioner that has adapters trains them and nothing else.
"""

import dataclasses
import fnmatch
import re
from typing import Any

import jax
import jax.numpy as jnp

from emojax import param
from emojax.config import Config, ConfigError, Dpo, Grpo
from emojax.decoder.captioner import Params
from emojax.errors import nearest
from emojax.nn.adapter import Adapted
from emojax.nn.layers import Linear
from emojax.nn.quantize import Quantized, quantize
from emojax.parallel import sharding
from emojax.types import Tree

_PARTS = ("decoder.", "encoders.audio.backbone.", "encoders.audio.", "encoders.video.")
_ADAPTER = re.compile(r".*\.w\.(a|b|magnitude)")  # where a node nn.adapter.Adapted stands for a weight


def split(tree: Tree, patterns: tuple[str, ...], only: tuple[str, ...] | None = None) -> tuple[Tree, Tree]:
    """(what is trained, what is frozen): two trees of the same form, None where the other has the weight.

    Args:
      tree: of the captioner.
      patterns: paths of what is frozen, with * for any text; a path stands for all that is below it. They say nothing
        of adapters.
      only: paths of what may be trained, adapters among it; None: all.
    Raises:
      ConfigError: a pattern that matches nothing, or patterns that leave nothing to train.
    """
    paths = [param.dotted(at) for at, _ in jax.tree_util.tree_leaves_with_path(tree)]
    check("freeze", patterns, paths)
    check("train", only or (), paths)
    adapted = {part(path) for path in paths if is_adapter(path)}

    def is_frozen(path: str) -> bool:
        if only is not None and not any(matches(path, pattern) for pattern in only):
            return True
        if is_adapter(path):
            return False
        return part(path) in adapted or any(matches(path, pattern) for pattern in patterns)

    if paths and all(is_frozen(path) for path in paths):
        beside = "" if only is None else f" of train={only}"
        raise ConfigError(f"freeze={patterns} leaves nothing to train{beside}")
    frozen, trained = param.split(tree, is_frozen)
    return trained, frozen


def split_policy(tree: Params, stage: Grpo | Dpo) -> tuple[Tree, Params]:
    """(what Emo-GRPO or DPO trains, the rest of the captioner). The first is of the decoder, where it trains nothing
    else."""
    trained, rest = split(tree, stage.freeze, stage.train)
    return trained if jax.tree.leaves(trained.encoders) else trained.decoder, rest


def check(field: str, patterns: tuple[str, ...], paths: list[str]) -> None:
    """Raises ConfigError for patterns that match none of the paths of weights; all of them, and what there is."""
    wrong = [pattern for pattern in patterns if not any(matches(path, pattern) for path in paths)]
    if wrong:
        parts = sorted({path.rsplit(".", n)[0] for path in paths for n in range(path.count(".") + 1)})
        each = "; ".join(f"{field}={one!r} matches no weight of the captioner{nearest(one, parts)}" for one in wrong)
        raise ConfigError(f"{each}; the parts are {', '.join(part for part in parts if part.count('.') < 2)}")


def matches(path: str, pattern: str) -> bool:
    """A pattern stands for what it names and for all that is below it."""
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, pattern + ".*")


def part(path: str) -> str | None:
    """The part that a weight belongs to and that keeps its own weights if it has adapters; None: it is of no such."""
    return next((part for part in _PARTS if path.startswith(part)), None)


def is_adapter(path: str) -> bool:
    return bool(_ADAPTER.fullmatch(path))


def loaded(tree: Tree, cfg: Config) -> Tree:
    """Frozen weights in the type that they are read and saved in: int8 is made of float32, each time anew."""
    return _kept(tree, "float32" if cfg.frozen_precision == "int8" else cfg.frozen_precision)


def kept(tree: Tree, cfg: Config) -> Tree:
    """Frozen weights (arrays or shapes) in the form that the devices keep them in; adapters are left as they are."""
    return _kept(tree, cfg.frozen_precision)


def _kept(tree: Tree, precision: str) -> Tree:
    def one(x: Any) -> Any:
        match x:
            case Linear():
                return Linear(kept_map(x.w, precision), None if x.b is None else _rounded(x.b, precision))
            case Adapted():
                return kept_map(x, precision)
        return _rounded(x, precision)

    return jax.tree.map(one, tree, is_leaf=lambda x: isinstance(x, Linear | Adapted))


def kept_map(w: Any, precision: str) -> Any:
    """The weight of a linear map."""
    match w:
        case None:
            return None
        case Adapted():
            return dataclasses.replace(w, base=kept_map(w.base, precision))
    return _quantized(w) if precision == "int8" else _rounded(w, precision)


def _rounded(x: Any, precision: str) -> Any:
    dtype = jnp.dtype("bfloat16" if precision == "int8" else precision)
    if isinstance(x, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(x.shape, dtype, sharding=x.sharding)
    return x.astype(dtype)


def _quantized(w: Any) -> Quantized:
    if not isinstance(w, jax.ShapeDtypeStruct):
        return quantize(w)
    scale = (*w.shape[:-2], 1, w.shape[-1])
    return Quantized(
        jax.ShapeDtypeStruct(w.shape, jnp.int8, sharding=w.sharding),
        jax.ShapeDtypeStruct(scale, jnp.float32, sharding=sharding.of_columns(w.sharding, w.ndim)),
    )
