"""DPO's loss of a pair (arXiv 2305.18290), from log-probabilities of its captions.

A caption's log-ratio is log π(y) - log π_ref(y), and Δ that of the chosen caption less the mean of those of the
rejected ones: of two of them each counts half, as AVEm-DPO has it (arXiv 2602.07054). Its text prior, what a caption's
log-probability is without media, counts against a caption: m = βΔ - γ (log π(y_w | text) - mean log π(y_l | text)). It
has no gradient.

    sigmoid        -log σ(m)
    sigmoid_norm   the same, with log-ratios a token
    robust         the same, where a share ε of the pairs is the wrong way round (arXiv 2403.00409)
    hinge          max(0, 1 - m) (SLiC, arXiv 2305.10425)
    ipo            (Δ - 1 / 2β)², Δ of log-ratios a token (arXiv 2310.12036)
"""

import jax
import jax.numpy as jnp
from flax import struct

from emojax.config import Dpo
from emojax.types import Array


@struct.dataclass
class PairScores:
    """Of the captions of pairs, the chosen one first; 0 where there are fewer."""

    logp: Array  # f32[B M] log-probability of a caption under the policy
    reference: Array  # f32[B M] and under the reference policy
    prior: Array | None  # f32[B M] and under the policy without media; None: it is not asked for
    tokens: Array  # f32[B M]


def log_ratios(scores: PairScores) -> Array:
    """f32[B M]"""
    return scores.logp - scores.reference


def apart(x: Array, scores: PairScores) -> Array:
    """Values f32[B M] of the chosen captions less the mean of those of the rejected ones, f32[B]."""
    return x[:, 0] - of_rejected(x, scores)


def of_rejected(x: Array, scores: PairScores) -> Array:
    """Their mean in each pair, f32[B], of values f32[B M]."""
    there = (scores.tokens[:, 1:] > 0).astype(x.dtype)
    return (there * x[:, 1:]).sum(-1) / jnp.maximum(there.sum(-1), 1)


def preference_loss(scores: PairScores, dpo: Dpo) -> Array:
    """Losses of pairs, f32[B].

    >>> one = jnp.zeros((1, 2))
    >>> round(float(preference_loss(PairScores(one, one, None, one + 3), Dpo())[0]), 4)  # log 2: nothing is preferred
    0.6931
    """
    ratios = log_ratios(scores)
    if dpo.loss in ("sigmoid_norm", "ipo"):
        ratios = ratios / jnp.maximum(scores.tokens, 1)
    delta = apart(ratios, scores)
    margin = dpo.beta * delta
    if scores.prior is not None:
        margin -= dpo.text_prior * jax.lax.stop_gradient(apart(scores.prior, scores))
    match dpo.loss:
        case "sigmoid" | "sigmoid_norm":
            return -jax.nn.log_sigmoid(margin)
        case "robust":
            wrong = dpo.label_smoothing
            right = (1 - wrong) * -jax.nn.log_sigmoid(margin) - wrong * -jax.nn.log_sigmoid(-margin)
            return right / (1 - 2 * wrong)
        case "hinge":
            return jnp.maximum(1 - margin, 0)
        case "ipo":
            return jnp.square(delta - 1 / (2 * dpo.beta))
