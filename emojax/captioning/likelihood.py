"""How likely a captioner finds texts that it did not write: their log-probability, given a clip."""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial

import jax
import numpy as np

from emojax.captioning.captioner import Captioner
from emojax.config import Config, Sampling
from emojax.data.bulk import bulk_batches
from emojax.data.clips import Clip
from emojax.decoder import captioner, lm
from emojax.decoder.captioner import cast, compute_dtype, matmul_precision
from emojax.encoders import media
from emojax.parallel import sharding
from emojax.training.features import feature_source
from emojax.training.tokens import Read, Rule, token_scores
from emojax.types import Array, Batch


@partial(jax.jit, static_argnames="cfg")
def _mean_logp(params: captioner.Params, batch: Batch, *, cfg: Config) -> Array:
    """f32[B M], nats a token, the end token included."""
    with matmul_precision(cfg):
        p = cast(params, cfg)
        streams = media.encode(p.encoders, batch, cfg, compute_dtype(cfg))
        hidden = captioner.read(p.decoder, streams, batch, batch.caption, cfg)
        said, rule = Read(hidden, lm.head(p.decoder)), Rule(cfg.model.decoder.vocab, Sampling())
        logp = token_scores(said, batch.caption, batch.caption_mask, rule).logp
    return logp.sum(-1) / batch.caption_mask.sum(-1).astype(logp.dtype)


def log_likelihoods(
    model: Captioner, clips: Sequence[Clip], texts: Mapping[str, Sequence[str]], batch_size: int = 16
) -> dict[str, list[float]]:
    """By clip id the mean log-probability of a token of each text, nats; what is longer than a caption is cut.

    Clips whose files are broken are left out.

    Args:
      texts: by clip id, equally many of each clip.
    """
    count = max((len(each) for each in texts.values()), default=0)
    asked = [dataclasses.replace(clip, captions=tuple(texts[clip.id])) for clip in clips if clip.id in texts]
    batches = bulk_batches(
        asked,
        model.tokenizer,
        dataclasses.replace(model.cfg.data, strict=False, targets=count),
        caption_tokens=model.cfg.caption_tokens,
        end_token=model.cfg.model.decoder.end_token,
        batch=model.rows(batch_size),
        features=feature_source(model.cfg, asked, model.features),
    )
    found: dict[str, list[float]] = {}
    with closing(batches), jax.set_mesh(model.mesh):
        for kept, batch, _ in batches:
            if batch is not None:
                logp = np.asarray(_mean_logp(model.params, sharding.to_devices(batch, model.mesh), cfg=model.cfg))
                found |= {clip.id: row.tolist() for clip, row in zip(kept, logp, strict=False)}
    return found
