"""Features in the place of an encoder: which streams they stand in for, the shapes that they have in a batch, and the
encoders that a program does without."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from emojax import param
from emojax.config import Config, FeatureFilesConfig
from emojax.encoders import media
from emojax.nn.adapter import Adapted
from emojax.types import Batch, Features, Tree, batch_shapes


def streams(cfg: Config) -> tuple[str, ...]:
    """The streams whose encoders `data.features` stands in for."""
    parts = {"audio": cfg.model.audio, "video": cfg.model.video}
    encoded = tuple(name for name, part in parts.items() if part and not isinstance(part, FeatureFilesConfig))
    return encoded if cfg.data.features else ()


def in_batch(cfg: Config, stream: str) -> bool:
    """Whether a batch holds features of the stream, not its media."""
    return stream in streams(cfg) or isinstance(getattr(cfg.model, stream), FeatureFilesConfig)


def drop_encoders(encoders: Tree, cfg: Config) -> Tree:
    """The encoders' tree with None for every weight that a program reading features does not need."""

    def none(tree: Tree) -> Tree:  # of an adapted weight the whole, which is made ready for products as one
        return jax.tree.map(lambda _: None, tree, is_leaf=lambda x: isinstance(x, Adapted))

    return encoders.replace(**{name: none(getattr(encoders, name)) for name in streams(cfg)})


def with_features(cfg: Config, batch: Batch) -> Batch:
    """The shapes of a batch (`jax.ShapeDtypeStruct`s) that holds features where the configuration reads them.

    Args:
      batch: the shapes with media.
    """

    def of(dtype: str, *shape: int) -> Any:  # a shape, where the program has an array
        return jax.ShapeDtypeStruct((batch.clip_id.shape[0], *shape), jnp.dtype(dtype))

    changed: dict[str, Any] = {}
    for name, none in (("audio", of("float32", 0)), ("video", of("uint8", 0, *batch.video.shape[2:]))):
        part = getattr(cfg.model, name)
        if isinstance(part, FeatureFilesConfig):
            shape = part.positions, part.width
        elif name in streams(cfg):
            shape = encoded_shape(cfg, name, batch.audio.shape[1])
        else:
            continue
        changed |= {name: none, f"{name}_features": Features(of("float32", *shape), of("bool", shape[0]))}
    return dataclasses.replace(batch, **changed)


@functools.lru_cache(maxsize=64)
def encoded_shape(cfg: Config, stream: str, samples: int) -> tuple[int, int]:
    """(S, D) of what a stream's encoder gives for clips of so many samples of audio; traced, not computed."""
    data = cfg.data
    batch = batch_shapes(1, samples=samples, frames=data.frames, size=data.frame_size)
    made = media.audio_features if stream == "audio" else media.video_features
    weights = param.abstract(media.declare(cfg))
    x, _ = jax.eval_shape(lambda p, batch: made(p, batch, cfg, jnp.dtype("float32")), weights, batch)
    return x.shape[1], x.shape[2]
