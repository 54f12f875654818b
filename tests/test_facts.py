"""Facts that captions state: the automaton in the graph finds what the plain search finds; what holds is paid, what
does not is fined; the built-in corpus's captions state nothing that is wrong."""

import random

import jax
import numpy as np
import pytest

from emojax.api.subsets import told_by
from emojax.config import ConfigError, Corpus, Reward
from emojax.config.concepts import ATTRIBUTES, CONCEPTS_ZH, Attribute, Concept
from emojax.corpus.synthetic import describe
from emojax.data.clips import Clip
from emojax.evaluation.facts import facts
from emojax.rewards import lexicon
from emojax.rewards.facts import holds, known_facts, numbers, pay

ABOUT = (*known_facts(Reward(attributes=ATTRIBUTES)), Attribute("zh", CONCEPTS_ZH))
NAMES = [(fact.name, value.name) for fact in ABOUT for value in fact.values]
RECORDS = describe(Corpus(clips=210, speakers=12))
BYTES = 300


def patched(rng: random.Random, words: list[str]) -> str:
    """Phrases whole and torn, in any case, glued together by anything."""
    parts = []
    for _ in range(rng.randrange(1, 14)):
        word = rng.choice(words)
        glue = rng.choice([" ", "-", ", ", ".  ", "x", "\t\n", "é", "说", "😀", "_", "7"])
        parts.append(rng.choice([word, word.upper(), word[: rng.randrange(1, 9)], glue]))
    return "".join(parts)


def texts() -> list[str]:
    rng = random.Random(0)
    words = [word for fact in ABOUT for value in fact.values for word in value.words]
    return [text for r in RECORDS[:40] for text in r["captions"]] + [patched(rng, words) for _ in range(800)] + [""]


def test_the_automaton_finds_what_the_search_finds() -> None:
    found = [text.encode() for text in texts() if len(text.encode()) <= BYTES]
    byte, length = np.zeros((len(found), BYTES), np.int32), np.array(list(map(len, found)))
    for row, spelled in zip(byte, found, strict=True):
        row[: len(spelled)] = list(spelled)
    filled = np.arange(BYTES) < length[:, None]
    byte[~filled] = ord("w")  # what lies past the end is not read
    named = np.asarray(jax.jit(lexicon.named)(lexicon.build(ABOUT), byte, filled))
    wanted = [lexicon.stated(text.decode(), ABOUT) for text in found]
    assert sum(map(len, wanted)) > 1000
    for text, row, want in zip(found, named, wanted, strict=True):
        got = {name for name, is_there in zip(NAMES, row, strict=True) if is_there}
        assert got == {(name, value) for name, values in want.items() for value in values}, text


@pytest.mark.parametrize(
    ("text", "gender"),
    [
        ("A woman speaks.", {"woman"}),
        ("The WOMAN-like", {"woman"}),
        ("Womanly, humane.", None),
        ("A man, and she too", {"man", "woman"}),
        ("manner", None),
        ("", None),
    ],
)
def test_a_phrase_counts_where_it_stands_whole(text: str, gender: set[str] | None) -> None:
    assert lexicon.stated(text, ATTRIBUTES).get("gender") == gender


def plain_reward(text: str, truth: dict[str, str], about: tuple[Attribute, ...]) -> float:
    named = lexicon.stated(text, about)
    earned = [0 if (got := named.get(name)) is None else 1 if got == {value} else -2.5 for name, value in truth.items()]
    return sum(earned) / len(earned)


def test_the_reward_is_the_share_of_facts_that_hold_less_those_that_do_not() -> None:
    about = ABOUT[:-1]
    lex = lexicon.build(about)
    rng = random.Random(1)
    captions = [rng.choice(RECORDS)["captions"][rng.randrange(5)] for _ in range(200)]
    truths = [{**r["attributes"], "emotion": r["emotion"]} for r in RECORDS[:199]] + [{}]
    known = numbers(about, truths)
    names = [(fact.name, value.name) for fact in about for value in fact.values]
    named = np.array(
        [[value in lexicon.stated(text, about).get(name, ()) for name, value in names] for text in captions]
    )
    stated, right = holds(named[:, None], lex.value, known)
    reward = np.asarray(pay(stated, right, known, 2.5))[:, 0]
    assert np.isnan(reward[-1]), "nothing is known of that clip"
    wanted = [plain_reward(text, truth, about) for text, truth in zip(captions[:199], truths, strict=False)]
    np.testing.assert_allclose(reward[:-1], wanted, atol=1e-6)
    assert min(wanted) < 0 < max(wanted)


def test_captions_of_the_corpus_state_nothing_wrong() -> None:
    clips = [Clip(r["id"], emotion=r["emotion"], attributes=r["attributes"]) for r in RECORDS for _ in r["captions"]]
    found = facts([text for r in RECORDS for text in r["captions"]], clips, ABOUT[:-1])
    assert found["none_wrong"] == 1.0
    for name in ("emotion", "gender"):
        assert found[name]["stated"] == 1.0
    for attribute in ATTRIBUTES:
        assert found[attribute.name]["right"] == 1.0
        assert found[attribute.name]["stated"] > 0.15


def test_captions_of_one_stream_claim_what_it_tells() -> None:
    """Sound tells no age, a film no style or timbre, words nothing; where a stream shows no emotion it looks calm."""
    silent = {"audio": {"age"}, "video": {"style", "timbre"}, "transcript": {a.name for a in ABOUT}}
    for record in RECORDS:
        for stream, captions in record["captions_of"].items():
            for text in captions:
                named = lexicon.stated(text, ABOUT[:-1])
                assert not named.keys() & silent[stream], text
                truth = {**record["attributes"], "emotion": record["emotion"]}
                if named.get("emotion") == {"neutral"} != {record["emotion"]}:
                    named = {name: values for name, values in named.items() if name not in ("emotion", "intensity")}
                assert all(values == {truth[name]} for name, values in named.items()), text


def test_the_emotion_of_a_stream_is_what_its_own_captions_name() -> None:
    of = {"video": ("A calm man is seen.",), "audio": ("A man sounds sad.", "The man sounds gloomy.")}
    clip = Clip("a", emotion="sad", captions_of=of)
    found = {stream: told_by(stream, clip, ABOUT[0]).emotion for stream in ("video", "audio", None)}
    assert found == {"video": "neutral", "audio": "sad", None: "sad"}
    torn = Clip("b", emotion="sad", captions_of={"video": ("A calm man is seen.", "A happy man is seen.")})
    assert told_by("video", torn, ABOUT[0]).emotion == "sad"


def test_a_value_without_words_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\['robot'\] of \"gender\" .* reward.attributes"):
        numbers(ABOUT, [{"gender": "robot"}])
    with pytest.raises(ConfigError, match="named twice"):
        known_facts(Reward(attributes=(Attribute("emotion", (Concept("x", ("y",)),)),)))
