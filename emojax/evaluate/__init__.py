"""How good captions are: the field's metrics, the floors beside them, and the report."""

from emojax.evaluate.emotion_words import emotion_accuracy, emotion_of
from emojax.evaluate.floors import best_constant, nearest_captions
from emojax.evaluate.report import evaluate, markdown, table, write_report

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
