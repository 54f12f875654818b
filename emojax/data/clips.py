"""The JSONL manifest that lists clips: one clip a line, paths relative to the manifest, absent means absent.

    {"id": "a1", "audio": "wav/a1.wav", "video": "mp4/a1.mp4", "transcript": "Go away.", "captions": ["..."],
     "emotion": "angry", "attributes": {"gender": "woman"}, "speaker": "s03", "split": "train", "language": "en",
     "seconds": 2.4, "captions_of": {"audio": ["..."]}, "extra": {"corpus": "IEMOCAP"}}

Only `id` and one stream (audio, video or transcript) are required; `caption` is short for a list of one. `extra` is the
user's own: it is carried through to the records of captions. A directory that TFDS wrote is read as a manifest, too.
"""

import contextlib
import functools
import gc
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from emojax.data import tfds
from emojax.data.clip import Clip, label_numbers, label_shares
from emojax.data.clip_fields import read_clip
from emojax.data.present import Files
from emojax.storage import refuse_pointer

__all__ = ["Clip", "Fault", "ManifestError", "check_manifest", "label_numbers", "label_shares", "read_manifest"]
__all__ += ["shared_speakers", "write_manifest"]
log = logging.getLogger(__name__)
_MANY = 100_000  # clips
_SHOWN = 20  # faults that an error prints; check_manifest gives them all


@dataclass(frozen=True)
class Fault:
    line: int  # 1 is the first; 0: the file as a whole
    what: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}" if self.line else self.what


class ManifestError(ValueError):
    """A manifest that cannot be used; `faults` holds all that is wrong with it."""

    def __init__(self, path: Path, faults: Sequence[Fault]) -> None:
        super().__init__(path, faults)
        self.path, self.faults = path, tuple(faults)

    def __str__(self) -> str:
        shown = [f"  {fault}" for fault in self.faults[:_SHOWN]]
        more = len(self.faults) - _SHOWN
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        return "\n".join([f"{self.path}: {count}", *shown, *([f"  and {more} more"] if more > 0 else [])])


def check_manifest(path: Path) -> list[Fault]:
    """Every fault of a manifest, in the order of its lines. Media are looked for, not opened."""
    return _read(Path(path))[1]


def read_manifest(path: Path, split: str | None = None) -> list[Clip]:
    """The clips of a manifest, or of one of its splits, in its order, with absolute paths.

    Official splits of published datasets share speakers, so these are a warning that counts them, and no fault.

    Args:
      path: a JSONL file; or what TFDS wrote, a directory or `tfds:NAME`, an array_record dataset read as clips.
    Raises:
      ManifestError: with every fault in it; or `split` is not there.
    """
    path = Path(path)
    clips, faults = _read(path)
    if faults:
        raise ManifestError(path, faults)
    if shared := shared_speakers(clips):
        names = ", ".join(sorted({split for splits in shared.values() for split in splits}))
        _warn(f"{path}: {len(shared)} speakers are in more than one split (of {names}): its test is not of new voices")
    chosen = clips if split is None else [c for c in clips if c.split == split]
    if not chosen:
        there = sorted({c.split for c in clips if c.split is not None})
        what = f'no clip in split "{split}"; there are: {", ".join(there) or "none"}'
        raise ManifestError(path, [Fault(0, what)])
    return chosen


@functools.cache  # a run reads its manifest once a split
def _warn(message: str) -> None:
    log.warning("%s", message)


def shared_speakers(clips: Iterable[Clip]) -> dict[tuple[str | None, str], tuple[str, ...]]:
    """The splits of each speaker, by source and name, that is in several of them."""
    splits: dict[tuple[str | None, str], tuple[str, ...]] = {}
    for clip in clips:
        if clip.speaker is not None and clip.split is not None:
            seen = splits.get((clip.source, clip.speaker), ())
            if clip.split not in seen:
                splits[clip.source, clip.speaker] = (*seen, clip.split)
    return {speaker: seen for speaker, seen in splits.items() if len(seen) > 1}


def write_manifest(path: Path, clips: Iterable[Clip]) -> None:
    """Writes what `read_manifest` reads back, with paths relative to the manifest.

    Raises:
      ValueError: a clip whose media are arrays or stored records, which a manifest cannot hold.
    """
    path = Path(path)
    folder = path.resolve().parent
    lines = []
    for clip in clips:
        if any(x is not None and not isinstance(x, Path) for x in (clip.audio, clip.video)):
            raise ValueError(
                f"{path}: clip {clip.id!r} has its media in memory or in records; write them to files first"
            )
        lines.append(json.dumps(record(clip, folder), ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def record(clip: Clip, folder: Path | None = None) -> dict[str, Any]:
    """What a manifest in `folder` says of a clip; None: all but its media."""
    given = {
        f.name: value for f in fields(Clip) if (value := getattr(clip, f.name)) is not None and f.name not in _MEDIA
    }
    given = {name: value for name, value in given.items() if value not in ((), {})}
    media = {name: getattr(clip, name) for name in _MEDIA if folder is not None and getattr(clip, name) is not None}
    paths = {name: Path(os.path.relpath(value, folder)).as_posix() for name, value in media.items()}
    return {"id": given.pop("id"), **paths, **given}


_MEDIA = ("audio", "video")


def _read(path: Path) -> tuple[list[Clip], list[Fault]]:
    try:
        if (folder := tfds.dataset_folder(path)) is not None:
            return tfds.read_clips(folder), []
        with path.open("rb") as file:
            head = file.read(64)
            refuse_pointer(head, "it is")
            if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:2]:
                return [], [Fault(0, f"is UTF-16, wanted UTF-8: iconv -f utf-16 -t utf-8 {path.name}")]
            file.seek(3 if head.startswith(b"\xef\xbb\xbf") else 0)
            with _no_collector():
                found = _lines(file, Files(str(path.resolve().parent)))
                if len(found[0]) > _MANY:
                    gc.freeze()  # they stay, and would be looked through again and again while a run goes on
                return found
    except OSError as e:
        return [], [Fault(0, f"cannot be read: {e.strerror or e}")]
    except ValueError as e:
        return [], [Fault(0, str(e))]


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Millions of objects that all stay are looked through again and again in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _lines(file: Iterable[bytes], files: Files) -> tuple[list[Clip], list[Fault]]:
    clips: list[Clip] = []
    faults: list[Fault] = []
    first: dict[str, int] = {}  # line of an id
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        clip, wrong = read_clip(line, files)
        if clip is not None:
            if (before := first.setdefault(clip.id, number)) != number:
                wrong.append(f'id "{clip.id}" is taken by line {before}')
            clips.append(clip)
        if wrong:
            faults += [Fault(number, w) for w in wrong]
    if not clips and not faults:
        faults.append(Fault(0, "holds no clip"))
    return clips, faults
