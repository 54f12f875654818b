"""The supervised cold start: L_SFT = -Σ log P(y_t | y_<t, clip) (MECap-R1, arXiv 2509.18729), as a mean over tokens."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emojax.config import Config, Sampling
from emojax.decoder import lm
from emojax.decoder.captioner import Params, cast, compute_dtype, matmul_precision, prompt, shifted
from emojax.encoders import media
from emojax.training.losses import TokenScores, token_scores
from emojax.training.optim import accumulate, update
from emojax.types import Array, Batch, Metrics, TrainState


@struct.dataclass
class Nothing:
    """The cold start trains the whole captioner: nothing is frozen."""


def drop_streams(batch: Batch, key: Array, rate: float) -> Batch:
    """Hides the audio or the video of some clips, never both at once, so that the captioner learns to do with one.

    The noise is named by the clip: neither its place in the batch nor the mesh changes who loses what.
    """

    def one(clip: Array) -> Array:
        return jax.random.uniform(jax.random.fold_in(key, clip))

    u = jax.vmap(one)(batch.clip)
    both = (batch.audio_length > 0) & batch.video_mask.any(-1)
    deaf, blind = both & (u < rate), both & (u >= 1 - rate)
    return dataclasses.replace(
        batch,
        audio_length=jnp.where(deaf, 0, batch.audio_length),
        video_mask=batch.video_mask & ~blind[:, None],
    )


def caption_scores(params: Params, batch: Batch, cfg: Config) -> TokenScores:
    """Scores [B M T] of the target captions: the same reading as in Emo-GRPO, M captions that share their prefix."""
    p = cast(params, cfg)
    prefix = prompt(p.decoder, media.encode(p.encoders, batch, cfg, compute_dtype(cfg)), batch)
    cache = lm.prefill(p.decoder, prefix, cfg.model.decoder, cfg.model.remat)
    ids = batch.caption
    hidden = lm.suffix(
        p.decoder, cache, prefix.mask, shifted(ids, cfg.model.decoder.start_token), cfg.model.decoder, cfg.model.remat
    )
    return token_scores(hidden, lm.head(p.decoder), ids, Sampling())


def sft_step(
    state: TrainState,
    frozen: Nothing,
    batch: Batch,
    key: Array,
    *,
    cfg: Config,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, Metrics]:
    """One optimizer step of maximum likelihood.

    Args:
      key: of the run; the step and the clip are folded in.
    Returns:
      The next state, and f32[] metrics: loss (nats a token), entropy, grad_norm, skipped.
    """
    with matmul_precision(cfg):
        batch = drop_streams(batch, jax.random.fold_in(key, state.step), cfg.sft.stream_dropout)
        tokens = jnp.maximum(batch.caption_mask.sum(), 1)

        def loss(params: Params, rows: Batch) -> tuple[Array, TokenScores]:
            scores = caption_scores(params, rows, cfg)
            return -(scores.logp * rows.caption_mask).sum() / tokens, scores

        total, grads, scores = accumulate(loss, state.params, batch, cfg.sft.micro_batch)
        state, metrics = update(state, grads, total, optimizer)
        entropy = (scores.entropy * batch.caption_mask).sum() / tokens
        return dataclasses.replace(state, step=state.step + 1), {"loss": total, "entropy": entropy, **metrics}
