"""Both media streams of a clip, projected to the decoder's width and laid side by side: Batch -> Prefix.

Linear maps name the emotion, and the attributes, from them alone. The cold start trains them beside the captions;
captions do not use them.
"""

import itertools
from typing import Any

import jax.numpy as jnp
from flax import struct

from emojax.config import (
    AudioConfig,
    Config,
    FeatureFilesConfig,
    FrameEncoderConfig,
    MelEncoderConfig,
    VideoConfig,
    VideoMaeConfig,
    VitConfig,
    Wav2Vec2Config,
    WhisperConfig,
)
from emojax.encoders import audio, fusion, project, video, videomae, vit, wav2vec2, whisper
from emojax.nn.layers import Linear, declare_linear, linear
from emojax.types import Array, Batch, Features, Prefix, Tree


@struct.dataclass
class Encoders:
    """The weights of the encoders; None for a stream that the captioner does not have."""

    audio: Tree  # of the family that the configuration names
    video: Tree
    audio_projector: Tree  # of the kind that the configuration names
    video_projector: Tree
    emotion: Linear  # D -> C
    attributes: Linear | None  # D -> the values of all attributes, one attribute after the other; None: none is learnt
    fusion: Tree  # None: nothing is fused


def declare(cfg: Config) -> Encoders:
    model, width = cfg.model, cfg.model.decoder.width
    widths = tuple(stream.width for stream in (model.audio, model.video) if stream)
    return Encoders(
        audio=_declare_audio(model.audio),
        video=_declare_video(model.video, cfg.data.frame_size),
        audio_projector=project.declare(model.audio_projector, model.audio.width, width) if model.audio else None,
        video_projector=project.declare(model.video_projector, model.video.width, width) if model.video else None,
        emotion=declare_linear(width, len(cfg.reward.concepts), "D -"),
        attributes=declare_linear(width, sum(counts), "D -") if (counts := values_learnt(cfg)) else None,
        fusion=fusion.declare(model.fusion, widths, width) if model.fusion else None,
    )


def values_learnt(cfg: Config) -> list[int]:
    """How many values each attribute has whose labels the cold start learns; empty if it learns none."""
    return [len(attribute.values) for attribute in cfg.reward.attributes] if cfg.sft.attributes_weight else []


def _declare_audio(sizes: AudioConfig | None) -> Tree:
    if sizes is None or isinstance(sizes, FeatureFilesConfig):
        return None
    return audio_family(sizes).declare(sizes)


def _declare_video(sizes: VideoConfig | None, frame_size: int) -> Tree:
    if sizes is None or isinstance(sizes, FeatureFilesConfig):
        return None
    if isinstance(sizes, FrameEncoderConfig):
        return video.declare(sizes, frame_size)
    return video_family(sizes).declare(sizes)


def audio_family(sizes: AudioConfig) -> Any:
    """The file of an audio encoder's family, a module: all have the same functions."""
    match sizes:
        case MelEncoderConfig():
            return audio
        case Wav2Vec2Config():
            return wav2vec2
        case WhisperConfig():
            return whisper


def video_family(sizes: VideoConfig) -> Any:
    """The file of a video encoder's family, a module: all have the same functions."""
    match sizes:
        case FrameEncoderConfig():
            return video
        case VitConfig():
            return vit
        case VideoMaeConfig():
            return videomae


def encode(p: Encoders, batch: Batch, cfg: Config, dtype: jnp.dtype) -> Prefix:
    """The media part of the prefix, [B media_positions D]: audio, video, what is fused of both.

    A stream that a clip lacks is masked; so is what is fused of none.
    """
    model, clips = cfg.model, batch.clip_id.shape[0]
    parts = [(jnp.zeros((clips, 0, model.decoder.width), dtype), jnp.zeros((clips, 0), bool))]
    streams: list[tuple[Array, Array]] = []
    if model.audio:
        streams.append(audio_features(p, batch, cfg, dtype))
        kind, tokens = model.audio_projector, model.audio.tokens
        parts.append(project.run(p.audio_projector, *streams[-1], tokens, kind, model.remat))
    if model.video:
        streams.append(video_features(p, batch, cfg, dtype))
        kind, tokens = model.video_projector, model.video.tokens
        parts.append(project.run(p.video_projector, *streams[-1], tokens, kind, model.remat))
    if model.fusion:
        parts.append(fusion.run(p.fusion, streams, model.fusion))
    embed, mask = zip(*parts, strict=True)
    return Prefix(jnp.concatenate(embed, 1), jnp.concatenate(mask, 1))


def audio_features(p: Encoders, batch: Batch, cfg: Config, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Features of the clips' audio, before projection: [B S audio.width], and bool[B S], True where there is any.

    They are computed here, or were before and are in the batch. `cfg.model.audio` must not be None.
    """
    if batch.audio_features is not None:
        return _stored(batch.audio_features, batch.audio_length > 0, dtype)
    sizes = cfg.model.audio
    assert sizes is not None
    return audio_family(sizes).encode(p.audio, batch.audio, batch.audio_length, sizes, dtype, cfg.model.remat)


def video_features(p: Encoders, batch: Batch, cfg: Config, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Features of the clips' frames, likewise: [B S video.width], bool[B S]."""
    if batch.video_features is not None:
        return _stored(batch.video_features, batch.video_mask.any(-1), dtype)
    sizes = cfg.model.video
    assert sizes is not None
    return video_family(sizes).encode(p.video, batch.video, batch.video_mask, sizes, dtype, cfg.model.remat)


def _stored(features: Features, there: Array, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Features that were made before, of the clips that have the stream or were left it (bool[B]); 0 off the mask.

    An encoder's are finite everywhere, a file's need not be, and 0 times infinity would reach a projector's sums.
    """
    mask = features.mask & there[:, None]
    return jnp.where(mask[..., None], features.x, 0).astype(dtype), mask


def mean(streams: Prefix) -> Array:
    """Mean [B D] of the media part of the prefix; 0 where a clip has no media."""
    mask = streams.mask[..., None]
    return jnp.where(mask, streams.embed, 0).sum(1) / jnp.maximum(mask.sum(1), 1).astype(streams.embed.dtype)


def name_emotion(p: Encoders, streams: Prefix) -> Array:
    """Logits [B C] of the emotion, from the mean of the media part of the prefix."""
    return linear(p.emotion, mean(streams))


def name_attributes(p: Encoders, streams: Prefix, cfg: Config) -> list[Array]:
    """Logits [B values] of each attribute, likewise; none where none is learnt."""
    if p.attributes is None:
        return []
    ends = list(itertools.accumulate(values_learnt(cfg)))
    return jnp.split(linear(p.attributes, mean(streams)), ends[:-1], -1)
