"""Cues: which of the observations that a reference makes a caption makes, too, and how many of its own are made there.

As in XEmoGPT and EmoCue-360 each cue is matched with the most similar one of the other side by its sentence embedding.
There a language model lists the cues; here a cue is a clause of the caption, found by its punctuation and conjunctions.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from emojax.evaluation.metrics import tokenize

_BETWEEN = re.compile(
    r"[,;:.!?()，；：。！？、（）]+|\s[-–—]+\s|—+"
    r"|\b(?:and|but|while|as|with|because|although|though|so|when|which|who)\b",
    re.IGNORECASE,
)


def cues(caption: str, language: str) -> list[str]:
    """The clauses of a caption that hold a word; of a caption without any, none.

    >>> cues("A calm woman speaks slowly, and the brows stay still.", "en")
    ['A calm woman speaks slowly', 'the brows stay still']
    """
    return [clause.strip() for clause in _BETWEEN.split(caption) if tokenize(clause, language)]


def cue_scores(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    languages: Sequence[str],
    embed: Callable[[Sequence[str]], np.ndarray],
) -> np.ndarray:
    """f64[clips 3]: precision, recall and F1, −1 to 1, those of the reference with the highest F1.

    Args:
      embed: texts to unit vectors f32[texts E] (`rewards.reader.Reader.embed`).
    """
    rows = []
    for caption, refs, language in zip(captions, references, languages, strict=True):
        ours = cues(caption, language)
        others = [theirs for ref in refs if (theirs := cues(ref, language))]
        found = [best_matches(embed(ours) @ embed(theirs).T) for theirs in others] if ours else []
        rows.append(max(found, key=lambda scores: scores[2], default=(0.0, 0.0, 0.0)))
    return np.array(rows)


def best_matches(cosine: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and F1 of cosines f32[our cues, their cues]."""
    precision, recall = float(cosine.max(1).mean()), float(cosine.max(0).mean())
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
