"""How good captions are: the field's metrics, the floors beside them, and the report."""

from emojax.evaluation.emotion_words import emotion_accuracy, emotion_of
from emojax.evaluation.floors import best_constant, nearest_captions
from emojax.evaluation.report import evaluate, markdown, table, write_report

__all__ = [
    "best_constant",
    "emotion_accuracy",
    "emotion_of",
    "evaluate",
    "markdown",
    "nearest_captions",
    "table",
    "write_report",
]
