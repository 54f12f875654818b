"""Recordings longer than the captioner hears at once, heard window by window: equal parts, each with its caption."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emojax.captioning.decoding import Decoding
from emojax.config import Data
from emojax.data.audio import SAMPLE_RATE
from emojax.data.clip_media import read_film, read_sound
from emojax.data.clips import Clip
from emojax.data.container import MediaError

if TYPE_CHECKING:
    from emojax.captioning.captioner import Captioner

_OF_A_WINDOW = ("caption", "logprob", "tokens", "emotions", "samples")


def heard(
    model: "Captioner", clips: Sequence[Clip], records: Iterator[dict[str, Any]], decoding: Decoding
) -> Iterator[dict[str, Any]]:
    """The records, those of truncated clips replaced by ones of all their windows."""
    by_id = {clip.id: clip for clip in clips}
    for record in records:
        yield _whole(model, by_id[record["id"]], record, decoding) if "truncated_seconds" in record else record


def _whole(model: "Captioner", clip: Clip, record: dict[str, Any], decoding: Decoding) -> dict[str, Any]:
    """One record of all windows: the first one's caption, and under `windows` what is said of each, with its time."""
    try:
        parts, seconds = cut(clip, model.cfg.data)
    except MediaError as e:  # what is beyond the first window is read here for the first time
        return {"id": clip.id, "file": str(clip.file), "error": e.why}
    found = list(model.records(parts, dataclasses.replace(decoding, windows=False, ordered=True, workers=0)))
    if failed := next((one for one in found if "error" in one), None):
        return {"id": clip.id, "file": str(clip.file), "error": f"a window of it: {failed['error']}"}
    each = seconds / len(parts)
    windows = [
        {"from": round(k * each, 2), "to": round((k + 1) * each, 2)}
        | {name: one[name] for name in _OF_A_WINDOW if name in one}
        for k, one in enumerate(found)
    ]
    told = {name: value for name, value in record.items() if name not in ("truncated_seconds", *_OF_A_WINDOW)}
    return told | {name: found[0][name] for name in _OF_A_WINDOW if name in found[0]} | {"windows": windows}


def cut(clip: Clip, data: Data) -> tuple[list[Clip], float]:
    """Clips in memory, as few equal parts as the last length bucket holds, and the seconds of all.

    A film is cut where its sound is; a transcript, of which nobody knows what is said when, goes with every window.
    """
    sound = read_sound(clip)
    assert sound is not None, "what is longer than a bucket has sound"
    count = math.ceil(len(sound.samples) / SAMPLE_RATE / data.audio_seconds[-1])
    frames = read_film(clip, dataclasses.replace(data, frames=count * data.frames))
    films = [None] * count if frames is None else np.split(frames, count)
    parts = [
        dataclasses.replace(clip, id=f"{clip.id}#{k}", audio=part, video=film, seconds=None, start=None, end=None)
        for k, (part, film) in enumerate(zip(np.array_split(sound.samples, count), films, strict=True))
    ]
    return parts, len(sound.samples) / SAMPLE_RATE
