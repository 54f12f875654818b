"""Calibration: is a captioner right as often as its probabilities say?

The confidence of a caption is the geometric mean of its tokens' probabilities, and it is right if its words name the
label of its clip. The expected calibration error (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599) is the mean
distance of the two over bins of equal width, weighed by the captions in each.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

BINS = 10


def calibration(confidence: Sequence[float], right: Sequence[bool], bins: int = BINS) -> dict[str, Any] | None:
    """`ece` and `brier` (mean squared distance of confidence and truth), 0 to 1; `confidence` and `right`, the means;
    `clips`; and `bins`, those that are not empty, each with its own `confidence`, `right` and `clips`.

    None without a caption.

    Args:
      confidence: of each caption, 0 to 1; a bin holds its upper end.
    """
    p, truth = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if not len(p):
        return None
    number = np.clip(np.ceil(p * bins).astype(int) - 1, 0, bins - 1)
    found = [_means(p[number == n], truth[number == n]) for n in np.unique(number)]
    gaps = [one["clips"] * abs(one["confidence"] - one["right"]) for one in found]
    return {"ece": sum(gaps) / len(p), "brier": float(np.mean((p - truth) ** 2)), **_means(p, truth), "bins": found}


def _means(p: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {"confidence": float(p.mean()), "right": float(truth.mean()), "clips": len(p)}


class Bin(NamedTuple):
    confidence: float
    right: float
    clips: int


def bins_of(row: Mapping[str, Any]) -> list[Bin]:
    """The bins in a report's row; none where its calibration is not known.

    Raises KeyError, TypeError, ValueError where it is none.
    """
    told = row.get("calibration")
    if not told:
        return []
    found = [Bin(float(b["confidence"]), float(b["right"]), int(b["clips"])) for b in told["bins"]]
    shares = [told[name] for name in ("ece", "brier", "confidence", "right")] + [x for b in found for x in b[:2]]
    if not all(0 <= share <= 1 for share in shares) or int(told["clips"]) < 1:
        raise ValueError("calibration: wanted shares from 0 to 1 of some clips")
    return found
