"""Pairwise preferences to a ranking (Bradley & Terry 1952), with intervals over clips: DMER-Ranker's comparison.

A is preferred to B with probability 1 / (1 + exp(b − a)), a and b their strengths. A tie is half a preference each way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

_STEPS = 200
_LONGEST = 0.8  # of a step: differences of strengths move by no more than 1.6, below which each step is uphill
PENALTY = 0.01  # times the sum of squared strengths: who always won has a strength, too


@dataclass(frozen=True)
class Preference:
    """Which of two was preferred for a clip; None: neither."""

    id: str
    pair: tuple[str, str]
    preferred: str | None


@dataclass(frozen=True)
class Ranked:
    name: str
    strength: float  # log-odds; the mean of all is 0
    interval: tuple[float, float]  # 95 % of resamples of the clips
    ranks: tuple[int, int]  # the best and the worst rank in them, likewise
    wins: float  # share of its comparisons, 0 to 1; a tie is half of one
    comparisons: int


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    """Strengths f64[... M], their mean 0: the most probable ones under a weak normal prior, by Newton's method.

    Args:
      wins: f64[... M M], how often each of the rows was preferred to each of the columns.
    """
    games = wins + wins.swapaxes(-1, -2)
    x, one = np.zeros(wins.shape[:-1]), np.eye(wins.shape[-1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(x[..., None, :] - x[..., None]))
        slope = (wins - games * p).sum(-1) - 2 * PENALTY * x
        curve = games * p * (1 - p)
        step = np.linalg.solve(one * (curve.sum(-1) + 2 * PENALTY)[..., None] - curve, slope[..., None])[..., 0]
        most = np.abs(step).max()
        x = x + step * np.minimum(1, _LONGEST / np.maximum(np.abs(step).max(-1, keepdims=True), 1e-12))
        if most < 1e-10:
            break
    return x


def rank(preferences: Sequence[Preference], resamples: int = 1000, seed: int = 0) -> list[Ranked]:
    """The strongest first. Clips are resampled, not preferences: those of one clip hang together.

    Raises:
      ValueError: no preferences; or not all were compared with each other, even by way of others.
    """
    names = sorted({name for one in preferences for name in one.pair})
    clips = list(dict.fromkeys(one.id for one in preferences))
    place, row = {name: n for n, name in enumerate(names)}, {clip: n for n, clip in enumerate(clips)}
    wins = np.zeros((len(clips), len(names), len(names)))  # of each clip
    for one in preferences:
        a, b = (place[name] for name in one.pair)
        share = 0.5 if one.preferred is None else float(one.preferred == one.pair[0])
        wins[row[one.id], a, b] += share
        wins[row[one.id], b, a] += 1 - share
    total = wins.sum(0)
    _require_one_group(names, total + total.T)
    strengths = bradley_terry(total)
    drawn = np.random.default_rng(seed).multinomial(len(clips), np.full(len(clips), 1 / len(clips)), resamples)
    again = bradley_terry(np.einsum("rc,cab->rab", drawn, wins))
    orders = 1 + (again[:, None] > again[..., None]).sum(-1)  # [resamples M] the rank of each
    low, high = np.percentile(again, (2.5, 97.5), 0)
    first, last = np.percentile(orders, (2.5, 97.5), 0, method="nearest")
    games = (total + total.T).sum(1)
    found = [
        Ranked(
            name=name,
            strength=float(strengths[n]),
            interval=(float(low[n]), float(high[n])),
            ranks=(int(first[n]), int(last[n])),
            wins=float(total[n].sum() / games[n]),
            comparisons=round(games[n]),
        )
        for n, name in enumerate(names)
    ]
    return sorted(found, key=lambda one: -one.strength)


def _require_one_group(names: Sequence[str], games: np.ndarray) -> None:
    if not names:
        raise ValueError("there are no preferences to rank by")
    reached = np.eye(len(names), dtype=bool)[0]
    for _ in names:
        reached = reached | (games[reached] > 0).any(0)
    if not reached.all():
        apart = [name for name, there in zip(names, reached, strict=True) if not there]
        raise ValueError(
            f"{', '.join(apart)} were never compared with {names[0]}, not even by way of others: no ranking has all of "
            "them; rank them apart, or add preferences between them"
        )


def by_score(scores: dict[str, dict[str, float]]) -> list[Preference]:
    """A preference for each clip and pair: the higher score wins, equal ones tie.

    Args:
      scores: by name, then by clip id; a clip counts where both of a pair have it.
    """
    return [
        Preference(clip, (a, b), None if np.isclose(x, y := scores[b][clip]) else a if x > y else b)
        for a, b in combinations(scores, 2)
        for clip, x in scores[a].items()
        if clip in scores[b]
    ]


def lines(ranked: Sequence[Ranked]) -> list[list[str]]:
    """The ranking as a table of strings, headings first."""

    def cells(place: int, one: Ranked) -> list[str]:
        low, high = one.interval
        ranks = str(one.ranks[0]) if one.ranks[0] == one.ranks[1] else f"{one.ranks[0]} to {one.ranks[1]}"
        strength = f"{one.strength:+.2f}"
        return [str(place), one.name, strength, f"{low:+.2f} to {high:+.2f}", ranks, f"{100 * one.wins:.0f}"]

    head = ["", "captions", "strength", "95 %", "rank, 95 %", "wins, %"]
    return [head, *(cells(place, one) for place, one in enumerate(ranked, 1))]
