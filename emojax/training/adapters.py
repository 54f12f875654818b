"""The captioner with low-rank adapters: which linear maps have them, how they begin, how they are merged away."""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import jax

from emojax import param
from emojax.config import Config, ConfigError, Lora
from emojax.decoder import captioner
from emojax.errors import nearest
from emojax.nn import adapter
from emojax.nn.adapter import Adapted
from emojax.nn.layers import Linear
from emojax.parallel import sharding
from emojax.training import freeze
from emojax.types import Array, Tree


def declare(cfg: Config) -> captioner.Params:
    """The captioner's declaration, with adapters where `cfg.lora` wants them.

    Raises:
      ConfigError: a target that matches no linear map of the decoder or of an encoder.
    """
    plain, lora = captioner.declare(cfg), cfg.lora
    maps = linear_maps(plain)
    for target in lora.targets:
        if not any(freeze.matches(path, target) for path in maps):
            parts = sorted({path.rsplit(".", n)[0] for path in maps for n in range(path.count(".") + 1)})
            raise ConfigError(f"lora.targets: {target!r} matches no linear map{nearest(target, parts)}")

    def one(at: tuple, x: Any) -> Any:
        path = f"{param.dotted(at)}.w"
        wanted = path in maps and any(freeze.matches(path, target) for target in lora.targets)
        return x.replace(w=adapter.declare(x.w, lora.rank, lora.alpha, lora.dora)) if wanted else x

    return jax.tree_util.tree_map_with_path(one, plain, is_leaf=lambda x: isinstance(x, Linear))


def linear_maps(tree: Tree) -> list[str]:
    """Paths of the weights that may have adapters: of linear maps in the decoder and the encoders, not between them."""
    found = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: isinstance(x, Linear))
    paths = (f"{param.dotted(at)}.w" for at, x in found if isinstance(x, Linear))
    return [path for path in paths if freeze.part(path)]


def begin(params: captioner.Params, cfg: Config, mesh: jax.sharding.Mesh) -> captioner.Params:
    """A plain captioner with new adapters, which change nothing yet.

    A's values depend on the seed and on the map's path; a magnitude is the length of a column as it will be kept.
    """
    if not cfg.lora.targets:
        return params
    whole = declare(cfg)
    declared, bases = of(whole), beside(whole, params)

    def length(w: Adapted) -> Array:
        return adapter.column_norm(freeze.kept_map(w.base, cfg.frozen_precision))

    def make(key: jax.Array, bases: Tree) -> Tree:
        new = param.init(declared, key)
        if not cfg.lora.dora:
            return new
        lengths = _each(bases, lambda w: dataclasses.replace(w, magnitude=length(w)))
        return param.merge(of(lengths), new)

    key = jax.random.fold_in(jax.random.key(cfg.seed), zlib.crc32(b"adapters"))
    new = jax.jit(make, out_shardings=sharding.shardings(declared, mesh))(key, bases)
    return param.merge(new, bases)


def of(tree: Tree) -> Tree:
    """The adapters alone, None in the place of all other weights."""
    return param.split(tree, freeze.is_adapter)[0]


def beside(adapted: Tree, plain: Tree) -> Tree:
    """The weights `plain` as those that the adapters of `adapted` stand beside, None in the place of these."""

    def one(like: Any, w: Any) -> Any:
        return Adapted(w, None, None, None, like.scale) if isinstance(like, Adapted) else w

    return jax.tree.map(one, adapted, plain, is_leaf=lambda x: isinstance(x, Adapted))


def fitted(params: captioner.Params, was: Lora, cfg: Config, mesh: jax.sharding.Mesh) -> captioner.Params:
    """The captioner with the adapters that `cfg` wants: those that are there if they are the same, else those are
    merged first."""
    return params if cfg.lora == was else begin(merged(params), cfg, mesh)


def merged(params: Tree) -> Tree:
    """The plain captioner that computes the same, float32."""
    return _each(params, jax.jit(adapter.dense))


def plain(tree: Tree) -> Tree:
    """Without adapters: of arrays, shapes or a declaration."""
    return _each(tree, lambda w: w.base)


def _each(tree: Tree, change: Callable[[Adapted], Any]) -> Tree:
    def one(x: Any) -> Any:
        return change(x) if isinstance(x, Adapted) else x

    return jax.tree.map(one, tree, is_leaf=lambda x: isinstance(x, Adapted))
