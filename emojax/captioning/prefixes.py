"""What the decoder is told of a clip's sound and picture: the media part of its prefix."""

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from emojax.captioning.captioner import Captioner
from emojax.config import Config
from emojax.decoder.captioner import compute_dtype, matmul_precision
from emojax.encoders import media
from emojax.parallel import sharding
from emojax.training.features import feature_source
from emojax.types import Array, Batch

if TYPE_CHECKING:
    from emojax.data.clips import Clip


@partial(jax.jit, static_argnames="cfg")
def _encode(encoders: media.Encoders, batch: Batch, *, cfg: Config) -> Array:
    with matmul_precision(cfg):
        streams = media.encode(encoders, batch, cfg, compute_dtype(cfg))
        there = jnp.where(streams.mask[..., None], streams.embed, 0).astype(jnp.float32)
    return there.reshape(len(there), -1)


def media_prefixes(model: Captioner, clips: "Sequence[Clip]", batch_size: int = 32) -> dict[str, np.ndarray]:
    """By clip id, f32[positions * D]: all positions side by side, 0 where a stream is missing; clips whose files are
    broken are left out."""
    from emojax.data.bulk import bulk_batches

    found: dict[str, np.ndarray] = {}
    batches = bulk_batches(
        clips,
        model.tokenizer,
        dataclasses.replace(model.cfg.data, strict=False),
        caption_tokens=model.cfg.caption_tokens,
        batch=batch_size,
        features=feature_source(model.cfg, clips, model.features),
    )
    with closing(batches), jax.set_mesh(model.mesh):
        for kept, batch, _ in batches:
            if batch is not None:
                rows = _encode(model.params.encoders, sharding.to_devices(batch, model.mesh), cfg=model.cfg)
                found |= zip((clip.id for clip in kept), np.asarray(rows), strict=False)
    return found
