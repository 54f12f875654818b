"""The distribution that tokens are drawn from is the field's: temperature, then top-k, top-p, min-p."""

import importlib.util

import jax
import numpy as np
import pytest

from emojax.config import Sampling
from emojax.decoder.logits import NEVER, restrict

SAMPLINGS = [
    Sampling(),
    Sampling(temperature=0.6),
    Sampling(top_k=1),
    Sampling(top_k=17),
    Sampling(top_k=10_000),
    Sampling(top_p=0.3),
    Sampling(top_p=0.95),
    Sampling(top_p=1e-6),
    Sampling(min_p=0.05),
    Sampling(temperature=1.7, top_k=23, top_p=0.9, min_p=0.01),
]


def logits() -> np.ndarray:
    """Rows from flat to sharp, far from zero on either side; no two entries of a row tie."""
    r = np.random.default_rng(0)
    sharp = np.array([0.1, 1, 3, 10])[:, None]
    return (r.normal(size=(4, 301)) * sharp + r.normal(size=(4, 1)) * 50).astype(np.float32)


def by_sorting(x: np.ndarray, sampling: Sampling) -> np.ndarray:
    """bool[... V]: the support, one row at a time, in float64."""
    kept = np.zeros(x.shape, bool)
    for row, scores in zip(kept, x.astype(np.float64) / sampling.temperature, strict=True):
        order = np.argsort(-scores)
        order = order[: sampling.top_k] if sampling.top_k else order
        p = np.exp(scores[order] - scores.max())
        p /= p.sum()
        if sampling.top_p < 1:
            order = order[np.cumsum(p) - p < sampling.top_p]  # what stands before it is not yet enough
        row[order[np.exp(scores[order] - scores.max()) >= sampling.min_p]] = True
    return kept


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_support_is_that_of_a_plain_sort(sampling: Sampling) -> None:
    x = logits()
    out, kept = np.asarray(jax.jit(restrict, static_argnums=1)(x, sampling)), by_sorting(x, sampling)
    np.testing.assert_array_equal(out > NEVER, kept)
    np.testing.assert_allclose(out[kept], x[kept] / sampling.temperature, rtol=1e-6)
    assert (np.exp(out[~kept]) == 0).all()


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the warpers of transformers need torch")
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_support_is_that_of_transformers(sampling: Sampling) -> None:
    import torch
    import transformers

    warpers = [transformers.TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_k:
        warpers.append(transformers.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(transformers.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(transformers.MinPLogitsWarper(sampling.min_p))
    x = torch.tensor(logits())
    for warper in warpers:
        x = warper(None, x)
    out = np.asarray(restrict(jax.numpy.asarray(logits()), sampling))
    np.testing.assert_array_equal(out > NEVER, np.isfinite(x.numpy()))
    np.testing.assert_allclose(jax.nn.log_softmax(out)[out > NEVER], torch.log_softmax(x, -1)[out > NEVER], atol=5e-5)


@pytest.mark.parametrize("sampling", [Sampling(top_k=3), Sampling(top_p=0.5), Sampling(min_p=0.9)], ids=str)
def test_a_drawn_token_stays_in_the_support(sampling: Sampling) -> None:
    """It keeps its score, and no other token joins it."""
    x = logits()
    drawn = x.argmin(-1).astype(np.int32)
    out = np.asarray(restrict(x, sampling, drawn))
    np.testing.assert_array_equal(out.argmax(-1), x.argmax(-1))
    np.testing.assert_array_equal(
        np.take_along_axis(out, drawn[:, None], -1), np.take_along_axis(x, drawn[:, None], -1)
    )
    np.testing.assert_array_equal((out > NEVER).sum(-1), by_sorting(x, sampling).sum(-1) + 1)


def test_equal_scores_stay_together() -> None:
    x = np.array([[1, 0, 1, 2, 1, -3]], np.float32)
    assert (np.asarray(restrict(x, Sampling(top_k=2))) > NEVER).tolist() == [[True, False, True, True, True, False]]
