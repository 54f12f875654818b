"""Intervals by the bootstrap (Efron & Tibshirani 1993): clips, or speakers with all their clips, drawn again."""

from collections.abc import Hashable, Sequence

import numpy as np

DRAWS = 1000
LEVEL = 0.95
_AT_ONCE = 1 << 22  # numbers drawn
Interval = tuple[float, float]


def resampled(statistics: np.ndarray, groups: Sequence[Hashable] | None = None, seed: int = 0) -> np.ndarray:
    """Sums over clips that are drawn with replacement, f64[DRAWS K]; the same draws for the same seed.

    Args:
      statistics: f64[N K] of each clip.
      groups: of each clip what is drawn as one, such as its speaker; None: every clip by itself.
    """
    x = np.asarray(statistics, np.float64)
    if groups is not None:
        place = {group: n for n, group in enumerate(dict.fromkeys(groups))}
        member = np.array([place[group] for group in groups])
        x = np.stack([np.bincount(member, column, len(place)) for column in x.T], 1)
    rng, n = np.random.default_rng(seed), len(x)
    rows = max(1, _AT_ONCE // n)
    return np.concatenate([_drawn(rng, min(rows, DRAWS - i), n) @ x for i in range(0, DRAWS, rows)])


def _drawn(rng: np.random.Generator, rows: int, n: int) -> np.ndarray:
    """How often each of n is drawn, i64[rows n]."""
    index = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(index.ravel(), minlength=rows * n).reshape(rows, n)


def mean_interval(values: np.ndarray, groups: Sequence[Hashable] | None = None) -> Interval | None:
    """Of the mean of f64[N], in which NaN does not count; None: fewer than two clips, or groups, count."""
    known = np.isfinite(values)
    if len({group for group, yes in zip(groups or range(len(values)), known, strict=True) if yes}) < 2:
        return None
    sums = resampled(np.stack([np.where(known, values, 0), known], 1), groups)
    return percentiles(sums[:, 0] / np.where(sums[:, 1] > 0, sums[:, 1], np.nan))


def percentiles(draws: np.ndarray) -> Interval:
    """The interval of a number that was made of each draw, f64[DRAWS]; NaN does not count."""
    low, high = np.nanpercentile(draws, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)
