"""BERTScore (Zhang et al. 2020, arXiv 1904.09675): each token's best match by the cosine of its vector in context.

The vectors are the last layer's of the reward's sentence encoder, so no other model is fetched. Scores of different
encoders are not comparable: name the encoder beside them.
"""

from collections.abc import Sequence

import numpy as np

from emojax.rewards.reader import Reader

_CLIPS = 64  # whose vectors are in memory at once


def bert_score(read: Reader, captions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """f64[clips 3]: precision, recall and F1, −1 to 1, of each the best over the clip's references, 0 of an empty text.

    No rarity weighs tokens and no baseline is taken off. Special tokens may be matched, and do not count.
    """
    assert read.sentence, "a reader of embeddings has a sentence model"
    special = read.sentence.special - 1, 1
    rows = []
    for start in range(0, len(captions), _CLIPS):
        some, refs = captions[start : start + _CLIPS], references[start : start + _CLIPS]
        texts = list(dict.fromkeys([*some, *(ref for each in refs for ref in each)]))
        vectors = dict(zip(texts, read.token_vectors(texts), strict=True))
        for caption, each in zip(some, refs, strict=True):
            rows.append(np.max([matched(vectors[caption], vectors[ref], special) for ref in each], 0))
    return np.array(rows)


def matched(ours: np.ndarray, theirs: np.ndarray, special: tuple[int, int] = (0, 0)) -> tuple[float, float, float]:
    """Precision, recall and F1 of two texts' vectors, f32[tokens D] of unit length.

    Args:
      special: how many of them, at the start and at the end, are of special tokens.
    """
    before, after = special
    cosine = ours @ theirs.T
    counted = cosine.max(1)[before : len(ours) - after], cosine.max(0)[before : len(theirs) - after]
    if not all(map(len, counted)):
        return 0.0, 0.0, 0.0
    precision, recall = (float(x.mean()) for x in counted)
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0
