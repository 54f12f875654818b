"""Advantages: how much better a caption is than what it is compared with."""

import jax.numpy as jnp

from emojax.config import Grpo
from emojax.rewards.combine import DELTA, SAME, centred
from emojax.types import Array


def advantages(reward: Array, grpo: Grpo, greedy: Array | None = None) -> Array:
    """A_g = (R_g - baseline) / (deviation + δ), δ = 1e-4, of each clip's captions.

    The baseline is the group's mean (GRPO, arXiv 2402.03300, §4.1.2), the mean of the group's other captions (leave one
    out, arXiv 2402.14740) or the reward of the greedy caption (self-critical, arXiv 1612.00563). The deviation is that
    of the group; that of all rewards of the batch, clips that differ in their means among them, as TRL has it; or none.

    A group whose rewards do not differ (deviation < 1e-6) has advantage zero, but for the greedy baseline, from which
    all of them may differ. A reward that is NaN means "not scorable": it counts neither in a mean nor in a deviation,
    and its caption has advantage zero; a clip whose greedy caption cannot be scored has no other.

    Args:
      reward: f32[B G]
      greedy: f32[B], where the baseline asks for it.
    Returns:
      f32[B G]

    >>> reward = jnp.array([[0.0, 1.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]])
    >>> advantages(reward, Grpo(scale="none")).tolist()
    [[-0.5, 0.5, -0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]
    """
    sample = grpo.deviation == "sample"
    apart, deviation = centred(reward, sample)
    silent = deviation < SAME
    if grpo.baseline == "leave_one_out":
        n = jnp.isfinite(reward).sum(-1, keepdims=True).astype(reward.dtype)
        apart = apart * n / jnp.maximum(n - 1, 1)
    elif grpo.baseline == "greedy":
        assert greedy is not None, "the rollout has greedy captions where they are compared with"
        apart = jnp.nan_to_num(reward - greedy[:, None], nan=0, posinf=0, neginf=0)
        silent = silent & (grpo.scale == "group")
    if grpo.scale == "group":
        apart = apart / (deviation + DELTA)
    elif grpo.scale == "batch":
        apart = apart / (centred(reward.ravel(), sample)[1][0] + DELTA)
    return jnp.where(silent, 0, apart)
