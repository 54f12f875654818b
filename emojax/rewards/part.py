"""A part of a reward: what is written of it, and the file that scores it.

A part is a file of `emojax/rewards/parts`, found by its name. It has

    score(options, arrays, captions, clips) -> f32[B G]    in the graph; NaN: not scorable

and, where it needs them,

    Options              a frozen dataclass: what it can be told in brackets
    NEEDS                what it reads of captions and clips besides the policy's tokens, names of `NAMES`; or a
                         function of the options that gives them
    arrays(options, reader) -> Tree           what it looks up: made on the host, an argument of the program
    shapes(options, reader) -> Tree           the same where files are not at hand; without it `arrays` is called
    of_clips(options, reader, clips) -> Tree  what it alone reads of each clip, a row a clip: its `clips.own`
    details(options, arrays, captions, clips) -> dict[str, f32[B G]]   what is logged besides

`captions` is a Captions, `clips` a References whose `own` is this part's. Its score of plain strings is the same
function: `reader.py` makes of them what the graph makes of tokens.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax.numpy as jnp

from emojax.config import ConfigError, Reward, presets
from emojax.config.parts import Part, read
from emojax.errors import nearest
from emojax.rewards import parts as folder
from emojax.types import Array

NAMES = frozenset({"bytes", "words", "tokens", "embedding", "policy", "transcript"})
"""What a part may read: fields of Captions, and those of References of the same name; `transcript` is of the clip."""


@dataclass(frozen=True)
class Scorer:
    part: Part
    options: Any
    file: ModuleType

    @property
    def needs(self) -> frozenset[str]:
        found: Any = getattr(self.file, "NEEDS", ())
        asked: Any = found(self.options) if callable(found) else found
        return frozenset(asked)

    def called(self, function: str, *arguments: Any) -> Any:
        """What a function of the file gives; None where it has none."""
        there = getattr(self.file, function, None)
        return None if there is None else there(self.options, *arguments)


@dataclass(frozen=True)
class NoOptions:
    """Of a part that can be told nothing."""


def scorer(written: str, reward: Reward) -> Scorer:
    """Raises ConfigError for a part that there is not, or that cannot be told so."""
    from emojax.rewards import host, own

    part = read(written)
    if host.is_host(part.file):
        return Scorer(part, host.load(part), host)
    if own.is_own(part.file):
        return Scorer(part, own.load(part, reward), own)
    there = sorted(found.name for found in pkgutil.iter_modules(folder.__path__))
    if part.file not in there:
        raise ConfigError(
            f"no part of a reward is called {part.file!r}{nearest(part.file, there)}; there are {', '.join(there)}, "
            "and FILE.py:FUNCTION of one's own"
        )
    file = importlib.import_module(f"{folder.__name__}.{part.file}")
    options = presets.options(getattr(file, "Options", NoOptions), dict(part.options), f"reward.parts: {part.file}")
    return Scorer(part, options, file)


def compared(score: Array, empty: Array, present: Array) -> Array:
    """A part that compares with references: −1 for an empty caption, NaN for a clip without any.

    Args:
      score: f32[B G]. empty: bool[B G]. present: bool[B R].
    """
    return jnp.where(present.any(-1)[:, None], jnp.where(empty, -1.0, score), jnp.nan)


def pooled(score: Array, present: Array, pool: str) -> Array:
    """f32[B G R] over the references that are present, bool[B R], to f32[B G]: their "mean" or "max"."""
    present = present[:, None]
    if pool == "max":
        return jnp.where(present, score, -jnp.inf).max(-1)
    return jnp.where(present, score, 0).sum(-1) / jnp.maximum(present.sum(-1), 1).astype(jnp.float32)
