"""Batches for `emojax encode`: every clip once, in whole files of one length bucket, decoded ahead of the device.

What a batch holds depends on the clips that are left and their order alone. A file is whole batches, so that a run
that was killed and goes on computes the same batches as the unbroken one.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from emojax.config import Data
from emojax.data.audio import SAMPLE_RATE
from emojax.data.clips import Clip
from emojax.data.container import MediaError
from emojax.data.feature_files import Broken
from emojax.data.features import MEDIA
from emojax.data.order import bucket_of
from emojax.data.reader import Decoded, load, measure, media, seconds_of
from emojax.data.workers import prefetch
from emojax.types import Batch, batch_shapes, blank


@dataclass(frozen=True)
class Work:
    """What a worker sends. Not a pytree, so Grain pickles it whole."""

    batch: Batch  # of media alone; rows after the clips are blank
    clips: list[tuple[Clip, Decoded, float]]  # without their media; and their seconds
    broken: dict[str, Broken]
    closes: bool  # the last batch of its file


def encoding_batches(clips: Sequence[Clip], data: Data, batch: int, file: int) -> Generator[Work, None, None]:
    """Bucket after bucket, in the order given within a bucket.

    Args:
      batch: clips at once.
      file: clips a file, a multiple of `batch`.
    Raises:
      MediaError: a clip that cannot be decoded, with `data.strict`.
    """
    buckets = [data.audio_seconds[bucket_of(s, data.audio_seconds)] for s in seconds_of(clips, data)]
    parts: list[tuple[float, list[Clip], bool]] = []
    for bucket in data.audio_seconds:
        members = [clip for clip, own in zip(clips, buckets, strict=True) if own == bucket]
        for i in range(0, len(members), batch):
            closes = (i + batch) % file == 0 or i + batch >= len(members)
            parts.append((bucket, members[i : i + batch], closes))
    with closing(prefetch(partial(_work, data, batch), parts, data.workers)) as made:
        yield from made


def _work(data: Data, size: int, part: tuple[float, list[Clip], bool]) -> Work:
    """In a worker."""
    seconds, members, closes = part
    found, broken = [], {}
    for clip in members:
        try:
            found.append((clip, load(clip, data)))
        except MediaError as e:
            if data.strict:
                raise
            broken[clip.id] = Broken(str(e.path), e.why, measure(clip, data))
    rows = [decoded for _, decoded in found] + [Decoded(None, None)] * (size - len(found))
    # what is listed a little too short is not cut here: features must not depend on the buckets
    longest = max(decoded.samples for decoded in rows) / SAMPLE_RATE
    seconds = max(seconds, data.audio_seconds[bucket_of(longest, data.audio_seconds)])
    shapes = batch_shapes(size, samples=round(seconds * SAMPLE_RATE), frames=data.frames, size=data.frame_size)
    batch = replace(blank(shapes), **media(rows, data, MEDIA, seconds))
    known = [(clip, replace(d, audio=None, video=None), measure(clip, data)) for clip, d in found]
    return Work(batch, known, broken, closes)
