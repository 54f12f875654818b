"""Clips whose voice and face tell the same emotion, and clips where they do not (CA-MER, MoSEAR): a slice each.

What a stream tells is named by its own captions (`captions_of` of the manifest). Where the two differ, the label
follows one of them: a captioner that reads the other alone is wrong exactly there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from emojax.config.concepts import Attribute
from emojax.rewards.facts import EMOTION
from emojax.rewards.lexicon import stated


class Told(Protocol):
    """What is read of a clip (emojax.data.clips.Clip has it)."""

    @property
    def emotion(self) -> str | None: ...
    @property
    def captions_of(self) -> Mapping[str, Sequence[str]]: ...


def named_by(stream: str | None, clip: Told, emotion: Attribute) -> str | None:
    """The one emotion that the captions of a stream alone name; None where they name none, or several."""
    said = clip.captions_of.get(stream or "", ())
    named = {value for text in said for value in stated(text, (emotion,)).get(EMOTION, ())}
    return named.pop() if len(named) == 1 else None


def slice_of(clip: Told, emotion: Attribute) -> str | None:
    """ "agree"; or of a conflict which stream the label follows, "audio", "video" or "neither"; None: not known."""
    voice, face = (named_by(stream, clip, emotion) for stream in ("audio", "video"))
    if clip.emotion is None or voice is None or face is None:
        return None
    if voice == face:
        return "agree"
    return "audio" if clip.emotion == voice else "video" if clip.emotion == face else "neither"


def slices(
    clips: Sequence[Told], emotion: Attribute, scores: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, Any]]:
    """Of each slice that has clips their number, and the means of `scores` (by name, one a clip)."""
    member = [slice_of(clip, emotion) for clip in clips]
    out: dict[str, dict[str, Any]] = {}
    for name in ("agree", "audio", "video", "neither"):
        rows = [row for row, found in enumerate(member) if found == name]
        if rows:
            means = {key: float(sum(values[row] for row in rows) / len(rows)) for key, values in scores.items()}
            out[name] = {"clips": len(rows), **means}
    return out
