"""What is logged of each Emo-GRPO step: sums over whole-batch arrays, each divided once by its own count."""

import jax
import jax.numpy as jnp

from emojax.config import Grpo
from emojax.training.losses import k3
from emojax.training.tokens import TokenScores
from emojax.types import Array, Rollout


def policy_metrics(
    samples: Rollout, scores: TokenScores, advantage: Array, weight: Array, grpo: Grpo
) -> dict[str, Array]:
    """Metrics of the update.

    Args:
      advantage: f32[B G]
      scores: of each update, [updates B G T].
      weight: f32[B G T], zero where a token has no part in the loss.
    Returns:
      kl (nats a token; not where beta is 0), ratio and clip_fraction (tokens whose ratio has left the range on the side
      that their advantage pushes it to, so that they give no gradient) of the last update; entropy (nats a token) of
      the policy that sampled; logp_gap, the largest difference between a log-probability while sampling and in the
      first update.
    """
    first = jax.tree.map(lambda x: x[0], scores)
    last = jax.tree.map(lambda x: x[-1], scores)
    trained = weight > 0
    ratio = jnp.exp(last.logp - first.logp)
    a = advantage[..., None]
    clipped = ((a < 0) & (ratio < 1 - grpo.clip_low)) | ((a > 0) & (ratio > 1 + grpo.clip_high))
    kl = {} if last.reference is None else {"kl": _mean(k3(last.logp, last.reference), samples.mask)}
    return kl | {
        "entropy": _mean(first.entropy, samples.mask),
        "ratio": _mean(ratio, trained),
        "clip_fraction": _mean(clipped.astype(jnp.float32), trained),
        "logp_gap": jnp.where(samples.mask, jnp.abs(samples.logp - first.logp), 0).max(),
    }


def sample_metrics(
    samples: Rollout, reward: Array, parts: dict[str, Array], flat: Array, vocab: int
) -> dict[str, Array]:
    """Metrics of the rollout: reward [B G] and its parts, groups without variance (flat, bool[B]), the captions'
    wording.

    length counts tokens with the end token; vocabulary counts distinct tokens of all samples; distinct2 is the share of
    distinct pairs of neighbours among all pairs.
    """
    known = jnp.isfinite(reward)
    mean = _mean(reward, known)
    metrics = {"reward": mean, "reward_std": jnp.sqrt(_mean(jnp.square(reward - mean), known))}
    for name, part in parts.items():
        metrics[f"reward_{name}"] = _mean(part, jnp.isfinite(part))
    seen = jnp.zeros(vocab, bool).at[samples.ids].max(samples.mask)
    return metrics | {
        "flat_groups": flat.mean(),
        "length": samples.mask.sum(-1).mean(),
        "truncated": (~samples.ended).mean(),
        "vocabulary": seen.sum().astype(jnp.float32),
        "distinct2": jnp.divide(*distinct_pairs(samples.ids, samples.mask)),
    }


def _mean(x: Array, mask: Array) -> Array:
    """NaN of nothing: the log leaves it out."""
    return jnp.where(mask, x, 0).sum() / mask.sum().astype(jnp.float32)


def distinct_pairs(ids: Array, mask: Array) -> tuple[Array, Array]:
    """How many pairs of neighbours there are, and at least one: distinct ones, all. f32[] each.

    They are sorted, so that equal pairs stand together; pairs off the mask stand last.
    """
    both = (mask[..., 1:] & mask[..., :-1]).ravel()
    off, a, b = jax.lax.sort((~both, ids[..., :-1].ravel(), ids[..., 1:].ravel()), num_keys=3)
    new = jnp.append(True, (a[1:] != a[:-1]) | (b[1:] != b[:-1])) & ~off
    return new.sum().astype(jnp.float32), jnp.maximum(both.sum(), 1).astype(jnp.float32)
