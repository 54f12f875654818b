"""Captions -> score [B G], in the graph: Sentence-BERT, emotion coordinates, ROUGE-L."""

from emojax.rewards.score import (
    RewardModel,
    RewardStatic,
    build,
    emotion_coordinates,
    references,
    score,
    score_texts,
)

__all__ = ["RewardModel", "RewardStatic", "build", "emotion_coordinates", "references", "score", "score_texts"]
