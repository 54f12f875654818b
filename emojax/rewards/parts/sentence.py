"""Sentence similarity: the cosine of the sentence embeddings of a caption and of its clip's references."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp

from emojax.rewards.inputs import Captions
from emojax.rewards.part import compared, pooled
from emojax.types import Array, References

NEEDS = ("tokens", "embedding")


@dataclass(frozen=True)
class Options:
    pool: Literal["mean", "max"] = "mean"  # over the references of a clip


def score(options: Options, arrays: None, captions: Captions, clips: References) -> Array:
    cosine = jnp.einsum("bge,bre->bgr", captions.embedding, clips.embedding)
    return compared(pooled(cosine, clips.present, options.pool), ~captions.tokens.mask.any(-1), clips.present)
