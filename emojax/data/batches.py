"""Grain: batch number `i` -> the same Batch on any number of processes and workers, resumable by `i` alone.

`training_batches` is endless and shuffled; `bulk_batches` visits every clip once, in order. Both decode in worker
processes ahead of the device.
"""

import logging
import zlib
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emojax.config import Data
from emojax.data.audio import SAMPLE_RATE, decode_audio
from emojax.data.clips import Clip
from emojax.data.container import MediaError, probe
from emojax.data.order import Order, bits, bucket_of, clips_in, make_order
from emojax.data.text import END, PAD, encode, encode_transcript
from emojax.data.video import decode_video
from emojax.data.workers import ahead
from emojax.types import Batch, References

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)
_ENDLESS = 2**31


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


def training_batches(
    clips: Sequence[Clip],
    tokenizer: "Tokenizer",
    cfg: Data,
    *,
    caption_tokens: int,
    end_token: int = END,
    batch: int,
    seed: int,
    start: int = 0,
    emotions: np.ndarray | None = None,
    references: References | None = None,
    process: tuple[int, int] = (0, 1),
) -> Generator[Batch, None, None]:
    """Batches `start`, `start + 1`, ... without end.

    Of a clip's captions `cfg.targets` are drawn as targets, by (seed, i, clip). A clip that cannot be decoded is
    replaced by the next one of its length bucket and logged once, unless `cfg.strict`. Workers start at the call, not
    at the first batch. Close the iterator to stop them.

    Args:
      end_token: closes a target caption.
      emotions: i32, the number of each clip's label, in the order of `clips`; None: no clip has one.
      references: one row per clip, likewise.
      process: (p, n): the p-th of n equal runs of rows of the same global batches.
    Raises:
      ValueError: no clips, a clip without a caption, or a batch that n does not divide.
      MediaError: from the iterator, with `cfg.strict` or when a whole bucket is broken.
    """
    p, n = process
    if batch % n:
        raise ValueError(f"a batch of {batch} clips cannot be split over {n} processes: use a multiple of {n}")
    if not clips:
        raise ValueError("there are no clips to train on")
    bare = [c.id for c in clips if not c.captions]
    if bare:
        raise ValueError(f"training needs captions; {len(bare)} of {len(clips)} clips have none, the first: {bare[0]}")
    order = make_order(_seconds(clips, cfg), cfg.audio_seconds, batch, seed)
    reader = _Reader(
        tuple(clips), tokenizer, cfg, caption_tokens, end_token, cfg.cache_gb * 2**30 / max(cfg.workers, 1)
    )
    rows = slice(p * batch // n, (p + 1) * batch // n)
    drawn = ahead(partial(_training_batch, reader, order, rows), start, _ENDLESS, cfg.workers)

    def batches() -> Generator[Batch, None, None]:
        told = set()
        with closing(drawn):
            for part in drawn:
                for error in part.errors:
                    if error.path not in told:
                        log.warning("left out %s: %s: %s", error.id, error.path, error.why)
                    told.add(error.path)
                labels = part.batch.emotion if emotions is None else emotions[part.rows]
                yield replace(part.batch, emotion=labels, references=_rows(references, part.rows))

    return batches()


def bulk_batches(
    clips: Sequence[Clip], tokenizer: "Tokenizer", cfg: Data, *, caption_tokens: int, batch: int
) -> Generator[tuple[list[Clip], Batch, list[ErrorRecord]], None, None]:
    """Every clip once, for captioning: bucket after bucket, in the order given within a bucket.

    Gives the clips that the first rows of the batch hold; the rows after them repeat the last. Clips that cannot be
    decoded are in the list of errors instead, unless `cfg.strict`, which raises MediaError.
    """
    bucket = np.array([bucket_of(s, cfg.audio_seconds) for s in _seconds(clips, cfg)], np.int64)
    parts = []
    for b in np.unique(bucket):
        members = np.flatnonzero(bucket == b)
        parts += [(cfg.audio_seconds[b], members[i : i + batch]) for i in range(0, len(members), batch)]
    reader = _Reader(tuple(clips), tokenizer, cfg, caption_tokens, END, 0.0)
    workers = cfg.workers if len(parts) > 1 else 0  # a lone batch is decoded before a worker could start
    with closing(ahead(partial(_bulk_batch, reader, tuple(parts), batch), 0, len(parts), workers)) as made:
        for part in made:
            yield [clips[i] for i in part.rows], part.batch, part.errors


@dataclass(frozen=True)
class _Part:
    """What a worker sends. Not a pytree, so Grain pickles it whole."""

    batch: Batch
    rows: np.ndarray  # indices of the clips
    errors: list[ErrorRecord]


@dataclass
class _Reader:
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


def _decoded(reader: _Reader, row: int) -> Decoded | MediaError:
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


def _training_batch(reader: _Reader, order: Order, rows: slice, i: int) -> _Part:
    bucket, wanted = clips_in(order, i)
    members = order.members[bucket]
    found, errors = [], []
    for row in wanted[rows]:
        place = int(np.searchsorted(members, row))
        for candidate in np.roll(members, -place):
            decoded = _decoded(reader, int(candidate))
            if isinstance(decoded, Decoded):
                found.append((int(candidate), decoded))
                break
            errors.append(_record(reader.clips[candidate], decoded))
        else:
            raise MediaError(errors[-1].path, f"{errors[-1].why}; nor can any other clip of its length be decoded")

    def targets(row: int) -> list[str]:
        clip = reader.clips[row]
        shuffled = np.argsort(bits(len(clip.captions), order.seed, i, *clip.id.encode()))
        return [clip.captions[c] for c in shuffled[: reader.cfg.targets]]

    captions = [targets(row) for row, _ in found]
    batch = _collate(reader, found, captions, order.seconds[bucket])
    return _Part(batch, np.array([row for row, _ in found]), errors)


def _bulk_batch(reader: _Reader, parts: tuple[tuple[float, np.ndarray], ...], size: int, i: int) -> _Part:
    seconds, members = parts[i]
    tried = [(int(row), _decoded(reader, int(row))) for row in members]
    found = [(row, d) for row, d in tried if isinstance(d, Decoded)]
    errors = [_record(reader.clips[row], d) for row, d in tried if isinstance(d, MediaError)]
    rows = np.array([row for row, _ in found], np.int64)
    blank = (int(members[-1]), Decoded(None, None))  # a batch must have rows, also when no clip of it can be decoded
    found += [found[-1] if found else blank] * (size - len(found))
    captions = [reader.clips[row].captions[: reader.cfg.targets] for row, _ in found]
    return _Part(_collate(reader, found, captions, seconds), rows, errors)


def _rows(references: References | None, rows: np.ndarray) -> References | None:
    if references is None:
        return None
    return References(*(getattr(references, f.name)[rows] for f in fields(references)))


def _record(clip: Clip, error: MediaError) -> ErrorRecord:
    return ErrorRecord(clip.id, error.path, error.why)


def _collate(
    reader: _Reader, rows: list[tuple[int, Decoded]], captions: Sequence[Sequence[str]], seconds: float
) -> Batch:
    cfg, b = reader.cfg, len(rows)
    samples = round(seconds * SAMPLE_RATE)
    batch: dict[str, Any] = {
        "clip": np.array([zlib.crc32(reader.clips[row].id.encode()) for row, _ in rows], np.uint32),
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


def _seconds(clips: Sequence[Clip], cfg: Data) -> list[float]:
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
