"""What is logged of each Emo-GRPO step: sums over whole-batch arrays, each divided once by its own count."""

import jax
import jax.numpy as jnp

from emojax.config import Config, Grpo
from emojax.rewards.combine import SAME
from emojax.training.divergence import divergence
from emojax.training.objective import BY_CAPTION, caption_ratio
from emojax.training.roll_out import Rolled
from emojax.training.token_weights import kept
from emojax.training.tokens import TokenScores
from emojax.types import Array, Rollout


def policy_metrics(
    samples: Rollout, first: TokenScores, last: TokenScores, advantage: Array, grpo: Grpo
) -> dict[str, Array]:
    """Metrics of the update.

    Args:
      advantage: f32[B G]
      first, last: scores of the samples before the first update, and in the last pass over them.
    Returns:
      kl (nats a token; not where beta is 0), ratio and clip_fraction of the last pass (tokens, or tokens of captions,
      whose ratio has left the range on the side that their advantage pushes it to; they give no gradient, or in "cispo"
      a bounded one); entropy (nats a token) of the policy that sampled; logp_gap, the largest difference between a
      log-probability while sampling and in the first reading.
    """
    trained, a = kept(samples.mask, samples.ended, grpo), advantage[..., None]
    by_caption = grpo.loss in BY_CAPTION
    ratio = jnp.exp(caption_ratio(last.logp, first.logp, trained) if by_caption else last.logp - first.logp)
    clipped = ((a < 0) & (ratio < 1 - grpo.clip_low)) | ((a > 0) & (ratio > 1 + grpo.clip_high))
    metrics = {
        "entropy": _mean(first.entropy, samples.mask),
        "ratio": _mean(ratio, trained),
        "clip_fraction": _mean(clipped.astype(jnp.float32), trained),
        "logp_gap": jnp.where(samples.mask, jnp.abs(samples.logp - first.logp), 0).max(),
    }
    if grpo.beta:
        told = first if grpo.kl_in == "reward" else last
        assert told.reference is not None, "where there is beta there is a reference policy"
        metrics["kl"] = _mean(divergence(told.logp, told.reference, told.divergence, grpo), samples.mask)
    return metrics


def rollout_metrics(every: Rolled, learnt: Rolled, cfg: Config) -> dict[str, Array]:
    """Metrics of the rollout: reward and its parts, groups whose rewards do not differ, the captions' wording; of all
    that was rolled out, and flat_learnt of what is learnt from.

    length counts tokens with the end token; vocabulary counts distinct tokens of all samples; distinct2 is the share of
    distinct pairs of neighbours among all pairs.
    """
    samples, known = every.samples, jnp.isfinite(every.reward)
    mean = _mean(every.reward, known)
    metrics = {"reward": mean, "reward_std": jnp.sqrt(_mean(jnp.square(every.reward - mean), known))}
    for name, part in every.parts.items():
        metrics[f"reward_{name}"] = _mean(part, jnp.isfinite(part))
    if every.greedy is not None:
        metrics["reward_of_greedy"] = _mean(every.greedy, jnp.isfinite(every.greedy))
    seen = jnp.zeros(cfg.model.decoder.vocab, bool).at[samples.ids].max(samples.mask)
    metrics |= {
        "flat_groups": (every.spread() < SAME).mean(),
        "length": samples.mask.sum(-1).mean(),
        "truncated": (~samples.ended).mean(),
        "vocabulary": seen.sum().astype(jnp.float32),
        "distinct2": jnp.divide(*distinct_pairs(samples.ids, samples.mask)),
    }
    return metrics | ({"flat_learnt": (learnt.spread() < SAME).mean()} if cfg.grpo.oversample > 1 else {})


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
