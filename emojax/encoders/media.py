"""Both media streams of a clip, projected to the decoder's width and laid side by side: Batch -> Prefix.

A linear map names the emotion from them alone. The cold start trains it beside the captions; captions do not use it.
"""

from typing import Any

import jax.numpy as jnp
from flax import struct

from emojax.config import Config
from emojax.encoders import audio, video, videomae, vit, wav2vec2, whisper
from emojax.families import AudioEncoder, FeatureFiles, Hears, Sees, VideoEncoder, VideoMae, Vit, Wav2Vec2, Whisper
from emojax.nn.layers import Linear, Norm, declare_linear, declare_norm, layer_norm, linear
from emojax.nn.transformer import pool
from emojax.types import Array, Batch, Features, Prefix, Tree


@struct.dataclass
class Projector:
    norm: Norm
    linear: Linear


@struct.dataclass
class Encoders:
    """None for a stream that the captioner does not read at all."""

    audio: Tree  # of the family that the configuration names
    video: Tree
    audio_projector: Projector | None
    video_projector: Projector | None
    emotion: Linear  # D -> C


def declare(cfg: Config) -> Encoders:
    hears, sees = cfg.model.audio, cfg.model.video

    def projector(d: int) -> Projector:
        return Projector(declare_norm(d), declare_linear(d, cfg.model.decoder.width, "- D"))

    return Encoders(
        audio=_ears(hears).declare(hears) if hears and not isinstance(hears, FeatureFiles) else None,
        video=_declare_video(sees, cfg.data.frame_size) if sees and not isinstance(sees, FeatureFiles) else None,
        audio_projector=projector(hears.width) if hears else None,
        video_projector=projector(sees.width) if sees else None,
        emotion=declare_linear(cfg.model.decoder.width, len(cfg.reward.concepts), "D -"),
    )


def _declare_video(cfg: Sees, frame_size: int) -> Tree:
    return video.declare(cfg, frame_size) if isinstance(cfg, VideoEncoder) else _eyes(cfg).declare(cfg)


def _ears(cfg: Hears) -> Any:
    """The file of the family, a module: they all have the same functions."""
    match cfg:
        case AudioEncoder():
            return audio
        case Wav2Vec2():
            return wav2vec2
        case Whisper():
            return whisper


def _eyes(cfg: Sees) -> Any:
    match cfg:
        case VideoEncoder():
            return video
        case Vit():
            return vit
        case VideoMae():
            return videomae


def encode(p: Encoders, batch: Batch, cfg: Config, dtype: jnp.dtype) -> Prefix:
    """The media part of the prefix, [B audio.tokens + video.tokens D]; a stream that a clip lacks is masked."""
    hears, sees = cfg.model.audio, cfg.model.video
    embed = [jnp.zeros((batch.clip.shape[0], 0, cfg.model.decoder.width), dtype)]
    mask = [jnp.zeros((batch.clip.shape[0], 0), bool)]

    def add(projector: Projector, features: tuple[Array, Array], tokens: int) -> None:
        x, there = pool(*features, tokens)
        embed.append(linear(projector.linear, layer_norm(projector.norm, x)))
        mask.append(there)

    if p.audio_projector and hears:
        add(p.audio_projector, audio_features(p, batch, cfg, dtype), hears.tokens)
    if p.video_projector and sees:
        add(p.video_projector, video_features(p, batch, cfg, dtype), sees.tokens)
    return Prefix(jnp.concatenate(embed, 1), jnp.concatenate(mask, 1))


def audio_features(p: Encoders, batch: Batch, cfg: Config, dtype: jnp.dtype) -> tuple[Array, Array]:
    """What the clips' sound becomes before it is projected: [B S audio.width], and bool[B S], True where there is any.

    It is encoded here, or was before and stands in the batch.

    `cfg.model.audio` must not be None.
    """
    if batch.audio_features is not None:
        return _stored(batch.audio_features, batch.audio_length > 0, dtype)
    hears = cfg.model.audio
    assert hears is not None
    return _ears(hears).encode(p.audio, batch.audio, batch.audio_length, hears, dtype, cfg.model.remat)


def video_features(p: Encoders, batch: Batch, cfg: Config, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Likewise of the frames: [B S video.width], bool[B S]."""
    if batch.video_features is not None:
        return _stored(batch.video_features, batch.video_mask.any(-1), dtype)
    sees = cfg.model.video
    assert sees is not None
    return _eyes(sees).encode(p.video, batch.video, batch.video_mask, sees, dtype, cfg.model.remat)


def _stored(features: Features, there: Array, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Features that were made before, of the clips that have the stream or were left it (bool[B])."""
    return features.x.astype(dtype), features.mask & there[:, None]


def name_emotion(p: Encoders, streams: Prefix) -> Array:
    """Logits [B C] of the emotion, from the mean of the media part of the prefix."""
    seen = streams.mask[..., None]
    mean = jnp.where(seen, streams.embed, 0).sum(1) / jnp.maximum(seen.sum(1), 1).astype(streams.embed.dtype)
    return linear(p.emotion, mean)
