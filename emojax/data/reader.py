"""Clips as a worker reads them: files decoded, decoded clips kept while there is room, all laid into a Batch."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emojax.config import Data
from emojax.data.audio import SAMPLE_RATE, decode_audio
from emojax.data.clips import Clip
from emojax.data.container import MediaError, probe
from emojax.data.order import bucket_of
from emojax.data.text import PAD, encode, encode_transcript
from emojax.data.video import decode_video
from emojax.types import Batch

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class ErrorRecord:
    """A clip that was left out because of a file that cannot be decoded."""

    id: str
    path: Path
    why: str


@dataclass(frozen=True)
class Decoded:
    audio: np.ndarray | None  # f32[A]
    video: np.ndarray | None  # u8[S size size 3]


def load(clip: Clip, cfg: Data) -> Decoded:
    """Decodes the media of a clip, its audio up to the last bucket; a stream that its file does not hold is absent.

    Raises:
      MediaError: a file cannot be decoded, holds nothing, or is too long for the bucket that `clip.seconds` says.
    """
    audio = None if clip.audio is None else decode_audio(clip.audio, cfg.audio_seconds[-1])
    video = None
    if clip.video is not None:
        video = decode_video(clip.video, cfg.frames, cfg.frame_size, cfg.frame_resize, cfg.frame_filter)
    if audio is None and video is None and clip.transcript is None:
        raise MediaError(clip.audio or clip.video or Path(clip.id), "holds no stream that its clip names")
    if audio is not None and clip.seconds is not None:
        bucket = cfg.audio_seconds[bucket_of(clip.seconds, cfg.audio_seconds)]
        if len(audio) > (bucket + 0.1) * SAMPLE_RATE and clip.audio is not None:
            found = len(audio) / SAMPLE_RATE
            raise MediaError(clip.audio, f"is listed with {clip.seconds:.1f} s of sound and has {found:.1f} s or more")
    return Decoded(audio, video)


@dataclass(frozen=True)
class Part:
    """What a worker sends. Not a pytree, so Grain pickles it whole."""

    batch: Batch
    rows: np.ndarray  # indices of the clips
    errors: list[ErrorRecord]


@dataclass
class Reader:
    """What a worker needs to make batches, and the decoded clips it keeps.

    Clips come by permutation, so every one of them is as likely to be next: keeping the first that fit, for good,
    saves as much decoding as any rule of eviction can.
    """

    clips: tuple[Clip, ...]
    tokenizer: "Tokenizer"
    cfg: Data
    caption_tokens: int
    end_token: int
    room: float  # bytes left for decoded clips
    kept: dict[int, Decoded | MediaError] = field(default_factory=dict)


def decode(reader: Reader, row: int) -> Decoded | MediaError:
    if row in reader.kept:
        return reader.kept[row]
    try:
        decoded = load(reader.clips[row], reader.cfg)
    except MediaError as e:
        if reader.cfg.strict:
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
    return ErrorRecord(clip.id, error.path, error.why)


def _name(clip: Clip) -> int:
    return zlib.crc32(clip.id.encode(errors="surrogateescape"))  # the id may be a path that is not UTF-8


def collate(
    reader: Reader, rows: list[tuple[int, Decoded]], captions: Sequence[Sequence[str]], seconds: float
) -> Batch:
    cfg, b = reader.cfg, len(rows)
    samples = round(seconds * SAMPLE_RATE)
    batch: dict[str, Any] = {
        "clip": np.array([_name(reader.clips[row]) for row, _ in rows], np.uint32),
        "audio": np.zeros((b, samples), np.float32),
        "audio_length": np.zeros(b, np.int32),
        "video": np.zeros((b, cfg.frames, cfg.frame_size, cfg.frame_size, 3), np.uint8),
        "video_mask": np.zeros((b, cfg.frames), bool),
        "transcript": np.full((b, cfg.transcript_tokens), PAD, np.int32),
        "transcript_mask": np.zeros((b, cfg.transcript_tokens), bool),
        "caption": np.full((b, cfg.targets, reader.caption_tokens), PAD, np.int32),
        "caption_mask": np.zeros((b, cfg.targets, reader.caption_tokens), bool),
        "emotion": np.full(b, -1, np.int32),
    }

    def put(name: str, k: int | tuple[int, int], row: tuple[np.ndarray, np.ndarray | bool]) -> None:
        batch[name][k], batch[f"{name}_mask"][k] = row

    for k, ((row, decoded), targets) in enumerate(zip(rows, captions, strict=True)):
        transcript = reader.clips[row].transcript
        if decoded.audio is not None:
            audio = decoded.audio[:samples]
            batch["audio"][k, : len(audio)], batch["audio_length"][k] = audio, len(audio)
        if decoded.video is not None:
            put("video", k, (decoded.video, True))
        if transcript is not None:
            put("transcript", k, encode_transcript(reader.tokenizer, transcript, cfg.transcript_tokens))
        for m, caption in enumerate(targets):
            put("caption", (k, m), encode(reader.tokenizer, caption, reader.caption_tokens, reader.end_token))
    return Batch(**batch)


def seconds_of(clips: Sequence[Clip], cfg: Data) -> list[float]:
    """Duration of each clip's audio, from the manifest or the file's headers; 0 where it has none or is broken."""

    def of(clip: Clip) -> float:
        if len(cfg.audio_seconds) == 1 or clip.audio is None:
            return 0.0
        if clip.seconds is not None:
            return clip.seconds
        try:
            return probe(clip.audio).seconds or cfg.audio_seconds[-1]
        except MediaError:
            return 0.0  # decoding it will say what is wrong

    return [of(clip) for clip in clips]
