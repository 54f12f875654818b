"""Length: 0 for a caption of `low` to `high` words, and down to −1 with the share that it has too few or too many."""

from dataclasses import dataclass

import jax.numpy as jnp

from emojax.errors import require
from emojax.rewards.inputs import Captions
from emojax.types import Array, References

NEEDS = ("words",)


@dataclass(frozen=True)
class Options:
    low: int  # words
    high: int

    def __post_init__(self) -> None:
        require(0 < self.low <= self.high, f"wants 0 < low <= high, got low={self.low}, high={self.high}")


def score(options: Options, arrays: None, captions: Captions, clips: References) -> Array:
    count = captions.words.mask.sum(-1).astype(jnp.float32)
    short, long = (options.low - count) / options.low, (count - options.high) / options.high
    return -jnp.clip(jnp.maximum(short, long), 0, 1)
