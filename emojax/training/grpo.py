"""Emo-GRPO (MECap-R1, arXiv 2509.18729; GRPO, arXiv 2402.03300): one step, one program.

Media encoders, prefill, group rollout, re-tokenising, reward model, advantages, KL-regularised policy gradient and
optimizer, in the order in which they stand below. The clip is encoded once and its prefix prefilled once; the G samples
share its keys and values in the rollout, and again in the update, which runs the prefix once more with gradients.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emojax.config import Config, Grpo
from emojax.config.parts import read_all
from emojax.decoder import lm
from emojax.decoder.captioner import Params, cast, cast_trained, matmul_precision, read, sample
from emojax.decoder.logits import restricts
from emojax.encoders import media
from emojax.parallel import sharding
from emojax.param import merge
from emojax.rewards.combine import standardized
from emojax.training.losses import advantages, policy_loss, token_weights
from emojax.training.measure import policy_metrics, sample_metrics
from emojax.training.optim import accumulate, update
from emojax.training.tokens import Read, Rule, TokenScores, token_loss, token_scores
from emojax.types import Array, Batch, Metrics, Prefix, Rollout, Samples, TrainState, Tree

RewardFunction = Callable[[Tree, Array, Array, Any], tuple[Array, dict[str, Array]]]
"""(frozen.reward, ids i32[B G T], mask bool[B G T], References) -> reward f32[B G] and its parts by name; traceable."""


@struct.dataclass
class Frozen:
    """What Emo-GRPO reads and does not train. Arguments of the program, never constants in it."""

    encoders: media.Encoders
    reference: lm.Lm  # the policy of the cold start: it sees the same media; where beta is 0, what is not trained of it
    reward: Tree  # arrays of the reward function


@struct.dataclass
class Rows:
    """All that the update needs to know of each clip, [B ...]."""

    batch: Batch
    streams: Prefix
    samples: Rollout
    reference: Array | None  # hidden states of the reference policy [B G T D]; None: beta is 0, or `known` has it
    advantage: Array  # f32[B G]
    weight: Array  # f32[B G T]
    old: Array  # f32[B G T] log-probabilities before the first update
    known: Array | None = None  # f32[B G T] log-probabilities under the reference policy, where several updates ask
    # hidden states of the policy that drew the samples [B G T D], where its support counts
    drawn_by: Array | None = None


@struct.dataclass
class Given:
    """What the loss of a token depends on besides its log-probabilities, [B G T]."""

    first: Array  # bool: the policy is still the one that sampled
    old: Array
    known: Array | None
    advantage: Array
    weight: Array


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
            reference=read(cast(frozen.reference, cfg), streams, batch, samples.ids, cfg) if cfg.grpo.beta else None,
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
    grpo, ids, mask = cfg.grpo, rows.samples.ids, rows.samples.mask
    rule = Rule(cfg.model.decoder.vocab, grpo.sampling)
    ref_head: Any = None
    old_head: Any = None
    if rows.reference is not None:
        ref_head = lm.head(cast(reference, cfg))
    if grpo.updates > 1 and restricts(grpo.sampling):  # the support of the rollout, whatever is learnt since
        old = cast(merge(state.params, reference), cfg)
        rows = dataclasses.replace(rows, drawn_by=read(old, rows.streams, rows.batch, ids, cfg))
        old_head = lm.head(old)
    if grpo.updates > 1 and rows.reference is not None:
        there = token_scores(Read(rows.reference, ref_head), ids, mask, rule, drawn_by=_read(rows.drawn_by, old_head))
        rows = dataclasses.replace(rows, reference=None, known=there.logp)

    def one(carry: tuple[TrainState, Array], first: Array) -> tuple[tuple[TrainState, Array], Tree]:
        state, old = carry

        def loss(params: lm.Lm, rows: Rows) -> tuple[Array, TokenScores]:
            p, ids = cast_trained(merge(params, reference), cfg), rows.samples.ids
            hidden = read(p, rows.streams, rows.batch, ids, cfg)
            advantage = jnp.broadcast_to(rows.advantage[..., None], ids.shape)
            given = Given(jnp.broadcast_to(first, ids.shape), rows.old, rows.known, advantage, rows.weight)
            total, scores = token_loss(
                Read(hidden, lm.head(p)), ids, rows.samples.mask, rule, functools.partial(_objective, grpo=grpo), given,
                _read(rows.reference, ref_head), _read(rows.drawn_by, old_head),
            )  # fmt: skip
            return total, scores if rows.known is None else dataclasses.replace(scores, reference=rows.known)

        total, grads, scores = accumulate(loss, state.params, dataclasses.replace(rows, old=old), grpo.micro_batch)
        state, metrics = update(state, grads, total, optimizer)
        old = jnp.where(first, scores.logp, old)
        return (state, old), (scores, {"loss": total, **metrics})

    (state, _), (scores, metrics) = jax.lax.scan(one, (state, rows.old), jnp.arange(grpo.updates) == 0)
    return state, scores, {name: value[-1] for name, value in metrics.items()}


def _read(hidden: Array | None, head: Array | None) -> Read | None:
    return None if hidden is None or head is None else Read(hidden, head)


def _objective(logp: Array, reference: Array | None, given: Given, grpo: Grpo) -> Array:
    # at the first update the policy is still the one that sampled: the ratio is exactly one
    old = jnp.where(given.first, jax.lax.stop_gradient(logp), given.old)
    # off the weights policies may lie far apart: an exponential that overflows is NaN at weight 0, too
    other = given.known if reference is None else reference
    logp, old, other = jax.tree.map(lambda x: jnp.where(given.weight > 0, x, 0), (logp, old, other))
    return policy_loss(logp, old, other, given.advantage, grpo) * given.weight
