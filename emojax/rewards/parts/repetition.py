"""Repetition: less the share of a caption's n-grams of words that have stood in it before, 0 to −1."""

from dataclasses import dataclass

import jax.numpy as jnp

from emojax.errors import require
from emojax.rewards import ngrams
from emojax.rewards.inputs import Captions
from emojax.types import Array, References

NEEDS = ("words",)


@dataclass(frozen=True)
class Options:
    n: int = 2

    def __post_init__(self) -> None:
        require(self.n > 0, f"n wants a positive number, got {self.n}")


def score(options: Options, arrays: None, captions: Captions, clips: References) -> Array:
    there = ngrams.places(captions.words, options.n)
    again = there & (ngrams.earlier(captions.words, options.n) > 0)
    return -again.sum(-1).astype(jnp.float32) / jnp.maximum(there.sum(-1), 1).astype(jnp.float32)
