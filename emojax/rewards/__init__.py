"""Captions -> score [B G], in the graph: Sentence-BERT, emotion coordinates, ROUGE-L."""

from emojax.rewards.score import RewardModel, RewardStatic, abstract, build, coordinates, score
from emojax.rewards.texts import coordinates_of_texts, references, score_texts

__all__ = [
    "RewardModel",
    "RewardStatic",
    "abstract",
    "build",
    "coordinates",
    "coordinates_of_texts",
    "references",
    "score",
    "score_texts",
]
