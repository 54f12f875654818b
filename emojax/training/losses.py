"""Advantages of samples, weights of their tokens, and the policy loss of a token."""

import math

import jax.numpy as jnp

from emojax.config import Grpo
from emojax.types import Array

FAR = math.log(10)  # nats from which on k3 grows linearly


def advantages(reward: Array, grpo: Grpo) -> tuple[Array, Array]:
    """A_g = (R_g - mean R) / (std R + δ) within each clip's group (GRPO, arXiv 2402.03300, §4.1.2).

    The deviation is the population's, over G (TRL and verl divide by G - 1), and δ is 1e-4 as in TRL (verl: 1e-6).

    A group whose rewards do not differ (std < 1e-6) has advantage zero. A reward that is NaN means "not scorable": it
    counts neither in the mean nor in the deviation, and its sample has advantage zero.

    Args:
      reward: f32[B G]
    Returns:
      Advantages f32[B G], and bool[B], True where the group does not differ.

    >>> reward = jnp.array([[0.0, 1.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]])
    >>> advantage, flat = advantages(reward, Grpo(scale="none"))
    >>> advantage[0].tolist(), flat.tolist()
    ([-0.5, 0.5, -0.5, 0.5], [False, True])
    """
    known = jnp.isfinite(reward)
    n = jnp.maximum(known.sum(-1, keepdims=True), 1).astype(reward.dtype)
    centred = jnp.where(known, reward - jnp.where(known, reward, 0).sum(-1, keepdims=True) / n, 0)
    std = jnp.sqrt(jnp.square(centred).sum(-1, keepdims=True) / n)
    flat = std < 1e-6
    scale = std + 1e-4 if grpo.scale == "group" else 1.0
    return jnp.where(flat, 0, centred / scale), flat[:, 0]


def token_weights(mask: Array, ended: Array, grpo: Grpo) -> Array:
    """f32[B G T] that sum to the loss's mean.

    Over samples of means ("grpo"), over tokens ("dapo"), over B·G·T ("dr_grpo"). With `mask_truncated` samples that are
    cut off leave the divisor of the first two, too (TRL divides by all samples); that of "dr_grpo" is fixed.
    Fixed before micro-batches are cut, so sums over micro-batches are the sum over the batch.

    >>> mask = jnp.array([[[True, True, False, False], [True, True, True, True]]])  # two captions: two tokens, four
    >>> ended = jnp.array([[True, True]])
    >>> token_weights(mask, ended, Grpo(loss="grpo"))[0].tolist()  # a caption counts as much as the other
    [[0.25, 0.25, 0.0, 0.0], [0.125, 0.125, 0.125, 0.125]]
    >>> token_weights(mask, ended, Grpo(loss="dr_grpo"))[0].tolist()  # a token counts as much as any other
    [[0.125, 0.125, 0.0, 0.0], [0.125, 0.125, 0.125, 0.125]]
    """
    kept = (mask & ended[..., None] if grpo.mask_truncated else mask).astype(jnp.float32)
    if grpo.loss == "dr_grpo":
        return kept / math.prod(mask.shape)
    if grpo.loss == "dapo":
        return kept / jnp.maximum(kept.sum(), 1)
    samples = jnp.maximum(kept.any(-1).sum(), 1).astype(jnp.float32)
    return kept / jnp.maximum(kept.sum(-1, keepdims=True), 1) / samples


def policy_loss(logp: Array, old: Array, reference: Array | None, advantage: Array, grpo: Grpo) -> Array:
    """Per token f32[...]: -min(ρA, clip(ρ)A) + β k3, with ρ = π/π_old and k3 = π_ref/π - log(π_ref/π) - 1.

    `reference` None: β is 0.
    """
    ratio = jnp.exp(logp - old)
    gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - grpo.clip_low, 1 + grpo.clip_high) * advantage)
    return -gain if reference is None else grpo.beta * k3(logp, reference) - gain


def k3(logp: Array, reference: Array) -> Array:
    """Estimator e^g - g - 1, g = log(π_ref/π), of KL(π ‖ π_ref) from a token drawn from π: never negative (Schulman
    2020, "Approximating KL Divergence").

    As a loss its gradient, (1 - e^g) ∇ log π, is on average that of the other divergence, KL(π_ref ‖ π). Beyond FAR,
    where the reference is ten times as sure of the token, it goes on along its tangent: a token that is far away pulls
    with nine times the gradient of log π and no more, where e^g would drown the rest of the batch.

    >>> [round(float(k3(jnp.float32(0), jnp.float32(gap))), 2) for gap in (0, 1, 12)]  # the last was 162741.79
    [0.0, 0.72, 93.97]
    """
    gap = reference - logp
    near = jnp.minimum(gap, FAR)
    return jnp.expm1(near) - near + math.expm1(FAR) * (gap - near)
