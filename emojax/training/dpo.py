"""DPO: one step, one program. Media encoders, both policies over the captions of pairs, a loss a pair, optimizer.

A clip is encoded once and its prefix read once by each policy: chosen and rejected captions share it, as the samples of
a group do. The gradient of a caption's log-probability is one number a pair, known when all its tokens are scored; then
its tokens are read again, each with that slope.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emojax.config import Config, Sampling
from emojax.decoder import lm
from emojax.decoder.captioner import (
    Params,
    cast,
    cast_trained,
    compute_dtype,
    learns_media,
    matmul_precision,
    over,
    read,
)
from emojax.encoders import media
from emojax.training.optim import update
from emojax.training.parts import accumulate
from emojax.training.preference import PairScores, apart, log_ratios, of_rejected, preference_loss
from emojax.training.tokens import Read, Rule, TokenScores, token_loss, token_scores
from emojax.types import Array, Batch, Metrics, Prefix, TrainState, Tree


@struct.dataclass
class Told:
    """Of a batch's pairs."""

    pairs: PairScores
    entropy: Array  # f32[B] nats, summed over their tokens


def dpo_step(
    state: TrainState,
    frozen: Params,
    batch: Batch,
    key: Array,
    *,
    cfg: Config,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, Metrics]:
    """One optimizer step.

    Args:
      state: its `params` are the decoder or, where more is trained, the captioner, None where a weight is frozen: that
        is the reference policy's own.
      frozen: the reference policy, the captioner that the stage began with.
      batch: of `cfg.dpo.batch` pairs: of each clip's captions the first is chosen, the others are rejected.
      key: of the run; a step draws nothing.
    Returns:
      The next state, and f32[] metrics as TRL names them: loss, rewards/chosen, rewards/rejected, rewards/margins and
      rewards/accuracies (log-ratios times beta), logps/chosen, logps/rejected, entropy (nats a token), grad_norm; and
      skipped, and where the text prior counts text_prior (log-probability without media of the chosen caption, less
      that of the rejected).
    """
    with matmul_precision(cfg):
        loss = functools.partial(_loss, fixed=frozen, other=cast(frozen, cfg), cfg=cfg)
        total, grads, told = accumulate(loss, state.params, batch, cfg.dpo.micro_batch)
        state, metrics = update(state, grads, total, optimizer)
        return dataclasses.replace(state, step=state.step + 1), metrics | {"loss": total} | _metrics(told, cfg)


def _loss(params: Tree, rows: Batch, *, fixed: Params, other: Params, cfg: Config) -> tuple[Array, Told]:
    """The loss of some pairs, and what is told of them.

    Args:
      fixed: of the policy, what is not trained.
      other: the reference policy, cast.
    """
    p, ids, mask = over(params, fixed), rows.caption, rows.caption_mask
    own = Params(cast(p.encoders, cfg), cast_trained(p.decoder, cfg))
    rule = Rule(cfg.model.decoder.vocab, Sampling())
    streams = media.encode(own.encoders, rows, cfg, compute_dtype(cfg))
    seen = media.encode(other.encoders, rows, cfg, compute_dtype(cfg)) if learns_media(params) else streams

    def reader(decoder: lm.Lm, streams: Prefix) -> Read:
        return Read(read(decoder, streams, rows, ids, cfg), lm.head(decoder))

    said = reader(own.decoder, streams)
    scores = token_scores(jax.lax.stop_gradient(said), ids, mask, rule, reader(other.decoder, seen))
    assert scores.reference is not None, "both policies have read them"
    prior = None
    if cfg.dpo.text_prior:
        unseen = jax.lax.stop_gradient(dataclasses.replace(streams, mask=jnp.zeros_like(streams.mask)))
        blind = token_scores(reader(jax.lax.stop_gradient(own.decoder), unseen), ids, mask, rule)
        prior = blind.logp.sum(-1)
    pairs = PairScores(scores.logp.sum(-1), scores.reference.sum(-1), prior, mask.sum(-1).astype(jnp.float32))

    def total(logp: Array) -> Array:
        return preference_loss(dataclasses.replace(pairs, logp=logp), cfg.dpo).sum() / cfg.dpo.batch

    value, slope = jax.value_and_grad(total)(pairs.logp)
    each = jnp.broadcast_to(slope[..., None], mask.shape)
    line, _ = token_loss(said, ids, mask, rule, _along, each)
    return value + line - jax.lax.stop_gradient(line), Told(pairs, scores.entropy.sum((1, 2)))


def _along(scores: TokenScores, slope: Array) -> Array:
    """The loss as it is where log-probabilities move a little: its gradient is the loss's."""
    return slope * scores.logp


def _metrics(told: Told, cfg: Config) -> Metrics:
    pairs, rewards = told.pairs, cfg.dpo.beta * log_ratios(told.pairs)
    margin = apart(rewards, pairs)
    metrics = {
        "rewards/chosen": rewards[:, 0].mean(),
        "rewards/rejected": of_rejected(rewards, pairs).mean(),
        "rewards/margins": margin.mean(),
        "rewards/accuracies": (margin > 0).astype(jnp.float32).mean(),
        "logps/chosen": pairs.logp[:, 0].mean(),
        "logps/rejected": of_rejected(pairs.logp, pairs).mean(),
        "entropy": told.entropy.sum() / jnp.maximum(pairs.tokens.sum(), 1),
    }
    return metrics | ({} if pairs.prior is None else {"text_prior": apart(pairs.prior, pairs).mean()})
