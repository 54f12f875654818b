"""Emo-GRPO (MECap-R1, arXiv 2509.18729; GRPO, arXiv 2402.03300): one step, one program.

Media encoders, prefill, group rollout, re-tokenising, reward model, advantages, KL-regularised policy gradient and
optimizer, in the order in which they stand below. The clip is encoded once and its prefix prefilled once; the G samples
share its keys and values in the rollout, and again in the update, which runs the prefix once more with gradients.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emojax.config import Config
from emojax.config.parts import read_all
from emojax.decoder import lm
from emojax.decoder.captioner import Params, cast, cast_trained, matmul_precision, read, sample
from emojax.decoder.logits import restricts
from emojax.encoders import media
from emojax.parallel import sharding
from emojax.param import merge
from emojax.rewards.combine import standardized
from emojax.training.losses import TokenScores, advantages, policy_loss, token_scores, token_weights
from emojax.training.measure import policy_metrics, sample_metrics
from emojax.training.optim import accumulate, update
from emojax.types import Array, Batch, Metrics, Prefix, Rollout, Samples, TrainState, Tree

RewardFunction = Callable[[Tree, Array, Array, Any], tuple[Array, dict[str, Array]]]
"""(frozen.reward, ids i32[B G T], mask bool[B G T], References) -> reward f32[B G] and its parts by name; traceable."""


@struct.dataclass
class Frozen:
    """What Emo-GRPO reads and does not train. Arguments of the program, never constants in it."""

    encoders: media.Encoders
    reference: lm.Lm  # the policy of the cold start: it sees the same media
    reward: Tree  # arrays of the reward function


@struct.dataclass
class Rows:
    """All that the update needs to know of each clip, [B ...]."""

    batch: Batch
    streams: Prefix
    samples: Rollout
    reference: Array  # hidden states of the reference policy [B G T D]
    advantage: Array  # f32[B G]
    weight: Array  # f32[B G T]
    old: Array  # f32[B G T] log-probabilities before the first update
    drawn_by: Array | None = (
        None  # hidden states of the policy that drew the samples [B G T D], where its support counts
    )


def grpo_step(
    state: TrainState,
    frozen: Frozen,
    batch: Batch,
    key: Array,
    *,
    cfg: Config,
    optimizer: optax.GradientTransformation,
    reward: RewardFunction,
) -> tuple[TrainState, Metrics]:
    """One rollout and `cfg.grpo.updates` optimizer updates on it.

    Args:
      state: its `params` are the decoder, None where a weight is frozen: that is the reference policy's own.
      batch: with `references`.
      reward: what scores the samples, such as `rewards.score` of a RewardStatic.
      key: of the run; step, clip, sample and position are folded in.
    Returns:
      The next state and metrics: loss, grad_norm, skipped and those of `measure`, all f32[]; and `samples`.
    """
    with matmul_precision(cfg):
        policy = merge(state.params, frozen.reference)
        captioner = Params(frozen.encoders, policy)
        key = jax.random.fold_in(key, state.step)
        streams, samples = sample(captioner, batch, key, cfg, group=cfg.grpo.group, sampling=cfg.grpo.sampling)
        with jax.default_matmul_precision("float32"):  # groups are scaled by deviations as small as rounding
            score, parts = reward(frozen.reward, samples.ids, samples.mask, batch.references)
        each = standardized(parts, read_all(cfg.reward.parts)) if cfg.grpo.scale == "parts" else score
        advantage, flat = advantages(each, cfg.grpo)
        rows = Rows(
            batch=dataclasses.replace(batch, references=None),
            streams=streams,
            samples=samples,
            reference=read(cast(frozen.reference, cfg), streams, batch, samples.ids, cfg),
            advantage=advantage,
            weight=token_weights(samples.mask, samples.ended, cfg.grpo),
            old=samples.logp,
        )
        state, scores, metrics = updates(state, frozen.reference, rows, cfg, optimizer)
        metrics |= policy_metrics(samples, scores, advantage, rows.weight, cfg.grpo)
        metrics |= sample_metrics(samples, score, parts, flat, cfg.model.decoder.vocab)
        drawn = Samples(clip_id=batch.clip_id, ids=samples.ids, mask=samples.mask, reward=score)
        metrics["samples"] = sharding.constrain(drawn)  # they stay where they are: a log reads one clip of them
        return dataclasses.replace(state, step=state.step + 1), metrics


def updates(
    state: TrainState, reference: lm.Lm, rows: Rows, cfg: Config, optimizer: optax.GradientTransformation
) -> tuple[TrainState, TokenScores, Metrics]:
    """`cfg.grpo.updates` optimizer updates on one rollout. Returns the scores and metrics of each, [updates ...]."""
    ref_head = lm.head(cast(reference, cfg))
    drawn_by = None
    if cfg.grpo.updates > 1 and restricts(cfg.grpo.sampling):  # the support of the rollout, whatever is learnt since
        old = cast(merge(state.params, reference), cfg)
        rows = dataclasses.replace(rows, drawn_by=read(old, rows.streams, rows.batch, rows.samples.ids, cfg))
        drawn_by = lm.head(old)

    def one(carry: tuple[TrainState, Array], first: Array) -> tuple[tuple[TrainState, Array], Tree]:
        state, old = carry

        def loss(params: lm.Lm, rows: Rows) -> tuple[Array, TokenScores]:
            p = cast_trained(merge(params, reference), cfg)
            hidden = read(p, rows.streams, rows.batch, rows.samples.ids, cfg)
            vocab, other = cfg.model.decoder.vocab, (rows.reference, ref_head)
            drew = None if drawn_by is None or rows.drawn_by is None else (rows.drawn_by, drawn_by)
            scores = token_scores(hidden, lm.head(p), rows.samples.ids, vocab, cfg.grpo.sampling, other, drew)
            assert scores.reference is not None, "the reference was given"
            # at the first update the policy is still the one that sampled: the ratio is exactly one
            old = jnp.where(first, jax.lax.stop_gradient(scores.logp), rows.old)
            # off the captions too policies may lie far apart: an exponential that overflows is NaN at weight 0, too
            logp, old, other = (jnp.where(rows.weight > 0, x, 0) for x in (scores.logp, old, scores.reference))
            return (policy_loss(logp, old, other, rows.advantage, cfg.grpo) * rows.weight).sum(), scores

        total, grads, scores = accumulate(loss, state.params, dataclasses.replace(rows, old=old), cfg.grpo.micro_batch)
        state, metrics = update(state, grads, total, optimizer)
        old = jnp.where(first, scores.logp, old)
        return (state, old), (scores, {"loss": total, **metrics})

    (state, _), (scores, metrics) = jax.lax.scan(one, (state, rows.old), jnp.arange(cfg.grpo.updates) == 0)
    return state, scores, {name: value[-1] for name, value in metrics.items()}
