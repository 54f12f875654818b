"""The law of emojax/text for byte-level BPE rewards: the graph's tokens are the reward tokenizer's, for any tokens."""

import functools
import itertools
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from emojax import text
from emojax.bench import text as bench_text
from emojax.config import BertConfig
from emojax.text import byte_level as cut
from emojax.text.bytes import build_token_bytes, byte_alphabet
from emojax.text.check import compare, plain, random_ids
from support.conversions import same_in_64_bits_and_in_shards
from support.policies import gpt2
from support.sentencepieces import law_on
from test_retokenize import TEXTS, byte_level, every_form, scripts

SEQUENCES = 450  # of random tokens for each reward; of the slow test, 7,000
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def roberta(model: models.BPE, prefix: bool) -> Tokenizer:
    """With the special tokens of RoBERTa, "<mask>" as greedy for white space as there."""
    tokenizer = byte_level(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.add_special_tokens([*SPECIAL, AddedToken("<mask>", lstrip=True, special=True)])
    return tokenizer


def trained(vocabulary: int, prefix: bool) -> Tokenizer:
    learner = roberta(models.BPE(), prefix)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, special_tokens=SPECIAL)
    learner.train_from_iterator(every_form(), trainer)
    return learner


def of_rules(merges: list[tuple[str, str]], size: int = 500) -> Tokenizer:
    """A vocabulary of that size, so that all are one program."""
    vocabulary = {byte: i for i, byte in enumerate(byte_alphabet())}
    for token in [left + right for left, right in merges] + [f"filler{i}" for i in range(size)]:
        if len(vocabulary) < size:
            vocabulary.setdefault(token, len(vocabulary))
    return roberta(models.BPE(vocabulary, merges), prefix=False)


def random_rules(seed: int, rules: int, once: bool) -> list[tuple[str, str]]:
    """`once`: as trainers make them. Else tokens come about in several ways and open the way to rules of lower rank."""
    rng, tokens, merges = np.random.default_rng(seed), list("abc"[: 2 + seed % 2]), []
    while len(merges) < rules:
        left, right = map(str, rng.choice(tokens, 2))
        known = left + right in tokens
        if len(left + right) <= 12 and (left, right) not in merges and not (once and known):
            merges.append((left, right))
            tokens += [left + right] * (not known)
    return merges if once else [merges[i] for i in rng.permutation(rules)]


# Three ways to "abc"; "bc" is made after what is made of it: once there, it merges at a lower rank than its own.
LATER_IS_LOWER = [("bc", "d"), ("a", "bc"), ("abc", "d"), ("b", "c"), ("c", "d"), ("ab", "c"), ("a", "b"), ("a", "a")]
REWARDS = {
    "prefix": lambda: trained(1500, prefix=True),
    "no prefix": lambda: trained(1100, prefix=False),
    "lower later": lambda: of_rules(LATER_IS_LOWER, 1100),  # as many, so that both are one program
}


BYTES = byte_level(models.BPE(byte_alphabet(), []))


@functools.cache
def built(reward: str) -> tuple[text.BpeTables, Tokenizer]:
    tokenizer = plain(REWARDS[reward]())
    tables = text.build(gpt2(), tokenizer, max_bytes=256, max_tokens=256)
    assert isinstance(tables, text.BpeTables)
    return tables, tokenizer


def spelled(tables: text.BpeTables) -> text.BpeTables:
    """For a policy whose tokens are the bytes."""
    return replace(tables, policy=build_token_bytes(BYTES))


def law_on_random_tokens(reward: str, sequences: int, seed: int) -> list:
    tables, judge = built(reward)
    lines = [*scripts(), *("x <mask> y</s><s>", "  <mask>", "<mask><mask>\n <pad>")]
    encoded = [encoding.ids for encoding in gpt2().encode_batch(lines)]
    sources = [("text", ids[k : k + 64]) for ids in encoded for k in range(0, len(ids), 64)]
    return list(compare(tables, gpt2(), judge, sources + list(random_ids(gpt2(), sequences, 64, seed))))


@pytest.mark.parametrize("reward", REWARDS)
def test_tokens_equal_the_reference_for_random_tokens_and_many_scripts(reward):
    assert law_on_random_tokens(reward, SEQUENCES, seed=0) == []


@pytest.mark.slow
@pytest.mark.parametrize("reward", REWARDS)
def test_tokens_equal_the_reference_for_many_more_random_tokens(reward):
    assert law_on_random_tokens(reward, 7000, seed=1) == []


def test_random_tokens_reach_the_hard_cases():
    texts = gpt2().decode_batch([ids for _, ids in random_ids(gpt2(), SEQUENCES, 64, 0)])
    hard = ["\ufffd", "<mask>", r"\w's", "'S", " '", r"\s'", r"  +\w", r" \t", r"\xa0\S", r"\D12", "½", "''", "'l[^l]"]
    assert [case for case in hard if not any(re.search(case, line) for line in texts)] == []


def test_words_are_those_of_the_pattern():
    """All short strings of what its parts tell apart, and all contractions among their likes."""
    strings = ["".join(s) for s in itertools.product(" \n\xa0's1!", repeat=5)]
    strings += [f"{a}'{b}{c}{d}" for a in "x! " for b, c, d in itertools.product("stmdrevlSLx", "elLx ", "lx'")]
    reference = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    wanted = [[start for _, (start, _) in reference(s)] for s in strings]
    point = np.array([[ord(c) for c in s] for s in strings], np.int32)
    got_point, count, begins = jax.jit(cut.words)(
        cut.build_byte_level(prefix=False, pattern="gpt2"), point, np.ones(point.shape, bool)
    )
    assert [np.flatnonzero(row).tolist() for row in np.asarray(begins)] == wanted
    assert (np.asarray(got_point)[:, :-1] == point).all()
    assert np.asarray(count).sum(1).tolist() == [len(s.encode()) for s in strings]


def test_every_code_point_is_of_the_kind_that_the_library_says():
    points = [
        chr(c) for c in [*range(0x3100), *range(0xA640, 0xA700), *range(0xFE00, 0xFFFF), *range(0x10100, 0x10200)]
    ]
    lines = ["".join(f"a{c}1{c}!{c}" for c in points[k : k + 16]) for k in range(0, len(points), 16)]
    tables, judge = built("no prefix")
    assert law_on(spelled(tables), BYTES, judge, [list(line.encode()) for line in lines]) == []


def test_any_list_of_rules_is_followed():
    rng = np.random.default_rng(0)
    for seed in range(12):
        once = seed < 6  # then pairs may be merged before their turn
        reward = plain(of_rules(random_rules(seed, 20 + 15 * seed, once)))
        tables = text.build(BYTES, reward, max_bytes=120, max_tokens=120)
        assert isinstance(tables, text.BpeTables)
        assert (tables.rules.as_left.min() >= 0) == once
        words = rng.choice(list(b"abc" if seed % 2 else b"ab"), (64, 120))
        words[:, ::17] = ord(" ")
        assert law_on(tables, BYTES, reward, words.tolist()) == []
        loose = replace(tables.rules, as_left=np.full(501, 1 << 30), as_right=np.full(501, 1 << 30))
        if seed == 5:  # not the law but its judge: bounds that let every pair of locally lowest rank go first
            assert law_on(replace(tables, rules=loose), BYTES, reward, words.tolist())


@pytest.mark.parametrize("reward", ["prefix", "lower later"])
def test_words_as_long_as_the_text(reward):
    rng = np.random.default_rng(0)
    lines = [
        "a" * 256,
        "ab" * 128,
        "-" * 255,
        " " * 256,
        "abcd" * 64,
        "aab" * 85,
        "的" * 85,
        "'s" * 128,
        "\n" * 200 + "x",
    ]
    lines += ["".join(rng.choice(list(letters), 256)) for letters in ("ab", "abcd", "etaoinshr") for _ in range(20)]
    tables, judge = built(reward)
    assert law_on(spelled(tables), BYTES, judge, [list(line.encode()) for line in lines]) == []


@pytest.mark.parametrize(("max_bytes", "max_tokens"), [(1, 1), (48, 5)])
def test_a_long_text_is_cut_at_max_bytes_and_its_tokens_at_max_tokens(max_bytes, max_tokens):
    tables, judge = built("prefix")
    sources = [gpt2().encode(line).ids for line in TEXTS] + [ids for _, ids in random_ids(gpt2(), 180, 64, 1)]
    assert law_on(replace(tables, max_bytes=max_bytes, max_tokens=max_tokens), gpt2(), judge, sources) == []


def test_broken_utf_8_has_three_bytes_for_one():
    edges = list(bytes.fromhex("00 20 27 41 7f 80 8f 90 9f a0 bf c0 c1 c2 cc e0 e1 ec ed ef f0 f1 f3 f4 f5 ff"))
    broken = [*np.random.default_rng(0).choice(edges, (200, 256)).tolist(), [0xFF] * 256]
    tables, judge = built("prefix")
    tables = replace(spelled(tables), max_tokens=cut.longest(256))
    assert law_on(tables, BYTES, judge, broken) == []
    assert len(judge.encode("\ufffd" * 256).ids) <= cut.longest(256)


def test_a_wrong_table_is_found():
    """Not the law but its judge: ranks reversed, one wrong kind, the prefix left out."""
    tables, judge = built("prefix")
    sources = [gpt2().encode(line).ids[:64] for line in TEXTS]
    rank, last = tables.rules.rank, int(tables.rules.rank.max())
    kind = tables.words.kind.copy()
    kind[tables.words.page[0], ord("e")] = kind[tables.words.page[0], ord("!")]
    for wrong in (
        replace(tables, rules=replace(tables.rules, rank=np.where(rank < 0, rank, last - rank))),
        replace(tables, words=replace(tables.words, kind=kind)),
        replace(tables, words=replace(tables.words, prefix=False)),
    ):
        assert law_on(wrong, gpt2(), judge, sources)
    assert law_on(tables, gpt2(), judge, sources) == []


def test_tables_are_arguments():
    """Nothing of their size is a constant of the program, and nothing in it calls the host."""
    tables, _ = built("prefix")
    program = jax.make_jaxpr(text.retokenize)(tables, np.zeros((2, 8), np.int32))
    assert sum(np.asarray(c).nbytes for c in program.consts) < 1024
    assert "callback" not in str(program)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(tables)) < 1_000_000


def test_sixty_four_bit_mode_and_shards_change_nothing():
    tables = replace(spelled(built("prefix")[0]), max_bytes=32, max_tokens=16)
    ids = np.random.default_rng(0).integers(0, 256, (16, 32)).astype(np.int32)
    ids[:8] %= 128
    same_in_64_bits_and_in_shards(tables, ids)


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("normalizer", normalizers.NFKC(), "normalizer NFKC"),
        ("pre_tokenizer", None, "pre-tokenizer.*None"),
        ("pre_tokenizer", pre_tokenizers.Whitespace(), "pre-tokenizer.*Whitespace"),
        ("pre_tokenizer", pre_tokenizers.ByteLevel(use_regex=False), "'use_regex': False"),
        ("model", models.BPE(byte_alphabet(), [], dropout=0.1), "dropout=0.1"),
        ("model", models.BPE(byte_alphabet(), [], ignore_merges=True), "ignore_merges=True"),
        ("model", models.BPE(byte_alphabet(), [], end_of_word_suffix="</w>"), "end_of_word_suffix='</w>'"),
        ("model", models.BPE(byte_alphabet(), [], continuing_subword_prefix="##"), "continuing_subword_prefix='##'"),
        ("model", models.BPE({"a": 0}, []), "no token for 255 of the 256 bytes"),
        ("model", models.BPE(byte_alphabet() | {"ab": 7}, []), "share an id"),
    ],
)
def test_a_reward_tokenizer_of_another_kind_is_refused(part, value, reason):
    reward = of_rules(LATER_IS_LOWER, 275)
    setattr(reward, part, value)
    with pytest.raises(ValueError, match=reason):
        text.build(BYTES, reward, max_bytes=8, max_tokens=8)


def test_added_tokens_are_refused():
    reward = of_rules(LATER_IS_LOWER, 275)
    reward.add_tokens(["plain"])
    with pytest.raises(ValueError, match=r"added tokens \['plain'\]"):
        text.build(BYTES, reward, max_bytes=8, max_tokens=8)


def test_abstract_tables_have_the_kinds_of_arrays_that_real_ones_have():
    tables, reward = built("prefix")
    sizes = BertConfig(kind="roberta", vocab=reward.get_vocab_size(with_added_tokens=False))
    guess = text.abstract(gpt2().get_vocab_size(), sizes, max_bytes=256, max_tokens=256)
    assert isinstance(guess, text.BpeTables)
    real, guessed = map(jax.tree.leaves, (tables, guess))
    assert [(x.dtype, x.ndim) for x in real] == [(x.dtype, x.ndim) for x in guessed]
    assert [x.shape for x in jax.tree.leaves(tables.words)] == [x.shape for x in jax.tree.leaves(guess.words)]
    out, mask = jax.eval_shape(text.retokenize, guess, jax.ShapeDtypeStruct((8, 64), np.int32))
    assert (out.shape, out.dtype, mask.shape, mask.dtype) == ((8, 256), np.int32, (8, 256), bool)


def test_the_cost_of_each_pair_is_told(tmp_path):
    """Of tokenizers that are given; those made up keep the law, at the sizes that their names tell."""
    tokenizer = bench_text.byte_level(1000)
    assert bench_text.wordpiece(30_000).get_vocab_size() == 30_000
    reward = plain(tokenizer)
    tables = text.build(tokenizer, reward, max_bytes=99, max_tokens=99)
    assert law_on(tables, tokenizer, reward, [tokenizer.encode(s).ids[:30] for s in bench_text.sentences(20, 9)]) == []
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    work = bench_text.TextWork(8, 5, 20, 9, repeats=2, steps=0, policies=(tmp_path,), rewards=(tmp_path,))
    (pair,) = bench_text.measure(work)["pairs"]
    assert (pair["policy"], pair["reward"]) == (str(tmp_path), str(tmp_path))
    assert 0 < pair["least_ms"] <= pair["ms"]
    with pytest.raises(ValueError, match="--captions wants a multiple of 8"):
        bench_text.main(replace(work, captions=9))
