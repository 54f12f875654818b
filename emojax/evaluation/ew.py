"""The emotion-wheel (EW) score of AffectGPT-R1 (arXiv 2508.01318), and what a constant answer reaches.

A caption's words stand in sectors of a wheel (`rewards/wheels.py`). Per wheel precision and recall are means over the
clips whose references stand in a sector, F is the harmonic mean of the two means, and the score is its mean over the
wheels. One list of common words for every clip scores high: `floor` is what such a list reaches, knowing the answers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from emojax.config.concepts import Attribute
from emojax.rewards.lexicon import holds


def ew(
    captions: Sequence[str], references: Sequence[Sequence[str]], wheels: Sequence[Attribute]
) -> dict[str, Any] | None:
    """`score`, `precision`, `recall` and `floor`, 0 to 100, means over the wheels; `clips` that count in any of them;
    None where there is none."""
    named = np.stack([holds([caption], wheels) for caption in captions])
    true = np.stack([holds(refs, wheels) for refs in references])
    ends = np.cumsum([len(wheel.values) for wheel in wheels])[:-1]
    sides = zip(np.split(named, ends, 1), np.split(true, ends, 1), strict=True)
    known = [(ours[there], theirs[there]) for ours, theirs in sides if (there := theirs.any(1)).any()]
    if not known:
        return None
    means = np.mean([(*agreement(*wheel), constant(wheel[1])) for wheel in known], 0)
    precision, recall, score, floor = (100 * float(x) for x in means)
    return {
        "score": score,
        "precision": precision,
        "recall": recall,
        "floor": floor,
        "clips": int(true.any(1).sum()),
    }


def agreement(named: np.ndarray, true: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and F of one wheel, 0 to 1.

    Args:
      named, true: bool[clips sectors]; each clip has a true one.
    """
    both = (named & true).sum(1)
    precision = float(np.mean(both / np.maximum(named.sum(1), 1)))
    recall = float(np.mean(both / true.sum(1)))
    return precision, recall, 2 * precision * recall / (precision + recall) if both.any() else 0.0


def constant(true: np.ndarray) -> float:
    """F of the best constant list of sectors: the one that helps most is added for as long as any helps."""
    chosen, best = np.zeros(true.shape[1], bool), 0.0
    while not chosen.all():
        tried = [chosen | (np.arange(len(chosen)) == sector) for sector in np.flatnonzero(~chosen)]
        scores = [agreement(np.broadcast_to(one, true.shape), true)[2] for one in tried]
        if max(scores) <= best:
            break
        chosen, best = tried[int(np.argmax(scores))], max(scores)
    return best
