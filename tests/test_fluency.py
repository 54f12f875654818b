"""Captions read like the corpus' own, or they do not: order and repetition are what tells."""

import random

import pytest

from emojax.config import Corpus
from emojax.corpus.synthetic import describe
from emojax.evaluation.fluency import Fluency, fluency

RECORDS = describe(Corpus(clips=900, speakers=24))
TRAIN = [text for r in RECORDS if r["split"] == "train" for text in r["captions"]]
TEST = [text for r in RECORDS if r["split"] == "test" for text in r["captions"]]


@pytest.fixture(scope="module")
def read() -> Fluency:
    return fluency(TRAIN, TEST)


def test_captions_nobody_has_seen_are_fluent_but_one_in_twenty(read: Fluency) -> None:
    assert 0.94 < sum(map(read.fluent, TEST)) / len(TEST) < 0.96


def test_words_in_any_order_are_not(read: Fluency) -> None:
    shuffled = [
        " ".join(random.Random(i).sample(words := text.split(), len(words))) for i, text in enumerate(TEST[:50])
    ]
    assert sum(map(read.fluent, shuffled)) <= 2


def test_a_word_three_times_in_a_row_is_not(read: Fluency) -> None:
    text = next(text for text in TEST if read.fluent(text))
    first, rest = text.split(" ", 1)
    assert not read.fluent(f"{first} very very very {rest}")
    assert not read.fluent("")
