"""Log-probabilities, entropies and the policy loss of tokens, without an array over positions and vocabulary."""

import math

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct

from emojax.config import Grpo, Sampling
from emojax.decoder.logits import NEVER, logits, restrict
from emojax.types import Array

CHUNK = 1 << 24  # logits of the positions scored at once, of each policy and over all devices; one position at least
FAR = math.log(10)  # nats from which on k3 grows linearly


@struct.dataclass
class TokenScores:
    """Scores of each token under the distribution that it was drawn from."""

    logp: Array  # f32[B G T]
    entropy: Array  # f32[B G T] of that distribution, nats; without gradient
    reference: Array | None  # f32[B G T] log-probability under the reference policy on the same support; no gradient


def token_scores(
    hidden: Array,
    head: Array,
    ids: Array,
    vocab: int,
    sampling: Sampling,
    reference: tuple[Array, Array] | None = None,
    drawn_by: tuple[Array, Array] | None = None,
) -> TokenScores:
    """Scores `ids` (i32[B G T]) a few positions at a time; the backward pass computes each chunk's logits again.

    Args:
      hidden: [B G T D]
      head: [V D], rounded to the type of `hidden` where it is read; its gradient is summed in its own type.
      vocab: rows of it that are tokens; those after them are padding.
      reference: hidden states and head of the reference policy.
      drawn_by: those of the policy that drew `ids`, whose support the tokens are scored on; None: it is this one.
    """

    def chunk(ids: Array, hidden: Array, ref_hidden: Array | None, old_hidden: Array | None) -> TokenScores:
        support = logits(hidden, head.astype(hidden.dtype), vocab)
        if old_hidden is None or drawn_by is None:
            support = restrict(support, sampling, ids)
        else:
            old = restrict(logits(old_hidden, drawn_by[1], vocab), sampling, ids)
            support = jnp.where(old > NEVER, support / sampling.temperature, NEVER)
        log_z = jax.nn.logsumexp(support, -1, keepdims=True)
        logp = _at(support - log_z, ids)
        fixed = jax.lax.stop_gradient(support - log_z)
        entropy = -(jnp.exp(fixed) * jnp.maximum(fixed, NEVER)).sum(-1)
        if ref_hidden is None or reference is None:
            return TokenScores(logp, entropy, None)
        other = logits(ref_hidden, reference[1], vocab) / sampling.temperature
        other = jnp.where(support > NEVER, other, NEVER)
        return TokenScores(logp, entropy, jax.lax.stop_gradient(_at(other, ids) - jax.nn.logsumexp(other, -1)))

    b, g, t = ids.shape
    most = max(1, CHUNK // (b * g * head.shape[0]))
    n = min(c for c in range(1, t + 1) if t % c == 0 and t // c <= most)
    xs = (ids, hidden, reference and reference[0], drawn_by and drawn_by[0])
    xs = jax.tree.map(lambda x: rearrange(x, "b g (n t) ... -> n b g t ...", n=n), xs)
    _, scores = jax.lax.scan(jax.checkpoint(lambda _, x: (None, chunk(*x))), None, xs)
    return jax.tree.map(lambda x: rearrange(x, "n b g t -> b g (n t)"), scores)


def _at(x: Array, ids: Array) -> Array:
    return jnp.take_along_axis(x, ids[..., None], -1)[..., 0]


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


def policy_loss(logp: Array, old: Array, reference: Array, advantage: Array, grpo: Grpo) -> Array:
    """Per token f32[B G T]: -min(ρA, clip(ρ)A) + β k3, with ρ = π/π_old and k3 = π_ref/π - log(π_ref/π) - 1."""
    ratio = jnp.exp(logp - old)
    a = advantage[..., None]
    gain = jnp.minimum(ratio * a, jnp.clip(ratio, 1 - grpo.clip_low, 1 + grpo.clip_high) * a)
    return grpo.beta * k3(logp, reference) - gain


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
