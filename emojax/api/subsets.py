"""What the captioner says of the test clips with less, without transcript, film or sound; and what it was told."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emojax import captioning
from emojax.captioning.prefixes import media_prefixes
from emojax.config.concepts import Attribute
from emojax.data.clips import Clip
from emojax.evaluation import emotion_accuracy
from emojax.evaluation.facts import facts, grid_with_less
from emojax.evaluation.floors import evenly
from emojax.evaluation.fluency import Fluency, fluency
from emojax.evaluation.modalities import named_by
from emojax.evaluation.probe import probe
from emojax.evaluation.report import ruled
from emojax.rewards.facts import known_facts

HIDDEN = {"no transcript": "transcript", "no video": "video", "no audio": "audio"}
PROBED = 1500  # training clips that the probe is fitted to
_READ = 800  # training clips whose captions the language model of captions is made of
_ALONE = {"no video": "audio", "no audio": "video"}  # the stream that is left, whose own captions say what can be told


def rows(
    model: captioning.Captioner, training: Sequence[Clip], test: Sequence[Clip], whole: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """For each subset of the streams `emotion_accuracy`, `facts`, and `fluent`: the share of captions that read like
    the training captions (`evaluation.fluency`). Clips that have nothing else to see or hear are left out.

    Without a film, or without sound, both are by the captions of the other stream alone (`captions_of`), where clips
    have them: no voice tells what only the face shows.
    """
    about = known_facts(model.cfg.reward)

    @functools.cache
    def reads(stream: str | None) -> Fluency:
        sides = (evenly(training, _READ), test)
        return fluency(*([text for clip in side for text in _of(stream, clip)] for side in sides))

    found = {"all": dict(whole)}
    for name, stream in HIDDEN.items():
        left = [dataclasses.replace(clip, **{stream: None}) for clip in test if clip.id in whole]
        left = [clip for clip in left if clip.audio or clip.video]
        records = model.records(left, captioning.Decoding(workers=model.cfg.data.workers))
        found[name] = {r["id"]: r["caption"] for r in records if "caption" in r}
    out = {}
    for name, captions in found.items():
        alone = _ALONE.get(name)
        clips = [told_by(alone, clip, about[0]) for clip in test if clip.id in captions]
        texts = [captions[clip.id] for clip in clips]
        if texts:
            out[name] = {
                "emotion_accuracy": emotion_accuracy(texts, [clip.emotion for clip in clips], about[0].values),
                "facts": facts(texts, clips, about),
                "fluent": sum(map(reads(alone).fluent, texts)) / len(texts),
                "clips": len(texts),
            }
    return out


def _of(stream: str | None, clip: Clip) -> Sequence[str]:
    """The captions of a stream of the clip alone; those of the clip where it has none, or no stream is named."""
    return clip.captions_of.get(stream or "", ()) or clip.captions


def told_by(stream: str | None, clip: Clip, emotion: Attribute) -> Clip:
    """The clip with the emotion that the captions of a stream alone name; as it is, where they name none or several."""
    return dataclasses.replace(clip, emotion=named_by(stream, clip, emotion) or clip.emotion)


def markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """`rows` as a table; empty where there is nothing to show."""
    lines = grid_with_less(found)
    if not lines:
        return ""
    return (
        f"## With less\n\n{ruled(lines)}\nWithout video or audio the emotion is what the other tells. Fluent: percent "
        "of captions that read like the training captions.\n\n"
    )


def probed(
    model: captioning.Captioner, training: Sequence[Clip], test: Sequence[Clip], most: int = PROBED
) -> dict[str, float]:
    """What a linear probe of the media's prefix, fitted to `most` training clips, knows of the facts of the test."""
    some = training[:: max(1, len(training) // most)][:most]
    prefixes = media_prefixes(model, [*some, *test])
    fitted, asked = ([clip for clip in side if clip.id in prefixes] for side in (some, test))
    table = [np.stack([prefixes[clip.id] for clip in side]) for side in (fitted, asked)]
    return probe(table[0], fitted, table[1], asked, known_facts(model.cfg.reward))
