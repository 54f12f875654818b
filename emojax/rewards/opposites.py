"""Can a reward tell the emotions apart in its own language? Asked of its own words, before anything is trained.

A sentence model of another language takes the words of all emotions for nearly the same text: its emotion coordinates
are noise, and training follows them all the same. So each word of each concept is embedded in the templates, its
concept's anchor made of the other words, and the nearest anchor looked for: of most words it must be their own.
"""

from collections.abc import Sequence

import numpy as np

from emojax.config import ConfigError
from emojax.rewards.reader import Reader

LEAST = 0.5  # share of the words; seven emotions by chance give a seventh


def check(read: Reader) -> None:
    """Raises ConfigError where a paid part `emotion` tells no emotions apart."""
    paid = [part.part for part in read.parts if part.part.file == "emotion" and part.part.paid]
    if not paid or read.weights is None or len(read.reward.concepts) < 2:
        return
    reward = read.reward
    share, confused = told_apart([words_of(read, concept.words) for concept in reward.concepts])
    if share > LEAST:
        return
    (k, word), other = confused[0]
    concept = reward.concepts[k]
    raise ConfigError(
        f"reward.model={reward.model} does not tell the emotions of reward.concepts apart: {share:.0%} of their words "
        f"lie nearest to their own emotion, wanted more than {LEAST:.0%} ({concept.words[word]!r} of {concept.name!r} "
        f"lies with {reward.concepts[other].name!r}): use a sentence model of the captions' language, concepts in the "
        "model's language, or a part that needs no model, such as wheel"
    )


def words_of(read: Reader, words: Sequence[str]) -> np.ndarray:
    """f64[words E]: each in all templates, the mean embedding."""
    templates = read.reward.templates
    embedded = read.phrases([template.format(word) for word in words for template in templates])
    return _unit(embedded.astype(np.float64).reshape(len(words), len(templates), -1).mean(1))


def told_apart(concepts: Sequence[np.ndarray]) -> tuple[float, list[tuple[tuple[int, int], int]]]:
    """The share of words that lie nearest to the anchor of their own concept's other words, and those that do not.

    Args:
      concepts: f64[words E] of unit length, of each.
    Returns:
      The share, of words whose concept has others; and of each that does not ((concept, word), nearest concept).
    """
    right, confused = 0, []
    asked = [(k, word) for k, words in enumerate(concepts) if len(words) > 1 for word in range(len(words))]
    for k, word in asked:
        others = [np.delete(words, word, 0) if n == k else words for n, words in enumerate(concepts)]
        anchors = _unit(np.stack([words.mean(0) for words in others]))
        mean = anchors.mean(0)
        nearest = int((_unit(anchors - mean) @ _unit(concepts[k][word] - mean)).argmax())
        right += nearest == k
        confused += [] if nearest == k else [((k, word), nearest)]
    return right / len(asked) if asked else 1.0, confused


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
