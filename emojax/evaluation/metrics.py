"""The field's caption metrics: BLEU, ROUGE-L, METEOR, vocabulary, distinct-n, SECap's similarity.

Captions come as lists of tokens from `tokenize`; a number means nothing without the name of the tokenization that it
was computed under, which `tokenization` gives. BLEU, ROUGE-L and METEOR are on a scale of 0 to 100.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

Tokens = Sequence[str]
_UNSPACED = ("ja", "km", "lo", "my", "th")  # besides Chinese, languages written without spaces between words
ROUGE_BETA = 1.2  # recall weighs beta² as much as precision, as in the COCO caption evaluation


def _scheme(language: str) -> str:
    code = language.lower().replace("_", "-").split("-")[0]
    return "zh" if code == "zh" else "char" if code in _UNSPACED else "13a"


@functools.cache
def _splitter(scheme: str) -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
    from sacrebleu.tokenizers.tokenizer_char import TokenizerChar
    from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

    return {"zh": TokenizerZh, "char": TokenizerChar, "13a": Tokenizer13a}[scheme]()


def tokenize(text: str, language: str) -> list[str]:
    """Lower-cased tokens without punctuation.

    Chinese falls into characters, its Latin words and numbers whole (sacreBLEU's `zh`); Japanese, Thai and others
    written without spaces into characters (`char`); every other language into words (`13a`, that of mteval). Tokens
    that are punctuation only are dropped, as the COCO caption evaluation does, and so is punctuation at a token's ends.

    Args:
      language: a code such as "en", "zh" or "zh-CN".
    """
    tokens = (_bare(token) for token in _splitter(_scheme(language))(text.lower()).split())
    return [token for token in tokens if token]


def _bare(token: str) -> str:
    """Without punctuation, symbols and control characters at its ends; vowel signs of Indic scripts are letters."""
    return token.strip("".join(c for c in set(token) if unicodedata.category(c)[0] in "PSC"))


def language_of(text: str) -> str:
    """ "ja", "zh" or "en", by script alone: for texts whose manifest names no language."""
    return "ja" if re.search("[\u3040-\u30ff]", text) else "zh" if re.search("[\u3400-\u9fff]", text) else "en"


def tokenization(language: str) -> str:
    """The name to print beside every number computed from `tokenize(text, language)`."""
    return f"sacrebleu-{_scheme(language)}, lower case, no punctuation"


def bleu(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> tuple[float, float, float, float]:
    """Corpus BLEU-1 to BLEU-4, without smoothing (Papineni et al., 2002; sacreBLEU's sums).

    Counts are clipped by the largest count in any reference of the clip, the reference length is the closest one (the
    shorter on ties), and the brevity penalty is taken over the corpus. An order without any match gives 0.

    Args:
      candidates: a caption per clip.
      references: its reference captions, at least one with a token in it per clip.

    >>> candidate, reference = ["a", "calm", "low", "voice"], ["a", "calm", "voice"]
    >>> [round(x, 1) for x in bleu([candidate], [[reference]])]  # three of four words, one of three pairs
    [75.0, 50.0, 0.0, 0.0]
    """
    one, two, three, four = bleu_of(bleu_counts(candidates, references).sum(0)).tolist()
    return one, two, three, four


def bleu_counts(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> np.ndarray:
    """What BLEU is made of, i64[clips 10]: matches of each order, n-grams of each order, length, reference length."""
    from sacrebleu.metrics.bleu import BLEU

    scorer = BLEU(tokenize="none", force=True)
    rows = []
    for candidate, refs in zip(candidates, references, strict=True):
        x = scorer.corpus_score([" ".join(candidate)], [[" ".join(ref)] for ref in refs])
        rows.append([*x.counts, *x.totals, x.sys_len, x.ref_len])
    return np.array(rows, np.int64)


def bleu_of(sums: np.ndarray) -> np.ndarray:
    """BLEU-1 to BLEU-4, f64[... 4], of sums over clips of `bleu_counts`, [... 10]."""
    counts, totals, ours, theirs = sums[..., :4], sums[..., 4:8], sums[..., 8:9], sums[..., 9:]
    logs = np.log(np.maximum(counts, 1) / np.maximum(totals, 1))
    penalty = np.minimum(0.0, 1 - theirs / np.maximum(ours, 1))
    score = 100 * np.exp(penalty + np.cumsum(logs, -1) / np.arange(1, 5))
    return np.where(np.minimum.accumulate(counts, -1) > 0, score, 0.0)


def rouge_l(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> np.ndarray:
    """ROUGE-L of each clip, f64[clips] (Lin, 2004), as the COCO caption evaluation defines it.

    With the length of the longest common subsequence over that of the caption as precision and over that of the
    reference as recall, the best precision P and the best recall R over the references give
    (1 + β²) P R / (R + β² P), β = 1.2.

    >>> rouge_l([["a", "calm", "low", "voice"]], [[["a", "calm", "voice"]]]).round(1)[0].item()
    88.0
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], tokenizer=SimpleNamespace(tokenize=str.split))
    beta2, scores = ROUGE_BETA**2, []
    for candidate, refs in zip(candidates, references, strict=True):
        pairs = [scorer.score(" ".join(ref), " ".join(candidate))["rougeL"] for ref in refs]
        p, r = max(x.precision for x in pairs), max(x.recall for x in pairs)
        scores.append((1 + beta2) * p * r / (r + beta2 * p) if p else 0.0)
    return 100 * np.array(scores)


def meteor(
    candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]], languages: Sequence[str]
) -> np.ndarray:
    """METEOR of each clip, f64[clips], the best over its references (Banerjee and Lavie, 2005; NLTK's implementation).

    Words match if they are equal or, in English, if their Porter stems are. There are no synonyms, so the number is
    below that of the Java METEOR with WordNet and the same in every installation.
    """
    from nltk.stem.porter import PorterStemmer
    from nltk.translate.meteor_score import meteor_score

    porter: Any = SimpleNamespace(stem=functools.cache(PorterStemmer().stem))
    identity: Any = SimpleNamespace(stem=str)
    no_synonyms: Any = SimpleNamespace(synsets=lambda word: ())
    scores = [
        meteor_score(refs, candidate, stemmer=porter if language[:2] == "en" else identity, wordnet=no_synonyms)
        for candidate, refs, language in zip(candidates, references, languages, strict=True)
    ]
    return 100 * np.array(scores)


def vocabulary(candidates: Sequence[Tokens]) -> int:
    """Distinct tokens over all captions."""
    return len({token for candidate in candidates for token in candidate})


def distinct(candidates: Sequence[Tokens], n: int) -> float:
    """Distinct n-grams over all n-grams of all captions, 0 to 1 (Li et al., 2016); 0 where there are none."""
    grams = [gram for c in candidates for gram in zip(*(c[i:] for i in range(n)), strict=False)]
    return len(set(grams)) / len(grams) if grams else 0.0


def secap_similarity(samples: np.ndarray, references: np.ndarray, drop: int = 3) -> np.ndarray:
    """SECap's sentence similarity: a caption's samples, the odd ones out left away, against the reference.

    Of the G samples of a clip (eight in the paper) the `drop` with the lowest mean similarity to the others are left
    out; the similarity to the reference is averaged over the rest (Xu et al., arXiv 2312.10381).

    Args:
      samples: f32[B G E] sentence embeddings of unit length.
      references: f32[B E] likewise; of several references the plain mean of their embeddings, whose product with a
        sample is the mean of the similarities.
    Returns:
      f32[B]
    """
    if not 0 <= drop < samples.shape[1]:
        raise ValueError(f"secap_similarity: {samples.shape[1]} samples per clip, of which {drop} cannot be dropped")
    among = np.einsum("bge,bhe->bgh", samples, samples).sum(-1)  # with itself is 1 for every sample: no change of order
    kept = np.argsort(-among, axis=1, kind="stable")[:, : samples.shape[1] - drop]
    to_reference = np.einsum("bge,be->bg", samples, references)
    return np.take_along_axis(to_reference, kept, axis=1).mean(1)
