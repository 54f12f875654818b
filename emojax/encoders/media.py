"""Both media streams of a clip, projected to the decoder's width and laid side by side: Batch -> Prefix.

A linear map names the emotion from them alone. The cold start trains it beside the captions; captions do not use it.
"""

import jax.numpy as jnp
from flax import struct

from emojax.config import Config
from emojax.encoders import audio, video
from emojax.nn.layers import Linear, Norm, declare_linear, declare_norm, layer_norm, linear
from emojax.nn.transformer import pool
from emojax.types import Array, Batch, Prefix


@struct.dataclass
class Projector:
    norm: Norm
    linear: Linear


@struct.dataclass
class Encoders:
    """None for a stream that the captioner does not read at all."""

    audio: audio.Audio | None
    video: video.Video | None
    audio_projector: Projector | None
    video_projector: Projector | None
    emotion: Linear  # D -> C


def declare(cfg: Config) -> Encoders:
    hears, sees = cfg.model.audio, cfg.model.video

    def projector(d: int) -> Projector:
        return Projector(declare_norm(d), declare_linear(d, cfg.model.decoder.width, "- D"))

    return Encoders(
        audio=audio.declare(hears) if hears else None,
        video=video.declare(sees, cfg.data.frame_size) if sees else None,
        audio_projector=projector(hears.width) if hears else None,
        video_projector=projector(sees.width) if sees else None,
        emotion=declare_linear(cfg.model.decoder.width, len(cfg.reward.concepts), "D -"),
    )


def encode(p: Encoders, batch: Batch, cfg: Config, dtype: jnp.dtype) -> Prefix:
    """The media part of the prefix, [B audio.tokens + video.tokens D]; a stream that a clip lacks is masked."""
    hears, sees, remat = cfg.model.audio, cfg.model.video, cfg.model.remat
    embed = [jnp.zeros((batch.clip.shape[0], 0, cfg.model.decoder.width), dtype)]
    mask = [jnp.zeros((batch.clip.shape[0], 0), bool)]
    if p.audio and p.audio_projector and hears:
        x, there = audio.encode(p.audio, batch.audio, batch.audio_length, hears, dtype, remat)
        x, there = pool(x, there, hears.tokens)
        embed.append(linear(p.audio_projector.linear, layer_norm(p.audio_projector.norm, x)))
        mask.append(there)
    if p.video and p.video_projector and sees:
        x, there = video.encode(p.video, batch.video, batch.video_mask, sees, dtype, remat)
        x, there = pool(x, there, sees.tokens)
        embed.append(linear(p.video_projector.linear, layer_norm(p.video_projector.norm, x)))
        mask.append(there)
    return Prefix(jnp.concatenate(embed, 1), jnp.concatenate(mask, 1))


def name_emotion(p: Encoders, streams: Prefix) -> Array:
    """Logits [B C] of the emotion, from the mean of the media part of the prefix."""
    seen = streams.mask[..., None]
    mean = jnp.where(seen, streams.embed, 0).sum(1) / jnp.maximum(seen.sum(1), 1).astype(streams.embed.dtype)
    return linear(p.emotion, mean)
