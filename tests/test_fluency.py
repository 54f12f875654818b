"""Captions read like the corpus' own, or they do not: order and repetition are what tells."""

import random

from emojax.config import Corpus
from emojax.corpus.synthetic import describe
from emojax.evaluation.fluency import fluency

RECORDS = describe(Corpus(clips=900, speakers=24))
TRAIN = [text for r in RECORDS if r["split"] == "train" for text in r["captions"]]
TEST = [text for r in RECORDS if r["split"] == "test" for text in r["captions"]]
READ = fluency(TRAIN, TEST)


def test_captions_nobody_has_seen_are_fluent_but_one_in_twenty() -> None:
    assert 0.94 < sum(map(READ.fluent, TEST)) / len(TEST) < 0.96


def test_words_in_any_order_are_not() -> None:
    shuffled = [
        " ".join(random.Random(i).sample(words := text.split(), len(words))) for i, text in enumerate(TEST[:50])
    ]
    assert sum(map(READ.fluent, shuffled)) <= 2


def test_a_word_three_times_in_a_row_is_not() -> None:
    text = next(text for text in TEST if READ.fluent(text))
    first, rest = text.split(" ", 1)
    assert not READ.fluent(f"{first} very very very {rest}")
    assert not READ.fluent("")
