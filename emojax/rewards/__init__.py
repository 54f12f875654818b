"""Captions -> score [B G], in the graph: Sentence-BERT, emotion coordinates, ROUGE-L."""

from emojax.rewards.score import (
    RewardModel,
    RewardStatic,
    abstract,
    build,
    emotion_coordinates,
    references,
    score,
    score_texts,
)

__all__ = [
    "RewardModel",
    "RewardStatic",
    "abstract",
    "build",
    "emotion_coordinates",
    "references",
    "score",
    "score_texts",
]
