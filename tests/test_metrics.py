"""Every metric equals its definition: worked by hand, and by another implementation on random captions."""

import functools
import random

import nltk
import numpy as np
import pytest
from nltk.translate.bleu_score import corpus_bleu

from emojax.config.concepts import CONCEPTS, Concept
from emojax.evaluation.emotion_words import emotion_accuracy, emotion_of
from emojax.evaluation.metrics import (
    bleu,
    distinct,
    language_of,
    meteor,
    rouge_l,
    secap_similarity,
    tokenization,
    tokenize,
    vocabulary,
)


def words(text):
    return text.split()


@pytest.fixture(scope="module")
def corpus():
    """60 random captions of 4 to 12 words out of 6, each with 1 to 4 references."""
    rng = random.Random(0)

    def sentence():
        return rng.choices("abcdef", k=rng.randint(4, 12))

    return [sentence() for _ in range(60)], [[sentence() for _ in range(rng.randint(1, 4))] for _ in range(60)]


@pytest.mark.parametrize(
    ("text", "language", "tokens"),
    [
        ("A sad, slow VOICE!", "en", "a sad slow voice"),
        ("matter-of-fact; “calm” & 'even'...", "en-GB", "matter-of-fact calm even"),
        ("it rose 3.5 semitones", "en", "it rose 3.5 semitones"),
        ("伤心不已，悲伤。", "zh", "伤 心 不 已 悲 伤"),
        ("语速2.5倍，说OK！", "zh-CN", "语 速 2.5 倍 说 ok"),
        ("悲しい声。", "ja", "悲 し い 声"),
        ("दुखी।", "hi", "दुखी"),
        ("...", "en", ""),
    ],
)
def test_tokens_are_words_or_chinese_characters(text, language, tokens):
    assert tokenize(text, language) == tokens.split()


def test_a_text_without_a_named_language_is_told_by_its_script():
    assert [language_of(text) for text in ("A sad voice", "声音 sad", "悲しい声", "")] == ["en", "zh", "ja", "en"]


def test_each_tokenization_has_a_name_of_its_own():
    assert len({tokenization(language) for language in ("en", "zh", "ja")}) == 3
    assert tokenization("zh-CN") == tokenization("zh_TW") == tokenization("ZH")


def test_bleu_clips_counts_by_the_best_reference():
    """Papineni et al. (2002), section 2.1: "the" is counted twice, not seven times."""
    references = [[words("the cat is on the mat"), words("there is a cat on the mat")]]
    assert bleu([["the"] * 7], references)[0] == pytest.approx(100 * 2 / 7)


def test_bleu_takes_the_closest_length_and_the_shorter_of_two():
    assert bleu([words("a b c")], [[words("a b"), words("a b c d")]])[0] == pytest.approx(100.0)  # 2 words: no penalty
    one = bleu([words("a b c")], [[words("a b c d"), words("a b c d e f")]])[0]
    assert one == pytest.approx(100 * np.exp(1 - 4 / 3))


def test_bleu_sums_counts_over_the_corpus_before_it_divides():
    one, two, *_ = bleu([words("a b"), words("c d e f")], [[words("a b")], [words("c x e y")]])
    assert one == pytest.approx(100 * 4 / 6)
    assert two == pytest.approx(100 * (4 / 6 * 1 / 4) ** 0.5)


def test_bleu_equals_nltk(corpus):
    candidates, references = corpus
    for n, score in enumerate(bleu(candidates, references), 1):
        assert score == pytest.approx(100 * corpus_bleu(references, candidates, weights=[1 / n] * n), rel=1e-9)


def test_bleu_is_not_smoothed():
    one, two, three, four = bleu([words("a b c x d")], [[words("a b c y d")]])
    assert (one, two) == pytest.approx((80, 100 * (4 / 5 * 2 / 4) ** 0.5))
    assert three == pytest.approx(100 * (4 / 5 * 2 / 4 * 1 / 3) ** (1 / 3))
    assert four == 0


def test_no_match_and_no_words_score_nothing():
    for candidate in (words("x y z"), []):
        assert bleu([candidate], [[words("a b c")]]) == (0, 0, 0, 0)
        assert rouge_l([candidate], [[words("a b c")]]) == 0
        assert meteor([candidate], [[words("a b c")]], ["en"]) == 0


def test_the_reference_itself_scores_in_full(corpus):
    _, references = corpus
    firsts = [refs[0] for refs in references]
    assert bleu(firsts, references) == pytest.approx((100,) * 4)
    assert rouge_l(firsts, references) == pytest.approx(100)


def test_rouge_l_by_hand():
    """P = 3/4 and R = 3/6, so (1 + 1.44) 0.75 · 0.5 / (0.5 + 1.44 · 0.75)."""
    score = rouge_l([words("a b c x")], [[words("a y b z c w")]])
    assert score == pytest.approx(100 * 2.44 * 0.375 / (0.5 + 1.44 * 0.75))


def test_rouge_l_equals_the_coco_definition_on_random_captions(corpus):
    @functools.cache
    def lcs(x, y):
        if not x or not y:
            return 0
        return lcs(x[1:], y[1:]) + 1 if x[0] == y[0] else max(lcs(x[1:], y), lcs(x, y[1:]))

    def coco(candidate, refs):  # best precision and best recall, of whichever reference each
        found = [lcs(tuple(candidate), tuple(ref)) for ref in refs]
        p = max(x / len(candidate) for x in found)
        r = max(x / len(ref) for x, ref in zip(found, refs, strict=True))
        return (1 + 1.2**2) * p * r / (r + 1.2**2 * p) if p else 0.0

    np.testing.assert_allclose(rouge_l(*corpus), [100 * coco(c, r) for c, r in zip(*corpus, strict=True)])


def test_meteor_matches_english_stems_and_no_synonyms(monkeypatch):
    monkeypatch.setattr(nltk.data, "path", [])  # no WordNet on this machine, nor any other corpus
    she = [[words("she speaks"), words("x")]]
    assert meteor([words("she speaking")], she, ["en"]) == pytest.approx(100 * (1 - 0.5 / 2**3))  # 2 words, 1 chunk
    assert meteor([words("she speaking")], she, ["de"]) == pytest.approx(100 * 0.5 * (1 - 0.5))
    assert meteor([["angry"]], [[["furious"]]], ["en"]) == 0


def test_meteor_weighs_recall_and_chunks():
    """P = 2/2, R = 2/4, F = P R / (0.9 P + 0.1 R); two chunks of one word each halve it."""
    score = meteor([words("a c")], [[words("a b c d")]], ["en"])
    assert score == pytest.approx(100 * 0.5 / (0.9 + 0.1 * 0.5) * (1 - 0.5))


def test_vocabulary_and_distinct_count_over_all_captions():
    captions = [words("a b a b"), words("a b c"), []]
    assert vocabulary(captions) == 3
    assert distinct(captions, 1) == pytest.approx(3 / 7)
    assert distinct(captions, 2) == pytest.approx(3 / 5)  # ab ba ab, ab bc
    assert distinct([[]], 2) == 0


def test_secap_drops_the_samples_least_like_the_others():
    def angle(degrees):
        return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], -1)

    samples = angle([[0, 90, 2, 180, 4, 6, 270, 8], [0, 0, 0, 0, 0, 120, 140, 160]])
    references = angle([0, 60])
    expected = [np.cos(np.radians([0, 2, 4, 6, 8])).mean(), 0.5]
    np.testing.assert_allclose(secap_similarity(samples, references), expected)
    with pytest.raises(ValueError, match="8 samples per clip"):
        secap_similarity(samples, references, drop=8)


@pytest.mark.parametrize(
    ("caption", "emotion"),
    [
        ("An angry voice, loud and fast", "angry"),
        ("She sounds UNHAPPY", "sad"),  # not happy
        ("He is taken\naback", "surprised"),
        ("a matter of fact tone", "neutral"),
        ("happy at first, then sadness, then sorrow", "sad"),  # the most
        ("fear turns into anger", "fearful"),  # of equals the first
        ("this evening a madam spoke", None),
        ("", None),
    ],
)
def test_the_emotion_is_the_one_whose_words_occur_most(caption, emotion):
    assert emotion_of(caption, CONCEPTS) == emotion


def test_chinese_words_are_found_inside_text_the_longest_first():
    concepts = (Concept("happy", ("高兴", "喜悦")), Concept("sad", ("不高兴", "悲伤")))
    assert emotion_of("她很高兴，充满喜悦，略带悲伤", concepts) == "happy"
    assert emotion_of("他不高兴", concepts) == "sad"
    assert emotion_of("声音高亢", concepts) is None
    assert emotion_of("悲喜交加", (Concept("sad", ("悲",)), Concept("surprised", ("悲喜交加",)))) == "surprised"


def test_emotion_accuracy_counts_labelled_clips_only():
    captions = ["a sad voice", "a glad voice", "a voice", "a furious voice"]
    assert emotion_accuracy(captions, ["sad", "angry", "happy", None], CONCEPTS) == pytest.approx(1 / 3)
    assert emotion_accuracy(captions, [None] * 4, CONCEPTS) is None
    with pytest.raises(ValueError, match="boredom"):
        emotion_accuracy(captions, ["boredom"] * 4, CONCEPTS)
