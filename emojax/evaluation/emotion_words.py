"""Which emotion a caption names, by its words, and how often that is the label."""

import functools
import re
from collections import Counter
from collections.abc import Sequence

from emojax.config.concepts import Concept, with_forms
from emojax.data.clips import label_numbers

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")  # scripts without spaces: a word may stand inside a run of letters


def _key(words: str) -> str:
    return " ".join(re.split(r"[\s-]+", words.casefold()))


@functools.cache
def _finder(concepts: tuple[Concept, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    names: dict[str, str] = {}
    for concept in map(with_forms, concepts):
        for word in concept.words:
            names.setdefault(_key(word), concept.name)

    def pattern(word: str) -> str:
        body = r"[\s-]+".join(map(re.escape, word.split()))
        return body if _CJK.search(word) else rf"(?<!\w){body}(?!\w)"

    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("|".join(map(pattern, longest_first)) or r"(?!)"), names


def emotion_of(caption: str, concepts: Sequence[Concept]) -> str | None:
    """The emotion whose words occur most in a caption; of equals, the one named first; None if none is named.

    A word counts where it stands whole ("unhappy" is not happy), in any case, a hyphen as good as a space; Chinese and
    Japanese words count as substrings, the longest first. Where a word belongs to two concepts the earlier has it.
    Negation is not understood: "not sad" counts as sad.
    """
    finder, names = _finder(tuple(concepts))
    counts = Counter(names[_key(match.group())] for match in finder.finditer(caption.casefold()))
    return max(counts, key=counts.__getitem__, default=None)  # a Counter keeps the order of first occurrence


def emotion_accuracy(
    captions: Sequence[str], labels: Sequence[str | None], concepts: Sequence[Concept]
) -> float | None:
    """Share, 0 to 1, of the labelled clips whose caption names the label's emotion; None if no clip has a label.

    Raises:
      ConfigError: a label is not the name of a concept, so that no caption could be right.
    """
    label_numbers(labels, concepts)
    right = [emotion_of(c, concepts) == label for c, label in zip(captions, labels, strict=True) if label is not None]
    return sum(right) / len(right) if right else None
