"""The supervised cold start: L_SFT = -Σ log P(y_t | y_<t, clip) (MECap-R1, arXiv 2509.18729), as a mean over tokens.

To it we add what makes a decoder that starts from nothing read its prefix. It can guess most of a caption by the
words before each, and a fact that is one word among thirty is worth little to it:

- the words of the captions from the media alone, in any order: the mean of the media prefix, read by the decoder's own
  head, names them as a bag (Zhao et al. 2017, arXiv 1703.10960, against dialogue models that ignore their latent). What
  a caption says of a clip then stands in the prefix in the very directions that the decoder writes words by;
- where clips have labels, the emotion and the attributes from the media alone.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emojax.config import Config, Sampling
from emojax.decoder import lm
from emojax.decoder.captioner import Params, cast, cast_trained, compute_dtype, matmul_precision, read
from emojax.decoder.logits import logits
from emojax.encoders import media
from emojax.param import merge
from emojax.training.optim import update
from emojax.training.parts import accumulate
from emojax.training.tokens import Read, Rule, TokenScores, surprise, token_loss
from emojax.types import Array, Batch, Metrics, TrainState


@struct.dataclass
class Scores:
    """Of a batch's clips."""

    tokens: TokenScores  # [B M T] of the target captions
    words: Array  # f32[B M T] log-probability of each token from the media alone, wherever it stands
    emotion: Array  # f32[B] cross-entropy of the label; 0 where there is none, or no media
    attributes: Array  # f32[B] of the attributes that are known, summed; likewise


def caption_scores(params: Params, batch: Batch, cfg: Config) -> tuple[Array, Scores]:
    """-Σ log P of the captions' tokens, f32[], and all that the losses are sums of."""
    p = Params(cast(params.encoders, cfg), cast_trained(params.decoder, cfg))
    streams = media.encode(p.encoders, batch, cfg, compute_dtype(cfg))
    hidden = read(p.decoder, streams, batch, batch.caption, cfg)
    vocab, head = cfg.model.decoder.vocab, lm.head(p.decoder)
    said, rule = Read(hidden, head), Rule(vocab, Sampling())
    total, tokens = token_loss(said, batch.caption, batch.caption_mask, rule, surprise, ())
    bag = lm.leave(p.decoder, media.mean(streams), cfg.model.decoder)
    bag = jax.nn.log_softmax(logits(bag, head.astype(bag.dtype), vocab))[:, None]
    words = jnp.take_along_axis(bag, batch.caption, -1)
    named = jax.nn.log_softmax(media.name_emotion(p.encoders, streams).astype(jnp.float32))
    emotion = jnp.where(has_media(batch), -(batch.emotion * named).sum(-1), 0)  # one label, or shares of several
    attributes = jnp.zeros_like(emotion)
    for n, values in enumerate(media.name_attributes(p.encoders, streams, cfg)):
        assert batch.attributes is not None, "a program that learns attributes is given them"
        attributes += _cross_entropy(values, batch.attributes[:, n], batch)
    return total, Scores(tokens, words, emotion, attributes)


def _cross_entropy(named: Array, label: Array, batch: Batch) -> Array:
    """Of logits [B values] and i32[B] labels, f32[B]; 0 where a clip has no label (-1), or no media to tell it."""
    loss = optax.softmax_cross_entropy_with_integer_labels(named.astype(jnp.float32), jnp.maximum(label, 0))
    return jnp.where((label >= 0) & has_media(batch), loss, 0)


def has_media(batch: Batch) -> Array:
    """bool[B]"""
    return (batch.audio_length > 0) | batch.video_mask.any(-1)


def labelled(batch: Batch) -> Array:
    """bool[B]: the clip has a label of its emotion, and media that could tell it."""
    return (batch.emotion > 0).any(-1) & has_media(batch)


def described(batch: Batch) -> Array:
    """bool[B]: of any attribute, likewise."""
    return has_media(batch) & (False if batch.attributes is None else (batch.attributes >= 0).any(-1))


def _bag(batch: Batch) -> Array:
    """bool[B M T]: the tokens of captions whose clips have media that could tell them."""
    return batch.caption_mask & has_media(batch)[:, None, None]


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
      The next state, and f32[] metrics: loss (of captions, nats a token), words_loss (of the same tokens from the media
      alone), emotion_loss and attributes_loss (nats a clip; NaN where no clip has a label), entropy, captioned and
      labelled (clips; without the first loss, words_loss and entropy are NaN), grad_norm, skipped.
    """
    with matmul_precision(cfg):
        mask, bag = batch.caption_mask, _bag(batch)
        tokens, words = (jnp.maximum(x.sum(), 1).astype(jnp.float32) for x in (mask, bag))
        named, known = (jnp.maximum(x.sum(), 1).astype(jnp.float32) for x in (labelled(batch), described(batch)))

        def loss(params: Params, rows: Batch) -> tuple[Array, Scores]:
            total, scores = caption_scores(merge(params, frozen), rows, cfg)
            total /= tokens
            total -= cfg.sft.words_weight * _sum(scores.words, _bag(rows)) / words
            total += cfg.sft.emotion_weight * scores.emotion.sum() / named
            return total + cfg.sft.attributes_weight * scores.attributes.sum() / known, scores

        total, grads, scores = accumulate(loss, state.params, batch, cfg.sft.micro_batch)
        state, metrics = update(state, grads, total, optimizer)
        captioned, with_label = (x.sum().astype(jnp.float32) for x in (mask.any((1, 2)), labelled(batch)))
        told = {
            "loss": -_sum(scores.tokens.logp, mask) / tokens,
            "words_loss": -_sum(scores.words, bag) / words,
            "entropy": _sum(scores.tokens.entropy, mask) / tokens,
        }
        metrics |= {name: jnp.where(captioned > 0, value, jnp.nan) for name, value in told.items()}
        metrics |= {"emotion_loss": scores.emotion.sum() / with_label, "captioned": captioned, "labelled": with_label}
        if batch.attributes is not None:
            metrics["attributes_loss"] = scores.attributes.sum() / described(batch).sum().astype(jnp.float32)
        return dataclasses.replace(state, step=state.step + 1), metrics
