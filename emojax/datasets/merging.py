"""Manifests joined to one, and clips with their captions in another language."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from emojax.data.clip import Clip
from emojax.data.clips import read_manifest
from emojax.datasets.tree import DatasetError


def merge(paths: Sequence[Path], prefix: bool = False) -> list[Clip]:
    """The clips of several manifests, one after the other.

    Args:
      prefix: put the source of each clip before its id, the manifest's name where it has none.
    Raises:
      DatasetError: two clips of one id. ManifestError: as `read_manifest`.
    """
    clips: list[Clip] = []
    first: dict[str, Path] = {}
    for path in paths:
        for clip in read_manifest(path):
            clip = replace(clip, id=f"{clip.source or path.stem}-{clip.id}") if prefix else clip
            if (other := first.setdefault(clip.id, path)) != path:
                raise DatasetError(f"{path}: id {clip.id!r} is taken by {other}; --prefix puts the source before ids")
            clips.append(clip)
    if len(clips) != len(first):
        raise DatasetError(f"{paths[0]}: is named twice")
    return clips


def in_language(clips: Iterable[Clip], language: str) -> list[Clip]:
    """The clips with their captions in that language; of one that has none in it, none.

    Raises:
      DatasetError: no clip has any.
    """
    clips = list(clips)
    chosen = [_in_language(clip, language) for clip in clips]
    if not any(clip.captions for clip in chosen):
        there = sorted({code for clip in clips for code in (*clip.captions_in, clip.language or "")} - {""})
        raise DatasetError(f"--language {language}: no caption is in it; there are {', '.join(there) or 'none'}")
    return chosen


def _in_language(clip: Clip, language: str) -> Clip:
    known = {**({clip.language: clip.captions} if clip.language and clip.captions else {}), **clip.captions_in}
    return replace(clip, captions=known.get(language, ()), language=language, captions_in=known)
