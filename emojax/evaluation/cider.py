"""CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726), as the COCO caption evaluation has it, 0 to 10.

SPIDEr (Liu et al. 2017) is its mean with SPICE, whose parser is Java; of the two this is the half that can be had here.
The reward's part `cider` is the same number in the graph, its document frequencies those of the training clips.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from emojax.evaluation.metrics import Tokens

_N, _SIGMA = 4, 6.0
Grams = list[Counter[tuple[str, ...]]]


def cider(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> np.ndarray:
    """f64[clips]: mean cosine, over the references and n = 1 to 4, of n-gram counts weighed by rarity, times 10.

    A count is clipped by the reference's, and a Gaussian of the difference of lengths (deviation 6 words) weighs each
    pair. The rarity of an n-gram is the logarithm of the number of clips over those in whose references it stands (at
    least one), so a single clip scores 0.
    """
    documents = [[_grams(ref) for ref in refs] for refs in references]
    found: Counter[tuple[str, ...]] = Counter()
    for refs in documents:
        found.update({gram for ref in refs for grams in ref for gram in grams})

    def rarity(gram: tuple[str, ...]) -> float:
        return math.log(len(references) / max(1, found[gram]))

    return np.array(
        [
            10 * np.mean([_similarity(_grams(candidate), ref, rarity) for ref in refs])
            for candidate, refs in zip(candidates, documents, strict=True)
        ]
    )


def _grams(tokens: Tokens) -> Grams:
    return [Counter(zip(*(tokens[k:] for k in range(n)), strict=False)) for n in range(1, _N + 1)]


def _similarity(ours: Grams, theirs: Grams, rarity: Callable[[tuple[str, ...]], float]) -> float:
    total = 0.0
    for a, b in zip(ours, theirs, strict=True):
        product = sum(min(a[gram], b[gram]) * b[gram] * rarity(gram) ** 2 for gram in a)
        norms = math.prod(math.sqrt(sum((n * rarity(gram)) ** 2 for gram, n in x.items())) for x in (a, b))
        total += product / norms if norms else 0.0
    longer = sum(ours[0].values()) - sum(theirs[0].values())
    return total / _N * math.exp(-(longer**2) / (2 * _SIGMA**2))
