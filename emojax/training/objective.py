"""The loss of a token: policy gradient, divergence from the reference policy, entropy bonus.

    grpo, dapo, dr_grpo, bnpo   -min(ρA, clip(ρ)A), ρ = π/π_old: they differ in their means (token_weights.py)
    gspo, gspo_token            the same with one ratio a caption, exp(mean log ρ) (arXiv 2507.18071)
    cispo                       -sg(clip(ρ)) A log π (arXiv 2506.13585)
    reinforce                   -A log π

"gspo" and "gspo_token" have one gradient where all tokens of a caption count alike; where only some do (`uncertain`),
those of a caption share its ratio's gradient in the first and keep their own in the second.
"""

import jax
import jax.numpy as jnp
from flax import struct

from emojax.config import Grpo
from emojax.training.divergence import divergence
from emojax.training.tokens import TokenScores
from emojax.types import Array

BY_CAPTION = ("gspo", "gspo_token")  # losses with one ratio a caption


@struct.dataclass
class Given:
    """What the loss of a token depends on besides its scores, f32[B G T] each."""

    advantage: Array
    weight: Array  # of the policy gradient
    pull: Array | None  # of the divergence; None: it is no part of the loss
    bonus: Array | None  # of the entropy; None: likewise
    old: Array | None  # log-probability when the token was drawn; None: the policy still is the one that drew it
    reference: Array | None  # log-probability under the reference policy; None: it is read beside the policy's
    caption: Array | None  # log of the caption's ratio, where the loss has one


def objective(scores: TokenScores, given: Given, grpo: Grpo) -> Array:
    """Losses of tokens, which sum to the loss. They have gradients for log-probability, entropy and divergence."""
    # off the weights policies may lie far apart: an exponential that overflows is NaN at weight 0, too
    counts = given.weight != 0 if given.pull is None else (given.weight != 0) | (given.pull != 0)

    def there(x: Array | None) -> Array:
        return jnp.zeros_like(given.weight) if x is None else jnp.where(counts, x, 0)

    logp = there(scores.logp)
    old = jax.lax.stop_gradient(logp) if given.old is None else there(given.old)
    loss = given.weight * surrogate(logp, old, given.advantage, grpo, given.caption)
    if given.pull is not None:
        reference = there(scores.reference if given.reference is None else given.reference)
        loss += given.pull * divergence(logp, reference, scores.divergence, grpo)
    if given.bonus is not None:
        loss -= given.bonus * scores.entropy
    return loss


def surrogate(logp: Array, old: Array, advantage: Array, grpo: Grpo, caption: Array | None = None) -> Array:
    """The policy gradient's loss of tokens, f32[...], as the table above has it.

    With `clip_dual` = c it is at most -cA where A < 0 (arXiv 1912.09729).

    Args:
      caption: log of the caption's ratio, at each of its tokens.
    """
    if grpo.loss == "reinforce":
        return -advantage * logp
    away = logp - old
    if caption is not None:  # its value, and the gradient of each token's log-probability
        away = jax.lax.stop_gradient(caption) + logp - jax.lax.stop_gradient(logp)
    ratio = jnp.exp(away)
    bounded = jnp.clip(ratio, 1 - grpo.clip_low, 1 + grpo.clip_high)
    if grpo.loss == "cispo":
        return -jax.lax.stop_gradient(bounded) * advantage * logp
    gain = jnp.minimum(ratio * advantage, bounded * advantage)
    if grpo.clip_dual:
        gain = jnp.where(advantage < 0, jnp.maximum(gain, grpo.clip_dual * advantage), gain)
    return -gain


def caption_ratio(logp: Array, old: Array, kept: Array) -> Array:
    """Log of a caption's ratio, mean log ρ over its tokens, at each of them: f32[B G T]."""
    n = jnp.maximum(kept.sum(-1, keepdims=True), 1).astype(logp.dtype)
    mean = jnp.where(kept, logp - old, 0).sum(-1, keepdims=True) / n
    return jnp.broadcast_to(mean, logp.shape)
