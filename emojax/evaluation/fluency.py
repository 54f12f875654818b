"""Whether captions read like captions: a language model of the training captions, asked word by word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emojax.evaluation.metrics import language_of, tokenize

ORDER = 3  # words that a word is judged by, itself included
PERCENTILE = 5  # of the references' scores: captions below it do not read like one


@dataclass(frozen=True)
class Fluency:
    model: Any  # nltk.lm.api.LanguageModel
    bound: float  # the PERCENTILE of what references score, nats a word

    def score(self, caption: str) -> float:
        """Mean log-probability of a caption's words and of its end, nats; -inf of an empty one."""
        return _score(self.model, _words(caption))

    def fluent(self, caption: str) -> bool:
        """No word stands three times in a row, and the caption scores no less than one reference in twenty."""
        words = _words(caption)
        stammers = any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False))
        return not stammers and self.score(caption) >= self.bound


def fluency(training: Sequence[str], references: Sequence[str]) -> Fluency:
    """A trigram model (Witten & Bell 1991, interpolated) of the `training` captions, and what `references` score."""
    from nltk.lm import WittenBellInterpolated
    from nltk.lm.preprocessing import padded_everygram_pipeline

    model = WittenBellInterpolated(ORDER)
    model.fit(*padded_everygram_pipeline(ORDER, [_words(caption) for caption in training]))
    return Fluency(model, float(np.percentile([_score(model, _words(caption)) for caption in references], PERCENTILE)))


def _words(caption: str) -> list[str]:
    return tokenize(caption, language_of(caption))


def _score(model: Any, words: list[str]) -> float:
    if not words:
        return -np.inf
    edge = ORDER - 1
    padded = ["<s>"] * edge + words + ["</s>"] * edge
    known = model.vocab.lookup(padded)
    return float(np.mean([model.logscore(known[i], known[i - edge : i]) for i in range(edge, len(known))]) * np.log(2))
