"""The supervised cold start: L_SFT = -Σ log P(y_t | y_<t, clip) (MECap-R1, arXiv 2509.18729), as a mean over tokens.

To it we add, where clips have labels, the cross-entropy of the emotion named from the media alone. The decoder reads
most of a caption's words off the words before them, so encoders that start from nothing learn little of the emotion
through it.
"""

import dataclasses

import jax.numpy as jnp
import optax

from emojax.config import Config, Sampling
from emojax.decoder import lm
from emojax.decoder.captioner import Params, cast, cast_trained, compute_dtype, matmul_precision, read
from emojax.encoders import media
from emojax.param import merge
from emojax.training.losses import TokenScores, token_scores
from emojax.training.optim import accumulate, update
from emojax.types import Array, Batch, Metrics, TrainState


def caption_scores(params: Params, batch: Batch, cfg: Config) -> tuple[TokenScores, Array]:
    """Scores [B M T] of the target captions; and f32[B], the cross-entropy of each clip's emotion, 0 where it has no
    label or no media."""
    p = Params(cast(params.encoders, cfg), cast_trained(params.decoder, cfg))
    streams = media.encode(p.encoders, batch, cfg, compute_dtype(cfg))
    hidden = read(p.decoder, streams, batch, batch.caption, cfg)
    logits = media.name_emotion(p.encoders, streams).astype(jnp.float32)
    emotion = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(batch.emotion, 0))
    vocab = cfg.model.decoder.vocab
    return token_scores(hidden, lm.head(p.decoder), batch.caption, vocab, Sampling()), jnp.where(
        labelled(batch), emotion, 0
    )


def labelled(batch: Batch) -> Array:
    """bool[B]: the clip has a label, and media that could tell it."""
    return (batch.emotion >= 0) & ((batch.audio_length > 0) | batch.video_mask.any(-1))


def _sum(x: Array, mask: Array) -> Array:
    """Sum of f32[B M T] over the tokens of the captions."""
    return (x * mask.astype(x.dtype)).sum()


def sft_step(
    state: TrainState,
    frozen: Params,
    batch: Batch,
    key: Array,
    *,
    cfg: Config,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, Metrics]:
    """One optimizer step of maximum likelihood.

    Args:
      state: its `params` are the captioner, None where a weight is frozen.
      frozen: the frozen weights, None where one is trained.
      key: of the run; a step of the cold start draws nothing (what is hidden of a clip is hidden on the host).
    Returns:
      The next state, and f32[] metrics: loss (of captions, nats a token), emotion_loss (nats a clip; NaN
      where no clip has a label), entropy, grad_norm, skipped.
    """
    with matmul_precision(cfg):
        tokens = jnp.maximum(batch.caption_mask.sum(), 1).astype(jnp.float32)
        clips = jnp.maximum(labelled(batch).sum(), 1).astype(jnp.float32)

        def loss(params: Params, rows: Batch) -> tuple[Array, tuple[TokenScores, Array]]:
            scores, emotion = caption_scores(merge(params, frozen), rows, cfg)
            captions = -_sum(scores.logp, rows.caption_mask) / tokens
            return captions + cfg.sft.emotion_weight * emotion.sum() / clips, (scores, emotion)

        total, grads, (scores, emotion) = accumulate(loss, state.params, batch, cfg.sft.micro_batch)
        state, metrics = update(state, grads, total, optimizer)
        metrics |= {
            "loss": -_sum(scores.logp, batch.caption_mask) / tokens,
            "emotion_loss": emotion.sum() / labelled(batch).sum().astype(jnp.float32),
            "entropy": _sum(scores.entropy, batch.caption_mask) / tokens,
        }
        return dataclasses.replace(state, step=state.step + 1), metrics
