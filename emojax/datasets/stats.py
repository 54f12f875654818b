"""What is in a manifest, split by split: clips, hours, labels, languages, lengths of captions, and sound that is there
twice."""

import hashlib
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emojax.data.clip import Clip
from emojax.data.clip_media import length
from emojax.data.clips import shared_speakers
from emojax.data.container import MediaError

_SHOWN = 20  # duplicates that are named


def statistics_of(clips: Sequence[Clip]) -> dict[str, Any]:
    """By split, and of all: see `lines`. Lengths that the manifest does not give are read from the files' headers."""
    splits: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        splits[clip.split or "none"].append(clip)
    shared = {"/".join(filter(None, speaker)): list(names) for speaker, names in shared_speakers(clips).items()}
    told = {name: _of(some) for name, some in splits.items()}
    return {"splits": told, "shared_speakers": shared, "duplicates": duplicates(clips)}


def _of(clips: Sequence[Clip]) -> dict[str, Any]:
    captions = [caption for clip in clips for caption in clip.captions]
    seconds = [found for clip in clips if (found := _seconds(clip))]
    words = [len(caption.split()) for caption in captions]
    return {
        "clips": len(clips),
        "hours": sum(seconds) / 3600,
        "of_known_length": len(seconds),
        "streams": {s: sum(getattr(c, s) is not None for c in clips) for s in ("audio", "video", "transcript")},
        "speakers": len({(clip.source, clip.speaker) for clip in clips if clip.speaker is not None}),
        "emotions": _counts(clip.emotion for clip in clips),
        "annotated_by_several": sum(bool(clip.labels or clip.soft_labels) for clip in clips),
        "languages": _counts(clip.language for clip in clips),
        "sources": _counts(clip.source for clip in clips),
        "captions": len(captions),
        "captioned": sum(bool(clip.captions) for clip in clips),
        "caption_characters": _spread([len(caption) for caption in captions]),
        "caption_words": _spread(words),
        "scales": {name: _spread(_known(clips, name)) for name in ("valence", "arousal", "dominance")},
    }


def _known(clips: Iterable[Clip], name: str) -> list[float]:
    return [value for clip in clips if (value := getattr(clip, name)) is not None]


def _seconds(clip: Clip) -> float | None:
    if clip.seconds is not None or clip.audio is None:
        return clip.seconds
    try:
        return length(clip)
    except MediaError:
        return None


def _counts(values: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(value or "none" for value in values).most_common())


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Least, mean and most; nothing where there is none."""
    return {"least": min(values), "mean": statistics.fmean(values), "most": max(values)} if values else {}


def duplicates(clips: Iterable[Clip]) -> list[list[str]]:
    """Ids of clips whose sound is the same bytes, of each such sound; only files of one size are read."""
    sizes: dict[int, list[Clip]] = defaultdict(list)
    for clip in clips:
        if isinstance(clip.audio, Path):
            sizes[os.path.getsize(clip.audio)].append(clip)
    same: dict[Any, list[str]] = defaultdict(list)
    for some in sizes.values():
        digests: dict[Path, bytes] = {}
        for clip in some if len(some) > 1 else ():
            assert isinstance(clip.audio, Path)
            digest = digests.get(clip.audio) or digests.setdefault(clip.audio, _digest(clip.audio))
            same[digest, clip.start, clip.end].append(clip.id)
    return [ids for ids in same.values() if len(ids) > 1]


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def lines(found: Mapping[str, Any], split_of: Mapping[str, str | None]) -> list[str]:
    """For people.

    Args:
      split_of: the split of each clip.
    """
    out = []
    for name, told in found["splits"].items():
        streams = ", ".join(f"{stream} {n:,}" for stream, n in told["streams"].items())
        out.append(f"{name}: {told['clips']:,} clips, {told['hours']:.2f} h of sound, {told['speakers']:,} speakers")
        out.append(f"  streams: {streams}")
        for what in ("emotions", "languages", "sources"):
            out.append(f"  {what}: {', '.join(f'{value} {n:,}' for value, n in told[what].items())}")
        if several := told["annotated_by_several"]:
            out.append(f"  labels of several annotators, or soft: {several:,} clips")
        if told["captions"]:
            characters, words = (
                "{least:.0f}/{mean:.1f}/{most:.0f}".format(**told[k]) for k in ("caption_characters", "caption_words")
            )
            out.append(
                f"  captions: {told['captions']:,} of {told['captioned']:,} clips; least/mean/most {characters} "
                f"characters, {words} words"
            )
        for scale, spread in told["scales"].items():
            if spread:
                out.append("  {}: {least:g} to {most:g}, mean {mean:.2f}".format(scale, **spread))
    if shared := found["shared_speakers"]:
        out.append(f"warning: {len(shared):,} speakers are in more than one split: {', '.join(list(shared)[:_SHOWN])}")
    across = [ids for ids in found["duplicates"] if len({split_of[i] for i in ids}) > 1]
    within = len(found["duplicates"]) - len(across)
    if across:
        shown = "; ".join(", ".join(ids) for ids in across[:_SHOWN])
        out.append(f"warning: {len(across):,} sounds are in more than one split: {shown}")
    if within:
        out.append(f"sounds that are there twice within a split: {within:,}")
    return out
