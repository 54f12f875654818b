"""Copying: less the share of a caption's n-grams of words that stand in the clip's transcript, 0 to −1."""

from dataclasses import dataclass

import jax.numpy as jnp

from emojax.errors import require
from emojax.rewards import ngrams
from emojax.rewards.inputs import Captions
from emojax.types import Array, References, Text

NEEDS = ("words", "transcript")


@dataclass(frozen=True)
class Options:
    n: int = 3

    def __post_init__(self) -> None:
        require(self.n > 0, f"n wants a positive number, got {self.n}")


def score(options: Options, arrays: None, captions: Captions, clips: References) -> Array:
    spoken = Text(clips.transcript.ids[:, None], clips.transcript.mask[:, None])
    there = ngrams.places(captions.words, options.n)
    copied = ngrams.equal(captions.words, spoken, options.n).any(-1).sum(-1).astype(jnp.float32)
    return -copied / jnp.maximum(there.sum(-1), 1).astype(jnp.float32)
