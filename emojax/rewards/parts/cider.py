"""CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726), 0 to 10: n-grams weighed by how rare they are among the clips.

Document frequencies are those of the training clips' reference captions: the share of clips in whose references an
n-gram stands. One that stands in no more than one clip weighs as one that stands in none, so only the others are kept,
the most frequent `room` of each length, sorted: a binary search finds them in the graph.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.errors import require
from emojax.rewards import ngrams
from emojax.rewards.inputs import Captions
from emojax.rewards.part import compared
from emojax.rewards.reader import Reader
from emojax.types import Array, References, Text

_N, _SIGMA = 4, 6.0
_NEVER = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Options:
    tokens: ngrams.Tokens = "words"
    room: int = 16384  # n-grams of each length whose frequencies are kept

    def __post_init__(self) -> None:
        require(self.room > 0, f"room wants a positive number, got {self.room}")


def NEEDS(options: Options) -> tuple[str, ...]:
    return ngrams.needs(options.tokens)


@struct.dataclass
class Frequencies:
    gram: tuple[Array, ...]  # i32[room n] of each n, ascending
    log: tuple[Array, ...]  # f32[room] logarithms of the numbers of clips
    clips: Array  # f32[] logarithm of the number of clips


def arrays(options: Options, reader: Reader) -> Frequencies:
    documents = [_tokens(options, reader, clip.captions) for clip in reader.training if clip.captions]
    grams, logs = [], []
    for n in range(1, _N + 1):
        counts = Counter(gram for rows in documents for gram in {g for row in rows for g in _grams(row, n)})
        kept = sorted(gram for gram, count in counts.most_common(options.room) if count > 1)
        table = np.full((options.room, n), _NEVER, np.int32)
        log = np.zeros(options.room, np.float32)
        if kept:
            table[: len(kept)] = kept
            log[: len(kept)] = np.log([counts[gram] for gram in kept])
        grams.append(table)
        logs.append(log)
    found: Any = Frequencies(tuple(grams), tuple(logs), np.float32(math.log(max(len(documents), 1))))  # pyright: ignore[reportArgumentType] on the host
    return found


def _tokens(options: Options, reader: Reader, texts: Any) -> list[list[int]]:
    match options.tokens:
        case "words":
            found = reader.words(texts)
        case "reward":
            found = reader.tokens(texts)
        case "policy":
            found = reader.written(texts, reader.reward.max_tokens)
    return [ids[mask].tolist() for ids, mask in zip(np.asarray(found.ids), np.asarray(found.mask), strict=True)]


def _grams(row: list[int], n: int) -> zip:
    return zip(*(row[k:] for k in range(n)), strict=False)


def score(options: Options, arrays: Frequencies, captions: Captions, clips: References) -> Array:
    ours, theirs = ngrams.both(options.tokens, captions, clips)
    here, there = ngrams.sides(ours, theirs)
    far = (ngrams.lengths(here) - ngrams.lengths(there)).astype(jnp.float32)  # [B G R]
    total = jnp.zeros(far.shape)
    for n in range(1, _N + 1):
        a, b = _weights(arrays, ours, n), _weights(arrays, theirs, n)
        # a sum over distinct n-grams is one over places, each weighed by one over how often its n-gram stands there
        same = ngrams.equal(here, there, n)
        count, other = _counts(ours, n), _counts(theirs, n)  # [B G S], [B R T]
        found = same.sum(-1).astype(jnp.float32)  # [B G R S] how often the reference has it
        least = jnp.minimum(count[:, :, None], found)
        share = jnp.where(count > 0, jnp.square(a) / jnp.maximum(count, 1), 0)[:, :, None]
        product = (least * found * share).sum(-1)
        norms = _norm(a, count)[:, :, None] * _norm(b, other)[:, None]
        total += jnp.where(norms > 0, product / jnp.where(norms > 0, norms, 1), 0)
    each = total / _N * jnp.exp(-jnp.square(far) / (2 * _SIGMA**2))
    present = clips.present[:, None]
    mean = jnp.where(present, each, 0).sum(-1) / jnp.maximum(present.sum(-1), 1).astype(jnp.float32)
    return compared(10 * mean, ~ours.mask.any(-1), clips.present)


def _counts(text: Text, n: int) -> Array:
    """How often the n-gram at each place stands in its text, f32[... S]."""
    return ngrams.equal(text, text, n).sum(-1).astype(jnp.float32)


def _norm(idf: Array, count: Array) -> Array:
    """Length of the vector of count times weight over distinct n-grams."""
    return jnp.sqrt((count * jnp.square(idf)).sum(-1))


def _weights(arrays: Frequencies, text: Text, n: int) -> Array:
    """log(clips / clips that have it) of the n-gram at each place, f32[... S]; 0 where none begins."""
    gram = jnp.stack([jnp.pad(text.ids, [(0, 0)] * (text.ids.ndim - 1) + [(0, k)])[..., k:] for k in range(n)], -1)
    table, log = jnp.asarray(arrays.gram[n - 1]), jnp.asarray(arrays.log[n - 1])
    at = _search(table, gram)
    found = (table[at] == gram).all(-1)
    return jnp.where(ngrams.places(text, n), arrays.clips - jnp.where(found, log[at], 0), 0)


def _search(table: Array, gram: Array) -> Array:
    """Where in sorted rows [M n] the first that is not before `gram` [... n] stands, i32[...]; M - 1 at most."""
    steps = max(1, math.ceil(math.log2(table.shape[0])))

    def less(row: Array) -> Array:
        before, same = jnp.zeros(row.shape[:-1], bool), jnp.ones(row.shape[:-1], bool)
        for k in range(row.shape[-1]):
            before |= same & (row[..., k] < gram[..., k])
            same &= row[..., k] == gram[..., k]
        return before

    def step(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) // 2
        right = less(table[middle])
        return jnp.where(right, jnp.minimum(middle + 1, high), low), jnp.where(right, high, middle)

    low = jnp.zeros(gram.shape[:-1], jnp.int32)
    low, _ = jax.lax.fori_loop(0, steps + 1, step, (low, jnp.full_like(low, table.shape[0] - 1)))
    return low
