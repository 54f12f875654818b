"""Clips as a worker reads them: files decoded, decoded clips kept while there is room, all laid into a Batch."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emojax.config import Data
from emojax.data import feature_files
from emojax.data.audio import SAMPLE_RATE
from emojax.data.clip import Clip
from emojax.data.clip_media import length, read_film, read_sound
from emojax.data.container import MediaError
from emojax.data.features import MEDIA, FeatureSource, features_of, lay
from emojax.data.order import bucket_of
from emojax.data.text import encode, encode_transcript
from emojax.types import Batch, batch_shapes, blank

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PADDING = 0.1  # seconds by which a file may be longer than it is said to be


@dataclass(frozen=True)
class ErrorRecord:
    """A clip that was left out because of a file that cannot be decoded."""

    id: str
    path: Path
    why: str
    extra: Mapping[str, Any]  # the clip's


@dataclass(frozen=True)
class Decoded:
    """The streams of a clip; of one that is read from features, these."""

    audio: np.ndarray | None  # f32[A]; or f32[S D]
    video: np.ndarray | None  # u8[S size size 3]; or f32[S D]
    samples: int = 0  # of sound; 0: the clip has none
    frames: bool = False  # the clip has video
    seconds: float = 0.0  # of the whole recording, of whose sound `samples` may be the first part alone


def load(clip: Clip, data: Data, features: FeatureSource = MEDIA) -> Decoded:
    """Decodes the media of a clip, its audio up to the last bucket; a stream that its file does not hold is absent.

    Args:
      features: streams that are read from features instead.
    Raises:
      MediaError: a file cannot be decoded, holds nothing, or is too long for the bucket that `clip.seconds` says; or
        it is recorded so.
      ConfigError, ValueError: features that are missing or damaged.
    """
    if features.folder is not None:
        facts = feature_files.facts_of(features.folder, clip)
        samples = facts.samples if clip.audio is not None else 0
        frames, seconds = facts.frames and clip.video is not None, facts.seconds if samples else 0.0
        audio = features_of(features.audio, clip, features) if features.audio and samples else None
        video = features_of(features.video, clip, features) if features.video and frames else None
    else:
        (audio, seconds), video = _audio(clip, data, features), _video(clip, data, features)
        samples, frames = 0 if audio is None else len(audio), video is not None
    if not samples and not frames and clip.transcript is None:
        raise MediaError(clip.file, "holds no stream that its clip names")
    if data.strict and (left := beyond(seconds, data)):
        raise MediaError(
            clip.file,
            f"is {seconds:.1f} s long, of which {left:.1f} s are beyond the last of data.audio_seconds and not heard",
        )
    if clip.audio is not None and clip.seconds is not None and features.audio is None:
        bucket = data.audio_seconds[bucket_of(clip.seconds, data.audio_seconds)]
        if samples > (bucket + _PADDING) * SAMPLE_RATE:
            found = samples / SAMPLE_RATE
            raise MediaError(clip.file, f"is listed with {clip.seconds:.1f} s of sound and has {found:.1f} s or more")
    return Decoded(audio, video, samples, frames, seconds)


def _audio(clip: Clip, data: Data, features: FeatureSource) -> tuple[np.ndarray | None, float]:
    """The stream, and the seconds of the whole recording where that is known."""
    if clip.audio is not None and features.audio:
        return features_of(features.audio, clip, features), 0.0
    sound = read_sound(clip, data.audio_seconds[-1])
    return (None, 0.0) if sound is None else (sound.samples, sound.seconds)


def beyond(seconds: float | None, data: Data) -> float:
    """Seconds of a recording that no length bucket holds, and that nothing sees; a codec's padding does not count."""
    left = (seconds or 0.0) - data.audio_seconds[-1]
    return left if left > _PADDING else 0.0


def _video(clip: Clip, data: Data, features: FeatureSource) -> np.ndarray | None:
    if clip.video is not None and features.video:
        return features_of(features.video, clip, features)
    return read_film(clip, data)


@dataclass(frozen=True)
class View:
    """A clip as a batch shows it."""

    clip: Clip
    decoded: Decoded
    transcript: str | None
    captions: Sequence[str]  # that hold of it
    whole: bool = True  # nothing is hidden that the captions would need, and so the clip's labels hold, too


@dataclass(frozen=True)
class Part:
    """What a worker sends. Not a pytree, so Grain pickles it whole."""

    batch: Batch
    rows: np.ndarray  # indices of the clips
    errors: list[ErrorRecord]
    beyond: list[float]  # seconds of each row's recording that are left out
    whole: np.ndarray  # bool[B] of each row's view


@dataclass
class Reader:
    """What a worker needs to make batches, and the decoded clips it keeps.

    Clips come by permutation, so every one of them is as likely to be next: keeping the first that fit, for good,
    saves as much decoding as any rule of eviction can.
    """

    clips: tuple[Clip, ...]
    tokenizer: "Tokenizer"
    data: Data
    caption_tokens: int
    end_token: int
    room: float  # bytes left for decoded clips
    features: FeatureSource = MEDIA
    kept: dict[int, Decoded | MediaError] = field(default_factory=dict)


def decode(reader: Reader, row: int) -> Decoded | MediaError:
    if row in reader.kept:
        return reader.kept[row]
    try:
        decoded = load(reader.clips[row], reader.data, reader.features)
    except MediaError as e:
        if reader.data.strict:
            raise
        decoded = e
    if _size(decoded) <= reader.room:
        reader.kept[row] = decoded
        reader.room -= _size(decoded)
    return decoded


def _size(decoded: Decoded | MediaError) -> int:
    if isinstance(decoded, MediaError):
        return 0
    return sum(a.nbytes for a in (decoded.audio, decoded.video) if a is not None)


def error_record(clip: Clip, error: MediaError) -> ErrorRecord:
    return ErrorRecord(clip.id, error.path, error.why, clip.extra)


def _name(clip: Clip) -> int:
    return zlib.crc32(clip.id.encode(errors="surrogateescape"))  # the id may be a path that is not UTF-8


def collate(reader: Reader, views: Sequence[View], seconds: float) -> Batch:
    """A Batch of a length bucket of `seconds`; of each view the first `data.targets` captions."""
    data = reader.data
    shapes = batch_shapes(
        len(views),
        samples=round(seconds * SAMPLE_RATE),
        frames=data.frames,
        size=data.frame_size,
        transcript=data.transcript_tokens,
        targets=data.targets,
        caption=reader.caption_tokens,
    )
    batch = replace(
        blank(shapes),
        clip_id=np.array([_name(view.clip) for view in views], np.uint32),
        **media([view.decoded for view in views], data, reader.features, seconds),
    )

    for k, view in enumerate(views):
        if view.transcript is not None:
            found = encode_transcript(reader.tokenizer, view.transcript, data.transcript_tokens)
            batch.transcript[k], batch.transcript_mask[k] = found
        for m, caption in enumerate(view.captions[: data.targets]):
            found = encode(reader.tokenizer, caption, reader.caption_tokens, reader.end_token)
            batch.caption[k, m], batch.caption_mask[k, m] = found
    return batch


def media(rows: Sequence[Decoded], data: Data, features: FeatureSource, seconds: float) -> dict[str, Any]:
    """The fields of a Batch that hold media or features, for a length bucket of `seconds`."""
    b, s, size, samples = len(rows), data.frames, data.frame_size, round(seconds * SAMPLE_RATE)
    audio = np.zeros((b, 0 if features.audio else samples), np.float32)
    video = np.zeros((b, 0 if features.video else s, size, size, 3), np.uint8)
    for k, row in enumerate(rows):
        if row.audio is not None and not features.audio:
            audio[k, : len(row.audio)] = row.audio[:samples]
        if row.video is not None and not features.video:
            video[k] = row.video
    return {
        "audio": audio,
        "audio_length": np.array([min(row.samples, samples) for row in rows], np.int32),
        "audio_features": features.audio and lay(features.audio, [row.audio for row in rows], seconds),
        "video": video,
        "video_mask": np.repeat(np.array([row.frames for row in rows], bool)[:, None], s, 1),
        "video_features": features.video and lay(features.video, [row.video for row in rows], seconds),
    }


def seconds_of(clips: Sequence[Clip], data: Data, features: FeatureSource = MEDIA) -> list[float]:
    """Duration of each clip's audio, as `measure` has it; 0 where there is one bucket, or where it does not count."""
    if len(data.audio_seconds) == 1 or (features.audio and features.audio.folder is not None):
        return [0.0] * len(clips)
    return [measure(clip, data, features) for clip in clips]


def measure(clip: Clip, data: Data, features: FeatureSource = MEDIA) -> float:
    """Seconds of a clip's audio, from the manifest, the file's headers, or from when it was encoded; 0 where it has
    none or is broken."""
    if clip.audio is None:
        return 0.0
    if clip.seconds is not None:
        return clip.seconds
    if features.folder is not None:
        known = features.folder.broken.get(clip.id) or features.folder.clips[clip.id][1]
        return known.seconds
    try:
        return length(clip) or data.audio_seconds[-1]
    except MediaError:
        return 0.0  # decoding it will say what is wrong
