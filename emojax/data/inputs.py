"""What a user hands over to be captioned: files, folders, sound and frames in memory, clips. All become clips."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from emojax.config import ConfigError
from emojax.data.clips import Clip

Input = str | Path | np.ndarray | Clip
SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".amr", ".caf", ".wma"}
SUFFIXES |= {".mka", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".3gp"}
"""Of the files that are taken from a folder; a file that is named itself may have any."""


def clips_of(inputs: Iterable[Input], transcripts: Sequence[str | None] | None = None) -> list[Clip]:
    """A clip an input, in their order; a folder stands for all media in it and below, sorted.

    A file is named by its path as given, and has whatever streams are found in it when it is decoded: none is opened
    here. Sound in memory is named by its place ("array 0").

    Args:
      transcripts: what is said, of each input; None where it is not known.
    Raises:
      ConfigError: another number of transcripts than of inputs; one of a folder, which stands for many clips.
      FileNotFoundError: a folder without media.
    """
    inputs = list(inputs)
    said = [None] * len(inputs) if transcripts is None else list(transcripts)
    if len(said) != len(inputs):
        raise ConfigError(f"{len(said)} transcripts for {len(inputs)} inputs: give one each, None where there is none")
    clips: list[Clip] = []
    for n, (given, transcript) in enumerate(zip(inputs, said, strict=True)):
        match given:
            case Clip():
                clips.append(given)
            case np.ndarray():
                clips.append(Clip(f"array {n}", audio=given, transcript=transcript))
            case _ if os.path.isdir(given):  # which is False of names that no system takes
                if transcript is not None:
                    raise ConfigError(f"{given} is a folder of clips, and a transcript is of one; use a manifest")
                clips += [_of_file(path, None) for path in walk(Path(given))]
            case _:
                clips.append(_of_file(Path(given), transcript))
    return clips


def walk(folder: Path) -> list[Path]:
    """The media in a folder and below, sorted. Raises FileNotFoundError where there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.is_dir())
    if not found:
        raise FileNotFoundError(f"{folder}: no media file in it or below; name files themselves whatever their suffix")
    return found


def _of_file(path: Path, transcript: str | None) -> Clip:
    where = Path(os.path.abspath(path))  # not resolved: a path that is too long is that file's error
    return Clip(str(path), audio=where, video=where, transcript=transcript)
