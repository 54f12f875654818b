"""Emotion wheels: do a caption's emotion words stand in the sectors of its clip's? The mean over wheels, 0 to 1.

A clip's sectors are those of the words of its reference captions, or of its label. `table` is `concepts` (one wheel, a
sector each of `reward.concepts`), `plutchik8` or a JSON file (see rewards/wheels.py); words that it does not have cost
nothing, and a clip without a sector is not scorable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np

from emojax.config import Reward
from emojax.config.concepts import Attribute, with_forms
from emojax.errors import require
from emojax.rewards import lexicon, sets, wheels
from emojax.rewards.inputs import Captions
from emojax.rewards.lexicon import Lexicon
from emojax.rewards.reader import Reader, Scored
from emojax.types import Array, References

NEEDS = ("bytes",)


@dataclass(frozen=True)
class Options:
    table: str = "concepts"
    level: int = 1  # of the table's wheels: 1 the inner ring, 2 the next
    measure: sets.Measure = "f1"
    truth: Literal["references", "label"] = "references"
    sha256: str = ""  # of the file; empty: any

    def __post_init__(self) -> None:
        require(self.level in (1, 2), f"level wants 1 or 2, got {self.level}")
        own = self.table in ("concepts", "plutchik8")
        require(not (own and self.sha256), f"sha256 is for a table in a file, got table={self.table}")
        require(self.table != "concepts" or self.level == 1, f"table=concepts has level 1 alone, got {self.level}")


def wheel(options: Options, reward: Reward) -> tuple[Attribute, ...]:
    if options.table == "concepts":
        return (Attribute("concepts", tuple(map(with_forms, reward.concepts))),)
    if options.table == "plutchik8":
        return wheels.plutchik8(options.level)
    return wheels.read(options.table, options.level, options.sha256)


def arrays(options: Options, reader: Reader) -> Lexicon:
    return lexicon.build(wheel(options, reader.reward))


def of_clips(options: Options, reader: Reader, clips: Sequence[Scored]) -> np.ndarray:
    """bool[clips V]: the sectors that are a clip's own"""
    about = wheel(options, reader.reward)
    texts = [clip.captions if options.truth == "references" else (clip.emotion or "",) for clip in clips]
    return np.stack([lexicon.holds(each, about) for each in texts]) if texts else lexicon.holds((), about)[None][:0]


def score(options: Options, arrays: Lexicon, captions: Captions, clips: References) -> Array:
    named = lexicon.named_of(arrays, captions.bytes)
    return sets.agreement(named, clips.own, jnp.asarray(arrays.value), len(arrays.names), options.measure)
