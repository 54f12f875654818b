"""Facts: what a caption states of its clip, and how much of it holds (rewards/facts.py), −`fine` to 1.

The facts are the emotion (`reward.concepts`) and `reward.attributes`. With a fine of 3 it pays to state what is right
more than three times in four, with 5 five times in six, and nothing that is a guess. Logged besides: of each,
NAME_stated and, of the captions that state it, NAME_right.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from emojax.errors import require
from emojax.rewards import facts, lexicon
from emojax.rewards.inputs import Captions
from emojax.rewards.lexicon import Lexicon
from emojax.rewards.reader import Reader, Scored
from emojax.types import Array, References

NEEDS = ("bytes",)


@dataclass(frozen=True)
class Options:
    fine: float = 3.0  # of a wrong statement

    def __post_init__(self) -> None:
        require(0 <= self.fine < math.inf, f"fine wants 0 or more, got {self.fine}")


def arrays(options: Options, reader: Reader) -> Lexicon:
    return lexicon.build(facts.known_facts(reader.reward))


def of_clips(options: Options, reader: Reader, clips: Sequence[Scored]) -> np.ndarray:
    """i32[clips Q]; -1: not known"""
    return facts.numbers(facts.known_facts(reader.reward), [facts.values_of(clip) for clip in clips])


def score(options: Options, arrays: Lexicon, captions: Captions, clips: References) -> Array:
    return facts.pay(*_holds(arrays, captions, clips), clips.own, options.fine)


def details(options: Options, arrays: Lexicon, captions: Captions, clips: References) -> dict[str, Array]:
    found: dict[str, Array] = {}
    stated, right = _holds(arrays, captions, clips)
    known = (clips.own >= 0)[:, None]
    for q, name in enumerate(arrays.names):
        told, true = stated[..., q], right[..., q].astype(jnp.float32)
        found[f"{name}_stated"] = jnp.where(known[..., q], told.astype(jnp.float32), jnp.nan)
        found[f"{name}_right"] = jnp.where(known[..., q] & told, true, jnp.nan)
    return found


def _holds(arrays: Lexicon, captions: Captions, clips: References) -> tuple[Array, Array]:
    return facts.holds(lexicon.named_of(arrays, captions.bytes), jnp.asarray(arrays.value), clips.own)
