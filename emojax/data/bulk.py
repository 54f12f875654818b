"""Batches for captioning: every clip once, length bucket after length bucket, decoded ahead of the device."""

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from emojax.config import Data
from emojax.data.clips import Clip
from emojax.data.container import MediaError
from emojax.data.order import bucket_of
from emojax.data.reader import Decoded, ErrorRecord, Part, Reader, collate, decode, error_record, seconds_of
from emojax.data.text import END
from emojax.data.workers import ahead
from emojax.types import Batch

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def bulk_batches(
    clips: Sequence[Clip], tokenizer: "Tokenizer", cfg: Data, *, caption_tokens: int, batch: int
) -> Generator[tuple[list[Clip], Batch, list[ErrorRecord]], None, None]:
    """Every clip once, for captioning: bucket after bucket, in the order given within a bucket.

    Gives the clips that the first rows of the batch hold; the rows after them repeat the last. Clips that cannot be
    decoded are in the list of errors instead, unless `cfg.strict`, which raises MediaError.
    """
    bucket = np.array([bucket_of(s, cfg.audio_seconds) for s in seconds_of(clips, cfg)], np.int64)
    parts = []
    for b in np.unique(bucket):
        members = np.flatnonzero(bucket == b)
        parts += [(cfg.audio_seconds[b], members[i : i + batch]) for i in range(0, len(members), batch)]
    reader = Reader(tuple(clips), tokenizer, cfg, caption_tokens, END, 0.0)
    workers = cfg.workers if len(parts) > 1 else 0  # a lone batch is decoded before a worker could start
    with closing(ahead(partial(_bulk_batch, reader, tuple(parts), batch), 0, len(parts), workers)) as made:
        for part in made:
            yield [clips[i] for i in part.rows], part.batch, part.errors


def _bulk_batch(reader: Reader, parts: tuple[tuple[float, np.ndarray], ...], size: int, i: int) -> Part:
    seconds, members = parts[i]
    tried = [(int(row), decode(reader, int(row))) for row in members]
    found = [(row, d) for row, d in tried if isinstance(d, Decoded)]
    errors = [error_record(reader.clips[row], d) for row, d in tried if isinstance(d, MediaError)]
    rows = np.array([row for row, _ in found], np.int64)
    blank = (int(members[-1]), Decoded(None, None))  # a batch must have rows, also when no clip of it can be decoded
    found += [found[-1] if found else blank] * (size - len(found))
    captions = [reader.clips[row].captions[: reader.cfg.targets] for row, _ in found]
    return Part(collate(reader, found, captions, seconds), rows, errors)
