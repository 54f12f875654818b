"""The law of emojax/text for SentencePiece rewards: the graph's tokens are the reward tokenizer's, for any tokens."""

import base64
import functools
import itertools
import json
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from emojax import text
from emojax.config import BertConfig, MpnetConfig
from emojax.text import graphemes, unigram
from emojax.text.bytes import build_token_bytes, byte_alphabet
from emojax.text.charsmap import read_charsmap
from emojax.text.check import compare, plain, random_ids
from support.conversions import same_in_64_bits_and_in_shards
from support.sentencepieces import SPECIAL, bge, few_letters, folded, law_on, learned, sentencepiece, xlm_r
from test_retokenize import TEXTS, byte_level, scripts

SEQUENCES = 300  # of random tokens for each of the pairs; of the slow test, 7,500
REWARDS = {"xlm-r": xlm_r, "bge": bge, "folded": folded, "few letters": few_letters}


@pytest.fixture(scope="session")
def policies() -> dict[str, Tokenizer]:
    trained = byte_level(models.BPE())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, special_tokens=["<|end|>", "<pad>"])
    trained.train_from_iterator(TEXTS * 3, trainer)
    return {"trained": trained, "bytes": byte_level(models.BPE(byte_alphabet(), []))}


@pytest.fixture(scope="session")
def tables_of(policies):
    """reward -> (tables for 256 bytes, trained policy, reference tokenizer), built once."""

    @functools.cache
    def built(reward: str) -> tuple[text.UnigramTables, Tokenizer, Tokenizer]:
        tokenizer = plain(REWARDS[reward]())
        return text.build(policies["trained"], tokenizer, max_bytes=256, max_tokens=256), policies["trained"], tokenizer

    return built


def with_policy(tables: text.Tables, policy: Tokenizer) -> text.Tables:
    return replace(tables, policy=build_token_bytes(policy))


def law_on_random_tokens(tables_of, reward: str, sequences: int, seed: int) -> list:
    tables, policy, judge = tables_of(reward)
    encoded = [encoding.ids for encoding in policy.encode_batch(scripts())]
    sources = [("text", ids[k : k + 64]) for ids in encoded for k in range(0, len(ids), 64)]
    return list(compare(tables, policy, judge, sources + list(random_ids(policy, sequences, 64, seed))))


@pytest.mark.parametrize("reward", REWARDS)
def test_tokens_equal_the_reference_for_random_tokens_and_many_scripts(tables_of, reward):
    assert law_on_random_tokens(tables_of, reward, SEQUENCES, seed=1) == []


@pytest.mark.slow
@pytest.mark.parametrize("reward", REWARDS)
def test_tokens_equal_the_reference_for_many_more_random_tokens(tables_of, reward):
    assert law_on_random_tokens(tables_of, reward, 25 * SEQUENCES, seed=2) == []


def test_random_tokens_reach_the_hard_cases(policies):
    texts = policies["trained"].decode_batch([ids for _, ids in random_ids(policies["trained"], 1500, 64, 1)])
    hard = [
        "\ufffd",
        "<s>",
        "▁",
        "ﷺ",
        "[™ℹ½²ﬁ①][\u0301\u0308]",
        "[Aez]\u0308",
        "\u1100\u1161",
        "\u0600",
        "[कग]\u094d",
        "©\u200d",
    ]
    assert [case for case in hard if not any(re.search(case, line) for line in texts)] == []
    assert any(len(word) > 100 and word.isascii() for line in texts for word in line.split())


def test_an_unknown_character_costs_ten_more_than_the_worst_piece():
    """It is cheaper than a piece that has the character where it leaves a good piece whole: "abab", "c"."""
    rng = np.random.default_rng(0)
    good = [("".join(s), -float(rng.uniform(1, 2))) for s in itertools.product("ab", repeat=4)]
    bad = [(piece, -float(rng.uniform(9, 12))) for piece in ("ac", "bc", "ca", "cb")]
    scores = [("▁", -1.0), ("a", -5.0), ("b", -4.0), *good, *bad]
    policy = byte_level(models.BPE(byte_alphabet(), []))
    reward = plain(sentencepiece(graphemes.write_charsmap({"B": "b"}), scores))
    tables = text.build(policy, reward, max_bytes=99, max_tokens=99)
    sources = rng.choice(list(b"abc"), (500, 20), p=[0.4, 0.4, 0.2]).tolist()
    assert law_on(tables, policy, reward, sources) == []
    found = [reward.encode(bytes(ids).decode()).ids for ids in sources]
    assert 100 < sum(SPECIAL.index("<unk>") in ids for ids in found) < 400


@pytest.mark.parametrize("step", [0.1, 0.25, 1 / 3])
def test_ties_are_broken_as_rounding_breaks_them(step):
    """Every sum of scores has many equals on paper; in float64 some of them, and then the longer first piece wins."""
    rng = np.random.default_rng(0)
    strings = ["".join(s) for n in (1, 2, 3, 4) for s in itertools.product("ab▁", repeat=n) if "▁" not in s[1:]]
    scores = [step * -float(rng.integers(1, 4) + 3 * len(s)) for s in strings]
    policy = byte_level(models.BPE(byte_alphabet(), []))
    reward = plain(sentencepiece(graphemes.write_charsmap({"B": "b"}), list(zip(strings, scores, strict=True))))
    tables = text.build(policy, reward, max_bytes=200, max_tokens=200)
    words = [
        "".join(rng.choice(list("abcdB "), int(rng.integers(1, 200)), p=[0.4, 0.4, *[0.05] * 4])) for _ in range(500)
    ]
    assert law_on(tables, policy, reward, [list(word.encode()) for word in words]) == []


def test_sums_are_those_of_float64():
    """Costs of 53 bits between 2^-7 and 2^5, and of 24; sums of up to two thousand, which have to be rounded."""
    rng = np.random.default_rng(0)
    costs = np.exp2(rng.uniform(-7, 5, (200, 64)))
    costs[:, ::3] = costs[:, ::3].astype(np.float32)
    costs[:, ::5] = np.round(costs[:, ::5], 1)
    costs[rng.random(costs.shape) < 0.1] = 0
    limbs = unigram.fixed_point(-costs.reshape(-1), longest=2000).reshape(*costs.shape, 3)
    add = jax.jit(unigram.add)
    total, exact = np.zeros(64), tuple(np.zeros(64, np.int32) for _ in range(3))
    unit = max(value.as_integer_ratio()[1] for value in costs.reshape(-1).tolist())
    rounded = 0
    for i in range(2000):
        total = total + costs[i % 200]
        before = [sum(int(x[n]) << 24 * (2 - k) for k, x in enumerate(exact)) for n in range(64)]
        exact = tuple(map(np.asarray, add(exact, tuple(limbs[i % 200].T))))
        numbers = [sum(int(x[n]) << 24 * (2 - k) for k, x in enumerate(exact)) for n in range(64)]
        assert [n / unit for n in numbers] == total.tolist()
        rounded += sum(
            n - b != round(c * unit) for n, b, c in zip(numbers, before, costs[i % 200].tolist(), strict=True)
        )
    assert rounded > 1000  # the test would see a sum that is not rounded


def test_check_reads_all_of_a_long_line(policies):
    assert text.check(policies["trained"], few_letters(), [" ".join(TEXTS)], random_sequences=80) == []


@pytest.mark.parametrize(("max_bytes", "max_tokens"), [(1, 1), (48, 5)])
def test_a_long_text_is_cut_at_max_bytes_and_its_tokens_at_max_tokens(tables_of, max_bytes, max_tokens):
    tables, policy, reward = tables_of("bge")
    sources = [policy.encode(line).ids for line in TEXTS] + [ids for _, ids in random_ids(policy, 300, 64, 1)]
    assert law_on(replace(tables, max_bytes=max_bytes, max_tokens=max_tokens), policy, reward, sources) == []


def test_broken_utf_8(tables_of, policies):
    edges = list(bytes.fromhex("00 41 7f 80 8f 90 9f a0 bf c0 c1 c2 cc e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff"))
    broken = np.random.default_rng(0).choice(edges, (300, 64)).tolist()
    tables, _, reward = tables_of("few letters")
    assert law_on(with_policy(tables, policies["bytes"]), policies["bytes"], reward, broken) == []


def test_a_wrong_table_is_found(tables_of):
    """Not the law but its judge: one wrong score, one wrong normal form and one wrong class are noticed."""
    tables, policy, reward = tables_of("few letters")
    sources = [policy.encode(line).ids for line in (TEXTS[0], "e\u0301")]
    cost = np.roll(tables.cost, 1, 0)
    form = np.where(tables.charsmap.key, 0, tables.charsmap.form)
    kind = np.full_like(tables.charsmap.kind, graphemes.OTHER)
    for wrong in (
        replace(tables, cost=cost),
        replace(tables, charsmap=replace(tables.charsmap, form=form)),
        replace(tables, charsmap=replace(tables.charsmap, kind=kind)),
    ):
        assert law_on(wrong, policy, reward, sources)


def test_the_tokenizers_of_the_tests_are_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    charsmap, pieces = learned("nmt_nfkc")
    vocabulary = [(token, 0.0) for token in SPECIAL] + pieces + [("<mask>", 0.0)]
    published = transformers.XLMRobertaTokenizer(vocab=vocabulary, _spm_precompiled_charsmap=charsmap).backend_tokenizer
    ours, theirs = json.loads(xlm_r().to_str()), json.loads(published.to_str())
    assert all(ours[part] == theirs[part] for part in ("normalizer", "pre_tokenizer", "model"))


def test_tables_are_arguments(tables_of):
    """Nothing of their size is a constant of the program, and nothing in it calls the host."""
    tables, *_ = tables_of("xlm-r")
    program = jax.make_jaxpr(text.retokenize)(tables, np.zeros((2, 8), np.int32))
    assert sum(np.asarray(c).nbytes for c in program.consts) < 1024
    assert "callback" not in str(program)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(tables)) < 4_000_000


def test_sixty_four_bit_mode_and_shards_change_nothing(tables_of, policies):
    tables = with_policy(replace(tables_of("few letters")[0], max_bytes=64, max_tokens=32), policies["bytes"])
    ids = np.random.default_rng(0).integers(0, 256, (16, 48)).astype(np.int32)
    ids[:8] %= 128
    same_in_64_bits_and_in_shards(tables, ids)


METASPACE = {"replacement": "▁", "prepend_scheme": "always", "split": True}
TINY = [("<unk>", 0.0), ("a", -1.0)]


def tiny(**parts) -> Tokenizer:
    reward = sentencepiece(graphemes.write_charsmap({"A": "a"}), [("a", -1.0)])
    for part, value in parts.items():
        setattr(reward, part, value)
    return reward


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("normalizer", normalizers.NFKC(), "normalizer NFKC"),
        ("normalizer", normalizers.Sequence([normalizers.Strip()]), "normalizer Strip"),
        ("pre_tokenizer", pre_tokenizers.Whitespace(), "pre-tokenizer Whitespace"),
        ("pre_tokenizer", pre_tokenizers.Metaspace(**METASPACE | {"replacement": "_"}), "'replacement': '_'"),
        ("pre_tokenizer", pre_tokenizers.Metaspace(**METASPACE | {"prepend_scheme": "never"}), "'never'"),
        ("pre_tokenizer", pre_tokenizers.Metaspace(**METASPACE | {"split": False}), "'split': False"),
        ("model", models.Unigram(TINY, 0, byte_fallback=True), "byte_fallback=True"),
        ("model", models.Unigram(TINY, None), "no token for unknown characters"),
        ("model", models.Unigram([*TINY, ("b", 1.0)], 0), "scores above zero"),
        ("model", models.Unigram([*TINY, ("b", -1e-9 / 3)], 0), r"numbers of \d+ bits"),
        ("model", models.Unigram([*TINY, ("a<unk>", -1.0)], 0), r"contain its unknown token: \['a<unk>'\]"),
        ("model", models.Unigram([("A", 0.0)], 0), "no piece that text can match"),
    ],
)
def test_a_reward_tokenizer_of_another_kind_is_refused(policies, part, value, reason):
    with pytest.raises(ValueError, match=reason):
        text.build(policies["bytes"], tiny(**{part: value}), max_bytes=8, max_tokens=8)


def test_other_normalisers_after_the_map_added_tokens_and_broken_maps_are_refused(policies):
    precompiled = tiny().normalizer
    for step, reason in (
        (normalizers.Lowercase(), "normalizer Precompiled and Lowercase"),
        (normalizers.Replace(" ", "▁"), "Replace of"),
        (normalizers.Replace(Regex(" {2,}"), "_"), "Replace of"),
    ):
        with pytest.raises(ValueError, match=reason):
            text.build(
                policies["bytes"], tiny(normalizer=normalizers.Sequence([precompiled, step])), max_bytes=8, max_tokens=8
            )
    reward = tiny()
    reward.add_tokens(["plain"])
    with pytest.raises(ValueError, match=r"added tokens \['plain'\]"):
        text.build(policies["bytes"], reward, max_bytes=8, max_tokens=8)
    with pytest.raises(ValueError, match="cut short"):
        read_charsmap("AAAA")
    with pytest.raises(ValueError, match="not of UTF-8 text"):
        read_charsmap(base64.b64encode(graphemes.write_charsmap({"A": "a"})[:-1]).decode())


@pytest.mark.parametrize(
    ("reward", "of"),
    [
        (BertConfig(), text.WordpieceTables),
        (MpnetConfig(), text.WordpieceTables),
        (BertConfig(kind="xlm-roberta", vocab=250_002), text.UnigramTables),
    ],
)
def test_abstract_tables_trace_to_the_shapes_of_real_ones(reward, of):
    tables = text.abstract(151_000, reward, max_bytes=256, max_tokens=62)
    assert isinstance(tables, of)
    out, mask = jax.eval_shape(text.retokenize, tables, jax.ShapeDtypeStruct((8, 64), np.int32))
    assert (out.shape, out.dtype, mask.shape, mask.dtype) == ((8, 62), np.int32, (8, 62), bool)


def test_abstract_tables_have_the_kinds_of_arrays_that_real_ones_have(tables_of):
    tables, policy, reward = tables_of("xlm-r")
    sizes = BertConfig(kind="xlm-roberta", vocab=reward.get_vocab_size())
    guess = text.abstract(policy.get_vocab_size(), sizes, max_bytes=256, max_tokens=256)
    real, guessed = map(jax.tree.leaves, (tables, guess))
    assert [(x.dtype, x.ndim) for x in real] == [(x.dtype, x.ndim) for x in guessed]
    assert (tables.charsmap.growth, tables.charsmap.keys.depth) == (guess.charsmap.growth, guess.charsmap.keys.depth)
