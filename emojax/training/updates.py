"""Optimizer updates on one rollout: passes over it, mini-batches, micro-batches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emojax.config import Config, Grpo
from emojax.decoder import lm
from emojax.decoder.captioner import Params, cast, cast_trained, compute_dtype, learns_media, over, read
from emojax.decoder.logits import restricts, sharpened
from emojax.encoders import media
from emojax.training.controls import Weights
from emojax.training.objective import BY_CAPTION, Given, caption_ratio, objective
from emojax.training.optim import update
from emojax.training.parts import accumulate, cut, in_parts, together
from emojax.training.roll_out import Rolled
from emojax.training.token_weights import kept, narrowed, token_weights, uncertain
from emojax.training.tokens import Read, Rule, TokenScores, token_loss, token_scores
from emojax.types import Array, Batch, Metrics, Prefix, Rollout, TrainState, Tree


@struct.dataclass
class Before:
    """What is known of samples before the first update."""

    scores: TokenScores
    hidden: Array | None  # of the policy that drew them [B G T D], where its support counts


@struct.dataclass
class Rows:
    """All that an update needs to know of each clip, [B ...]."""

    batch: Batch
    streams: Prefix
    samples: Rollout
    advantage: Array  # f32[B G]
    before: Before | None = None  # where `grpo.looks_back`


def look_back(
    policy: Params, reference: Params, rolled: Rolled, weights: Weights, cfg: Config, anew: bool = False
) -> Before:
    """Scores of the samples under the policy that drew them and, where there is one, the reference policy,
    `rollout_batch` clips at once.

    Args:
      policy, reference: as they are kept.
      anew: the reference policy sees the media with encoders of its own.
    """
    grpo, own, other = cfg.grpo, cast(policy, cfg).decoder, cast(reference, cfg)
    rule = Rule(cfg.model.decoder.vocab, grpo.sampling, divergence=grpo.beta > 0 and grpo.kl == "exact")
    held = grpo.off_policy and restricts(grpo.sampling)

    def some(rows: Rolled) -> Before:
        ids = rows.samples.ids
        hidden = sharpened(read(own, rows.streams, rows.batch, ids, cfg), weights.sharpness)
        there = _reader(other, rows, cfg, anew, weights.sharpness) if grpo.beta else None
        scores = token_scores(Read(hidden, lm.head(own)), ids, rows.samples.mask, rule, there)
        return Before(scores, hidden if held else None)

    return in_parts(some, rolled, grpo.rollout_batch)


def updates(
    state: TrainState,
    reference: Params,
    rows: Rows,
    weights: Weights,
    cfg: Config,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, TokenScores, Metrics]:
    """`cfg.grpo.updates` passes over one rollout, each of `cfg.grpo.parts` optimizer updates.

    Args:
      reference: the reference policy; where there is none, what is not trained of the policy.
    Returns:
      The state; scores of the last pass [B G T], each as its update found it; metrics of the last update.
    """
    grpo = cfg.grpo
    drew = lm.head(cast(over(state.params, reference).decoder, cfg)) if grpo.off_policy else None
    other, sharpness = cast(reference, cfg), weights.sharpness
    loss = functools.partial(_loss, fixed=reference, other=other, drew=drew, sharpness=sharpness, cfg=cfg)
    parts = cut(rows, grpo.batch // grpo.parts)

    def one(state: TrainState, at: Array) -> tuple[TrainState, Tree]:
        some = rows if grpo.parts == 1 else jax.tree.map(lambda x: x[at], parts)
        given = (some, weigh(some, weights, grpo))
        total, grads, scores = accumulate(loss, state.params, given, grpo.micro_batch)
        state, metrics = update(state, grads, total, optimizer)
        return state, (scores, {"loss": total, **metrics})

    state, (scores, metrics) = jax.lax.scan(one, state, jnp.tile(jnp.arange(grpo.parts), grpo.updates))
    last = together(jax.tree.map(lambda x: x[-grpo.parts :], scores))
    return state, last, {name: value[-1] for name, value in metrics.items()}


def weigh(rows: Rows, weights: Weights, grpo: Grpo) -> Given:
    """What the loss of each token is given, of the clips of one optimizer update."""
    there, known = kept(rows.samples.mask, rows.samples.ended, grpo), rows.before and rows.before.scores
    clips = there.shape[0]
    each = token_weights(there, grpo, clips // (grpo.micro_batch or clips))
    counted = uncertain(known.entropy, there, grpo.uncertain) if known and grpo.uncertain < 1 else there
    evenly = counted.astype(jnp.float32) / jnp.maximum(counted.sum(), 1).astype(jnp.float32)
    return Given(
        advantage=jnp.broadcast_to(rows.advantage[..., None], there.shape),
        weight=narrowed(each, counted, grpo),
        pull=weights.beta * each if grpo.beta and grpo.kl_in == "loss" else None,
        bonus=weights.entropy * evenly if grpo.entropy_weight else None,
        old=known.logp if known and grpo.off_policy else None,
        reference=known.reference if known and grpo.kl != "exact" else None,
        caption=None,
    )


def _loss(
    params: Tree,
    given: tuple[Rows, Given],
    *,
    fixed: Params,
    other: Params,
    drew: Array | None,
    sharpness: Array | None,
    cfg: Config,
) -> tuple[Array, TokenScores]:
    """The loss of some clips, and their scores.

    Args:
      fixed: of the policy, what is not trained.
      other: the reference policy, cast.
      drew: head of the policy that drew the samples, cast.
      sharpness: of `Weights`.
    """
    (rows, about), grpo = given, cfg.grpo
    anew, ids, mask, p = learns_media(params), rows.samples.ids, rows.samples.mask, over(params, fixed)
    own = _reader(Params(cast(p.encoders, cfg), cast_trained(p.decoder, cfg)), rows, cfg, anew, sharpness)
    there = drawn_by = None
    if about.pull is not None and about.reference is None:
        there = _reader(other, rows, cfg, anew, sharpness)
    if rows.before is not None and rows.before.hidden is not None and drew is not None:
        drawn_by = Read(rows.before.hidden, drew)
    vocab, exact = cfg.model.decoder.vocab, there is not None and grpo.kl == "exact"
    rule = Rule(vocab, grpo.sampling, entropy=about.bonus is not None, divergence=exact)
    if grpo.loss in BY_CAPTION and about.old is not None:
        now = token_scores(jax.lax.stop_gradient(own), ids, mask, rule, drawn_by=drawn_by)
        ratio = caption_ratio(now.logp, about.old, kept(mask, rows.samples.ended, grpo))
        about = dataclasses.replace(about, caption=ratio)
    each = functools.partial(objective, grpo=grpo)
    total, scores = token_loss(own, ids, mask, rule, each, about, there, drawn_by)
    return total, scores if about.reference is None else dataclasses.replace(scores, reference=about.reference)


def _reader(p: Params, rows: Rows | Rolled, cfg: Config, anew: bool, sharpness: Array | None) -> Read:
    """What a captioner, cast, makes of the samples: of media that it encodes, or of streams that are there."""
    streams = media.encode(p.encoders, rows.batch, cfg, compute_dtype(cfg)) if anew else rows.streams
    hidden = read(p.decoder, streams, rows.batch, rows.samples.ids, cfg)
    return Read(sharpened(hidden, sharpness), lm.head(p.decoder))
