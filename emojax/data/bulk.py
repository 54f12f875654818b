"""Batches for captioning: every clip once, read in order ahead of the device, in length buckets that fill as they come.

However many clips there are, only a few are decoded at a time: less than a batch of each length waits here, and two
batches are in the workers' hands.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from emojax.config import Data
from emojax.data.audio import SAMPLE_RATE
from emojax.data.clips import Clip
from emojax.data.container import MediaError
from emojax.data.features import MEDIA, FeatureSource
from emojax.data.order import bucket_of
from emojax.data.reader import Decoded, ErrorRecord, Reader, View, collate, decode, error_record
from emojax.data.text import END
from emojax.data.workers import prefetch
from emojax.types import Batch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Bulk = tuple[list[Clip], Batch | None, list[ErrorRecord]]
_KEEP_NOTHING = -1.0  # bytes of room for decoded clips, of which each is wanted once


def bulk_batches(
    clips: Sequence[Clip],
    tokenizer: "Tokenizer",
    data: Data,
    *,
    caption_tokens: int,
    batch: int,
    reach: int | None = None,
    features: FeatureSource = MEDIA,
    end_token: int = END,
) -> Generator[Bulk, None, None]:
    """Every clip once, for captioning: a batch of one length bucket as soon as the clips read so far fill it.

    Which bucket a clip is in, and so all that the model sees of it, depends on the clip alone: it is the shortest that
    holds its decoded audio. Workers start at the call, not at the first batch. Close the iterator to stop them.

    Args:
      reach: clips that may be read after one that still waits for its bucket to fill; then the bucket goes out as it
        is. None: without bound; only the last batch of a bucket is partly filled.
      features: streams that are read from features instead of media.
      end_token: closes the captions of a clip that has any.
    Yields:
      The clips that the first rows of the batch hold (the rows after them repeat the last), each with the seconds of
      its whole recording, which may be longer than the last bucket; the batch; and the clips
      that cannot be decoded, unless `data.strict`, which raises MediaError. Without a clip there is no batch.
    """
    share = -(-batch // max(data.workers, 1))  # clips that a worker decodes at once
    chunks = [tuple(clips[at : at + share]) for at in range(0, len(clips), share)]
    reader = Reader((), tokenizer, data, caption_tokens, end_token, _KEEP_NOTHING, features)
    workers = data.workers if len(clips) > batch else 0  # a lone batch is decoded before a worker could start
    made = prefetch(partial(_decoded, reader), chunks, workers)
    return _batches(made, replace(reader, clips=tuple(clips)), batch, reach)


def _batches(
    made: Generator[list[Decoded | MediaError], None, None], reader: Reader, batch: int, reach: int | None
) -> Generator[Bulk, None, None]:
    seconds = reader.data.audio_seconds
    waiting: list[list[tuple[int, Decoded]]] = [[] for _ in seconds]
    errors: list[ErrorRecord] = []
    read = 0

    def filled(bucket: int) -> Bulk:
        nonlocal errors
        rows, waiting[bucket] = waiting[bucket][:batch], waiting[bucket][batch:]
        told, errors = errors, []
        padded = rows + rows[-1:] * (batch - len(rows))
        views = [View(clip := reader.clips[row], decoded, clip.transcript, clip.captions) for row, decoded in padded]
        return (
            [_measured(reader.clips[row], decoded) for row, decoded in rows],
            collate(reader, views, seconds[bucket]),
            told,
        )

    with closing(made):
        for part in made:
            for row, decoded in enumerate(part, read):
                if isinstance(decoded, MediaError):
                    errors.append(error_record(reader.clips[row], decoded))
                else:
                    waiting[bucket_of(_seconds(decoded), seconds)].append((row, decoded))
            read += len(part)
            for bucket, rows in enumerate(waiting):
                if len(rows) >= batch or (rows and reach is not None and read - rows[0][0] > reach):
                    yield filled(bucket)
            if len(errors) >= batch:  # a folder of broken files is told of as it is met
                told, errors = errors, []
                yield [], None, told
        for bucket, rows in enumerate(waiting):
            if rows:
                yield filled(bucket)
    if errors:
        yield [], None, errors


def _decoded(reader: Reader, clips: tuple[Clip, ...]) -> list[Decoded | MediaError]:
    """In a worker."""
    here = replace(reader, clips=clips)
    return [decode(here, row) for row in range(len(clips))]


def _measured(clip: Clip, decoded: Decoded) -> Clip:
    return replace(clip, seconds=decoded.seconds) if decoded.seconds else clip


def _seconds(decoded: Decoded) -> float:
    return decoded.samples / SAMPLE_RATE
