"""The KL divergence of the policy from the reference policy at a token: estimators of it, and their gradients.

With g = log π_ref - log π of a token drawn from π (Schulman 2020, "Approximating KL Divergence"):

    k1 = -g                   right on average; its gradient, that of log π, is zero on average
    k2 = g² / 2               its gradient, -g ∇ log π, is on average that of KL(π ‖ π_ref)
    k3 = e^g - g - 1          right on average, never negative; its gradient is on average that of KL(π_ref ‖ π)
    exact                     Σ π (log π - log π_ref) over the vocabulary, and its gradient
"""

import math

import jax
import jax.numpy as jnp

from emojax.config import Grpo
from emojax.types import Array

FAR = math.log(10)  # nats from which on k3 grows linearly


def divergence(logp: Array, reference: Array, exact: Array | None, grpo: Grpo) -> Array:
    """Nats f32[...] by which a token's distribution lies off the reference policy's.

    With `kl_gradient="true"` the value of the estimator and the gradient of k2, that of KL(π ‖ π_ref). Beyond
    `kl_clamp` it is constant, as in verl.

    Args:
      exact: over the vocabulary, where `grpo.kl` asks for it.
    """
    gap = reference - logp
    k2 = jnp.square(gap) / 2
    match grpo.kl:
        case "k1":
            value = -gap
        case "k2":
            value = k2
        case "k3":
            value = k3(logp, reference)
        case "exact":
            assert exact is not None, "chunks of tokens tell it where they are asked to"
            value = exact
    if grpo.kl_gradient == "true":
        value = jax.lax.stop_gradient(value - k2) + k2
    return jnp.clip(value, -grpo.kl_clamp, grpo.kl_clamp) if grpo.kl_clamp else value


def k3(logp: Array, reference: Array) -> Array:
    """e^g - g - 1. Beyond FAR, where the reference is ten times as sure of the token, it goes on along its tangent: a
    token that is far away pulls with nine times the gradient of log π and no more, where e^g would drown the rest of
    the batch.

    >>> [round(float(k3(jnp.float32(0), jnp.float32(gap))), 2) for gap in (0, 1, 12)]  # the last was 162741.79
    [0.0, 0.72, 93.97]
    """
    gap = reference - logp
    near = jnp.minimum(gap, FAR)
    return jnp.expm1(near) - near + math.expm1(FAR) * (gap - near)
