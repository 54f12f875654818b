"""Splits of clips from a seed: of speakers, so that the test is of new voices, or of clips with one mix of labels."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from emojax.data.clip import Clip
from emojax.datasets.tree import DatasetError

By = Literal["speaker", "label"]


def deal(clips: Sequence[Clip], shares: Mapping[str, float], seed: int, by: By) -> list[Clip]:
    """The clips, in their order, with splits of about these shares.

    A group of clips, all of a speaker's, or one clip, label by label, goes whole to the split that lacks the largest
    part of its own of those that have room for it. Which group comes when is a hash of seed and name, so that the
    splits do not depend on the order of the clips.

    Raises:
      DatasetError: shares that are none; fewer groups than splits; by speaker a clip without one.
    """
    shares = {name: share for name, share in shares.items() if share > 0}
    if min(shares.values(), default=-1) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise DatasetError(f"shares of splits must be from 0 up and sum to 1, got {dict(shares)}")
    if by == "speaker":
        if bare := [clip.id for clip in clips if clip.speaker is None]:
            raise DatasetError(
                f"{len(bare)} of {len(clips)} clips have no speaker, the first: {bare[0]}; use --by label"
            )
        split = _dealt([(clip.source, clip.speaker) for clip in clips], shares, seed)
        return [replace(clip, split=split[clip.source, clip.speaker]) for clip in clips]
    split = {}
    for label in sorted({clip.emotion or "" for clip in clips}):
        split |= _dealt([clip.id for clip in clips if (clip.emotion or "") == label], shares, seed, fewer=True)
    return [replace(clip, split=split[clip.id]) for clip in clips]


def _dealt(
    members: Iterable[Hashable], shares: Mapping[str, float], seed: int, fewer: bool = False
) -> dict[Hashable, str]:
    """The split of each group, given by the group of every clip."""
    sizes = Counter(members)
    if len(sizes) < len(shares) and not fewer:
        raise DatasetError(f"{len(sizes)} speakers cannot be dealt to {len(shares)} splits; use --by label")
    total, have = sizes.total(), defaultdict(int)
    split: dict[Hashable, str] = {}
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())
    for left, group in zip(range(len(order), 0, -1), order, strict=True):
        empty = [name for name in shares if not have[name]]
        lack = {name: shares[name] * total - have[name] for name in (empty if left <= len(empty) else shares)}
        fit = [name for name in lack if lack[name] >= sizes[group]]
        name = max(fit, key=lambda name: lack[name] / shares[name]) if fit else max(lack, key=lambda name: lack[name])
        split[group] = name
        have[name] += sizes[group]
    return split
