"""BLEU of one caption (Papineni et al. 2002), 0 to 1, against all references of its clip.

Counts of n-grams are clipped by the largest in any reference; from the second order on one is added to counts and
totals (Lin & Och 2004, sacreBLEU's `add-k`); the brevity penalty takes the reference of the closest length.
"""

from dataclasses import dataclass

import jax.numpy as jnp

from emojax.errors import require
from emojax.rewards import ngrams
from emojax.rewards.inputs import Captions
from emojax.rewards.part import compared
from emojax.types import Array, References


@dataclass(frozen=True)
class Options:
    n: int = 4  # the longest n-grams
    tokens: ngrams.Tokens = "words"

    def __post_init__(self) -> None:
        require(1 <= self.n <= 8, f"n wants 1 to 8, got {self.n}")


def NEEDS(options: Options) -> tuple[str, ...]:
    return ngrams.needs(options.tokens)


def score(options: Options, arrays: None, captions: Captions, clips: References) -> Array:
    ours, theirs = ngrams.both(options.tokens, captions, clips)
    here, there = ngrams.sides(ours, theirs)
    present = clips.present[:, None]  # [B 1 R]
    logs, any_match = jnp.zeros(ours.mask.shape[:2]), jnp.zeros(ours.mask.shape[:2], bool)
    orders = jnp.zeros(ours.mask.shape[:2])
    for n in range(1, options.n + 1):
        counts = jnp.where(present[..., None], ngrams.equal(here, there, n).sum(-1), 0).max(-2)  # [B G S]
        clipped = (ngrams.places(ours, n) & (ngrams.earlier(ours, n) < counts)).sum(-1)
        total = ngrams.places(ours, n).sum(-1)
        any_match |= clipped > 0
        more = int(n > 1)
        share = (clipped + more).astype(jnp.float32) / jnp.maximum(total + more, 1).astype(jnp.float32)
        there_are = total + more > 0
        logs += jnp.where(there_are, jnp.log(jnp.maximum(share, 1e-30)), 0)
        orders += there_are.astype(jnp.float32)
    length = ngrams.lengths(ours)  # [B G]
    others = ngrams.lengths(theirs)[:, None]  # [B 1 R]
    far = jnp.where(present, jnp.abs(others - length[..., None]) * 2048 + others, jnp.iinfo(jnp.int32).max)
    closest = jnp.take_along_axis(jnp.broadcast_to(others, far.shape), far.argmin(-1, keepdims=True), -1)[..., 0]
    ratio = closest.astype(jnp.float32) / jnp.maximum(length, 1).astype(jnp.float32)
    brevity = jnp.exp(jnp.minimum(0.0, 1.0 - ratio))
    found = jnp.where(any_match, brevity * jnp.exp(logs / jnp.maximum(orders, 1)), 0)
    return compared(found, length == 0, clips.present)
