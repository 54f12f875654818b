"""Captions -> score [B G], in the graph: a weighted sum of parts, a file each in `parts/`."""

from emojax.rewards.inputs import Captions, RewardModel, RewardStatic
from emojax.rewards.reader import Reader, abstract_reader, make_reader
from emojax.rewards.score import abstract, build, coordinates, only_emotions, score, static_of
from emojax.rewards.texts import coordinates_of_texts, lookup, references, score_texts

__all__ = [
    "Captions",
    "Reader",
    "RewardModel",
    "RewardStatic",
    "abstract",
    "abstract_reader",
    "build",
    "coordinates",
    "coordinates_of_texts",
    "lookup",
    "make_reader",
    "only_emotions",
    "references",
    "score",
    "score_texts",
    "static_of",
]
