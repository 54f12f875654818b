"""Training batches by Grain: batch number `i` -> the same Batch on any number of processes and workers, endless,
shuffled, resumable by `i` alone."""

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from emojax.config import Data
from emojax.data.clips import Clip
from emojax.data.container import MediaError
from emojax.data.features import MEDIA, FeatureSource
from emojax.data.order import Order, bits, clips_in, make_order
from emojax.data.reader import Decoded, Part, Reader, View, beyond, collate, decode, error_record, seconds_of
from emojax.data.text import END
from emojax.data.views import Hiding, view
from emojax.data.workers import prefetch
from emojax.types import Batch, References

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)
_ENDLESS = 2**31


@dataclass(frozen=True)
class Batching:
    """Which batches are made, and how their captions are written down."""

    batch: int  # clips of a global batch
    seed: int
    caption_tokens: int  # T
    end_token: int = END  # closes a target caption
    start: int = 0  # the number of the first batch
    rows: Sequence[int] | np.ndarray | None = None  # of each global batch, ascending; None: all
    hiding: Hiding = Hiding()
    drawn: bool = True  # a clip's targets are drawn of its captions; else they are the first of them


def training_batches(
    clips: Sequence[Clip],
    tokenizer: "Tokenizer",
    data: Data,
    batching: Batching,
    *,
    emotions: np.ndarray | None = None,
    attributes: np.ndarray | None = None,
    references: Callable[[np.ndarray], References] | None = None,
    features: FeatureSource = MEDIA,
) -> Generator[Batch, None, None]:
    """Batches `batching.start`, and so on without end.

    Of a clip's captions `data.targets` are drawn as targets, by (seed, i, clip), of those that hold of what is not
    hidden of it, or, where `batching` does not draw, its first ones are taken; of a clip without captions none, and it
    teaches what its label says. A label holds of the whole clip: what is learnt from captions of a part has none.

    A clip that cannot be decoded is replaced by the next one of its length bucket and logged once, unless
    `data.strict`. Workers start at the call, not at the first batch. Close the iterator to stop them.

    Args:
      emotions: f32[clips C], shares of the concepts in each clip's labels; None: no clip has one.
      attributes: i32[clips N], the place of the value of each attribute; None: batches have none.
      references: of clips, i64[B] rows of `clips` -> a row each (`rewards.lookup`); None: batches have none.
      features: streams that are read from features instead of media.
    Raises:
      ValueError: no clips, or a clip without captions and labels.
      MediaError: from the iterator, with `data.strict` or when a whole bucket is broken.
    """
    if not clips:
        raise ValueError("there are no clips to train on")
    bare = [c.id for c in clips if not (c.captions or c.votes or c.attributes)]
    if bare:
        told = f"{len(bare)} of {len(clips)} clips have neither, the first: {bare[0]}"
        raise ValueError(f"training needs captions or labels; {told}")
    order = _order(clips, data, batching, features)
    room = data.cache_gb * 2**30 / max(data.workers, 1)
    reader = Reader(tuple(clips), tokenizer, data, batching.caption_tokens, batching.end_token, room, features)
    here = np.arange(batching.batch) if batching.rows is None else np.asarray(batching.rows)
    make = partial(_training_batch, reader, order, here, batching)
    drawn = prefetch(make, range(batching.start, _ENDLESS), data.workers)

    def batches() -> Generator[Batch, None, None]:
        told, long = set(), set()
        with closing(drawn):
            for part in drawn:
                for row, seconds in zip(part.rows.tolist(), part.beyond, strict=True):
                    if seconds and row not in long:
                        long.add(row)
                        _tell_of_long(len(long), clips[row].id, seconds, data)
                for error in part.errors:
                    if error.path not in told:
                        log.warning("left out %s: %s: %s", error.id, error.path, error.why)
                    told.add(error.path)
                whole = part.whole[:, None]
                labels = part.batch.emotion if emotions is None else np.where(whole, emotions[part.rows], 0)
                values = None if attributes is None else np.where(whole, attributes[part.rows], -1)
                rows = None if references is None else references(part.rows)
                yield replace(part.batch, emotion=labels, attributes=values, references=rows)

    return batches()


def rows_read(
    clips: Sequence[Clip], data: Data, batching: Batching, batches: int, features: FeatureSource = MEDIA
) -> np.ndarray:
    """i64[N] the clips, ascending, that so many batches from `batching.start` on hold if every file can be decoded."""
    if batches * batching.batch >= 2 * len(clips):
        return np.arange(len(clips))  # two epochs have them all
    order, found = _order(clips, data, batching, features), np.zeros(len(clips), bool)
    for i in range(batching.start, batching.start + batches):
        found[clips_in(order, i)[1]] = True
    return np.flatnonzero(found)


def _order(clips: Sequence[Clip], data: Data, batching: Batching, features: FeatureSource) -> Order:
    return make_order(seconds_of(clips, data, features), data.audio_seconds, batching.batch, batching.seed)


def _tell_of_long(count: int, name: str, seconds: float, data: Data) -> None:
    """Of the first clip whose sound is cut, the tenth, the hundredth and so on."""
    if count == 10 ** (len(str(count)) - 1):
        log.warning(
            "clips longer than the last of data.audio_seconds, %g s, whose sound is cut, so far: %d; %s by %.1f s",
            *(data.audio_seconds[-1], count, name, seconds),
        )


def _training_batch(reader: Reader, order: Order, rows: np.ndarray, batching: Batching, i: int) -> Part:
    bucket, wanted = clips_in(order, i)
    members = order.members[bucket]
    found, errors = [], []
    for row in wanted[rows]:
        place = int(np.searchsorted(members, row))
        for candidate in np.roll(members, -place):
            decoded = decode(reader, int(candidate))
            if isinstance(decoded, Decoded):
                found.append((int(candidate), decoded))
                break
            errors.append(error_record(reader.clips[candidate], decoded))
        else:
            raise MediaError(errors[-1].path, f"{errors[-1].why}; nor can any other clip of its length be decoded")

    views = [view(reader.clips[row], decoded, batching.hiding, order.seed, i) for row, decoded in found]
    if batching.drawn:
        views = [_drawn(view, order.seed, i) for view in views]
    return Part(
        collate(reader, views, order.seconds[bucket]),
        np.array([row for row, _ in found]),
        errors,
        [beyond(decoded.seconds, reader.data) for _, decoded in found],
        np.array([view.whole for view in views]),
    )


def _drawn(view: View, seed: int, i: int) -> View:
    """Its captions in the order in which batch `i` draws them."""
    shuffled = np.argsort(bits(len(view.captions), seed, i, *view.clip.id.encode()))
    return replace(view, captions=[view.captions[c] for c in shuffled])
