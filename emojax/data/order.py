"""Which clips stand in batch `i`: a function of (seed, i) and nothing else.

Every length bucket is an endless stream of permutations of its clips, cut into batches, so no clip is seen twice
before all of its bucket were seen once. Where a batch crosses from one permutation to the next, clips that it has
already come later in the next: a batch holds no clip twice, unless its bucket has fewer clips than a batch. A second
stream says which bucket comes next: each in proportion to its clips, evenly spread. Any batch can be computed without
those before it.

Random numbers are Philox's raw bits (Salmon et al. 2011), which NumPy promises never to change.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Order:
    seed: int
    batch: int
    seconds: tuple[float, ...]  # of each bucket
    members: tuple[np.ndarray, ...]  # i64[clips] of each bucket, ascending


def bits(count: int, *key: int) -> np.ndarray:
    """u64[count] random bits that depend on the key alone."""
    return np.random.Philox(np.random.SeedSequence(key)).random_raw(count)


def bucket_of(seconds: float, buckets: Sequence[float]) -> int:
    """The shortest bucket that holds a clip; the last for one that none holds."""
    return min(int(np.searchsorted(buckets, seconds - 1e-6)), len(buckets) - 1)


def make_order(seconds: Sequence[float], buckets: Sequence[float], batch: int, seed: int) -> Order:
    """Sorts clips into length buckets. One that cannot fill a batch joins the next: padding rather than repeats.

    Args:
      seconds: of each clip's audio; 0 where it has none.
      buckets: seconds, ascending.
    """
    bucket = np.minimum(np.searchsorted(buckets, np.asarray(seconds) - 1e-6), len(buckets) - 1)  # `bucket_of` of all
    longest = int(bucket.max())
    for b in range(longest):
        if (bucket == b).sum() < batch:
            bucket[bucket == b] = b + 1
    used = np.unique(bucket)
    return Order(seed, batch, tuple(buckets[b] for b in used), tuple(np.flatnonzero(bucket == b) for b in used))


def clips_in(order: Order, i: int) -> tuple[int, np.ndarray]:
    """Batch `i`: its bucket, and the indices of its clips, i64[batch].

    >>> order = make_order([1.0, 1.5, 3.0, 1.2, 3.5, 0.9], buckets=(2.0, 4.0), batch=2, seed=0)
    >>> [members.tolist() for members in order.members]
    [[0, 1, 3, 5], [2, 4]]
    >>> epoch = [clips_in(order, i) for i in range(3)]  # two batches of the shorter clips, one of the longer
    >>> sorted(bucket for bucket, _ in epoch), sorted(int(clip) for _, clips in epoch for clip in clips)
    ([0, 0, 1], [0, 1, 2, 3, 4, 5])
    """
    sizes = tuple(len(m) for m in order.members)
    turns = tuple(n // math.gcd(*sizes) for n in sizes)  # batches of each bucket in one cycle: exactly in proportion
    cycle, place = divmod(i, sum(turns))
    sequence = _buckets(order.seed, cycle, turns)
    bucket = int(sequence[place])
    nth = cycle * turns[bucket] + int((sequence[:place] == bucket).sum())
    epoch, offset = np.divmod(nth * order.batch + np.arange(order.batch), sizes[bucket])
    epochs = {e: _epoch(order.seed, bucket, e, sizes[bucket], order.batch) for e in map(int, np.unique(epoch))}
    places = [epochs[int(e)][o] for e, o in zip(epoch, offset, strict=True)]
    return bucket, order.members[bucket][places]


@functools.lru_cache(maxsize=4)
def _buckets(seed: int, cycle: int, turns: tuple[int, ...]) -> np.ndarray:
    """The buckets of one cycle in order: the k-th turn of a bucket falls at random into the k-th of its equal parts."""
    at = [(np.arange(n) + bits(n, seed, 0, cycle, b) / 2**64) / n for b, n in enumerate(turns)]
    return np.repeat(np.arange(len(turns)), turns)[np.argsort(np.concatenate(at), kind="stable")]


@functools.lru_cache(maxsize=16)
def _epoch(seed: int, bucket: int, epoch: int, n: int, batch: int) -> np.ndarray:
    """A bucket's clips in the order of that epoch, i64[n]: a permutation whose first clips, which fill the batch that
    the epoch before began, are not yet in that batch."""
    if n < batch:
        return _permutation(seed, bucket, epoch, n)
    # from two batches up what comes later leaves the last batch alone, so an epoch depends on the one before; else on
    # all since a batch and an epoch last began together
    since = 1 if n >= 2 * batch else epoch % (batch // math.gcd(n, batch))
    clips = _permutation(seed, bucket, epoch - min(since, epoch), n)
    for e in range(epoch - min(since, epoch) + 1, epoch + 1):
        begun = e * n % batch
        there, clips = clips[n - begun :], _permutation(seed, bucket, e, n)
        first = np.flatnonzero(~np.isin(clips, there))[: batch - begun] if begun else np.arange(0)
        clips = np.concatenate([clips[first], np.delete(clips, first)])
    return clips


@functools.lru_cache(maxsize=16)
def _permutation(seed: int, bucket: int, epoch: int, n: int) -> np.ndarray:
    return np.argsort(bits(n, seed, 1, bucket, epoch), kind="stable")
