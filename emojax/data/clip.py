"""A clip: a recording with what is known of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emojax.config import ConfigError
from emojax.config.concepts import Concept
from emojax.data.records import Stored


@dataclass(frozen=True, slots=True)  # a manifest has a million
class Clip:
    """A recording with what is known of it. Media are files, fields of stored records, or arrays in memory."""

    id: str
    audio: Path | Stored | np.ndarray | None = None  # may be a video file: its sound; f32[A] at 16 kHz, mono
    video: Path | Stored | np.ndarray | None = None  # u8[S height width 3] RGB, evenly spaced in time
    transcript: str | None = None
    captions: tuple[str, ...] = ()  # references, the first one the best where they differ in worth
    emotion: str | None = None
    speaker: str | None = None
    split: str | None = None
    language: str | None = None  # of the captions; of the speech where there are none
    seconds: float | None = None  # duration of the audio; measured where absent
    attributes: Mapping[str, str] = field(default_factory=dict)  # facts that a caption may state, by any names
    captions_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # true of one stream alone, by its name
    extra: Mapping[str, Any] = field(default_factory=dict)  # the user's own, carried through to records
    start: float | None = None  # seconds into its files at which it begins and ends; None: with them
    end: float | None = None
    labels: tuple[str, ...] = ()  # what annotators called the emotion, one each
    soft_labels: Mapping[str, float] = field(default_factory=dict)  # shares of emotions, in any unit
    valence: float | None = None  # these three on the scale of their source
    arousal: float | None = None
    dominance: float | None = None
    chosen: str | None = None  # a caption that is better than the rejected ones: a pair that DPO learns from
    rejected: tuple[str, ...] = ()
    captions_in: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by language, `captions` among them
    source: str | None = None  # the dataset that it is of

    @property
    def file(self) -> Path:
        """That messages name: of its sound, else of its pictures, else its id."""
        named = (media.path if isinstance(media, Stored) else media for media in (self.audio, self.video))
        return next((path for path in named if isinstance(path, Path)), Path(self.id))

    @property
    def votes(self) -> Mapping[str, float]:
        """The emotion as finely as it is known: soft labels, else a vote an annotator, else the one label."""
        if self.soft_labels:
            return self.soft_labels
        if self.labels:
            return {label: float(self.labels.count(label)) for label in dict.fromkeys(self.labels)}
        return {} if self.emotion is None else {self.emotion: 1.0}


def label_numbers(labels: Iterable[str | None], concepts: Sequence[Concept]) -> list[int]:
    """The place of each label among the concepts; -1 where there is none.

    Raises:
      ConfigError: a label is not the name of a concept.
    """
    labels, number = list(labels), {concept.name: c for c, concept in enumerate(concepts)} | {None: -1}
    unknown = sorted({label for label in labels if label is not None and label not in number})
    if unknown:
        raise ConfigError(
            f"emotion labels {unknown} are not among the concepts {sorted(c.name for c in concepts)}: "
            "rename the labels in the manifest, or set `reward.concepts` to the manifest's emotions"
        )
    return [number[label] for label in labels]


def label_shares(clips: Sequence[Clip], concepts: Sequence[Concept]) -> np.ndarray:
    """f32[clips C]: the share of each concept in a clip's votes, which sum to 1; 0 throughout where it has none.

    Raises as `label_numbers`.
    """
    number = {concept.name: c for c, concept in enumerate(concepts)}
    label_numbers({name for clip in clips for name in clip.votes}, concepts)
    shares = np.zeros((len(clips), len(concepts)), np.float32)
    for row, clip in enumerate(clips):
        total = sum(clip.votes.values())
        for name, votes in clip.votes.items():
            shares[row, number[name]] = votes / total
    return shares
