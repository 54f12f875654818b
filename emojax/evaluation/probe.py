"""A linear probe (Alain & Bengio 2016, arXiv 1610.01644): how much of each fact the decoder was told.

A linear map of the frozen media prefix, fitted to training clips and asked about others. Where captions are less often
right than it is, the decoder was told and did not read.
"""

from collections.abc import Sequence

import numpy as np

from emojax.config.concepts import Attribute
from emojax.rewards.facts import Known, numbers, values_of

DECAY = 1e-2  # of half the squared weights, beside the mean cross-entropy


def probe(
    prefixes: np.ndarray,
    clips: Sequence[Known],
    asked: np.ndarray,
    about_clips: Sequence[Known],
    about: Sequence[Attribute],
) -> dict[str, float]:
    """For each fact the share of the asked clips, of those where it is known, that the probe is right about.

    Args:
      prefixes: f32[N F] of the training `clips`.
      asked: f32[M F] of `about_clips`.
      about: the facts (`rewards.facts.known_facts`); those that are known on one side alone are left out.
    """
    mean, deviation = prefixes.mean(0), prefixes.std(0) + 1e-6
    known, wanted = (numbers(about, [values_of(clip) for clip in side]) for side in (clips, about_clips))
    out = {}
    for q, fact in enumerate(about):
        train, test = known[:, q] >= 0, wanted[:, q] >= 0
        if train.any() and test.any():
            weights = _fit((prefixes[train] - mean) / deviation, known[train, q], len(fact.values))
            guessed = (_with_one((asked[test] - mean) / deviation) @ weights).argmax(-1)
            out[fact.name] = float(np.mean(guessed == wanted[test, q]))
    return out


def _with_one(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((len(x), 1))], 1)


def _fit(x: np.ndarray, labels: np.ndarray, values: int) -> np.ndarray:
    """Weights [F + 1, values] of multinomial logistic regression."""
    from scipy.optimize import minimize

    x, right = _with_one(x.astype(np.float64)), np.eye(values)[labels]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(-1, values)
        logits = x @ w
        log_p = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
        value = -(right * log_p).sum() / len(x) + DECAY / 2 * np.square(w).sum()
        return value, (x.T @ (np.exp(log_p) - right) / len(x) + DECAY * w).ravel()

    return minimize(loss, np.zeros(x.shape[1] * values), jac=True, method="L-BFGS-B").x.reshape(-1, values)
