"""The law of emojax/text for rewards with Qwen's tokenizer: its normal form, its words, no tokens of control."""

import functools
import itertools
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from tokenizers import Regex, normalizers, pre_tokenizers

from emojax import rewards, text
from emojax.config import ConfigError, LlamaConfig, Reward
from emojax.rewards import sentence
from emojax.rewards.modules import Modules, read_tokenizer
from emojax.text import byte_level as cut
from emojax.text.check import compare, random_ids
from emojax.text.compose import build_composition, compose
from emojax.text.qwen_words import PATTERN
from support import qwen_rewards
from support.conversions import same_in_64_bits_and_in_shards
from support.policies import gpt2
from support.sentencepieces import law_on
from test_bpe import BYTES, spelled
from test_retokenize import scripts

SEQUENCES = 300  # of random tokens; of the slow test, 7,000


def reads(root: Path):
    """The tokenizer as a reward reads it."""
    qwen_rewards.tokenizer().save(str(root / "tokenizer.json"))
    return read_tokenizer(Modules(LlamaConfig(), root, ("lasttoken",), (), (), False, 99))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    tokenizer = reads(tmp_path_factory.mktemp("qwen"))
    return text.build(gpt2(), tokenizer, max_bytes=256, max_tokens=256), tokenizer


def law_on_random_tokens(built, sequences: int, seed: int) -> list:
    tables, judge = built
    lines = [*scripts(), "x <think> y<|endoftext|>", "</tool_call><|im_start|> \r\n"]
    encoded = [encoding.ids for encoding in gpt2().encode_batch(lines)]
    sources = [("text", ids[k : k + 64]) for ids in encoded for k in range(0, len(ids), 64)]
    return list(compare(tables, gpt2(), judge, sources + list(random_ids(gpt2(), sequences, 64, seed))))


def test_tokens_equal_the_reference_for_random_tokens_and_many_scripts(built):
    assert law_on_random_tokens(built, SEQUENCES, seed=0) == []


@pytest.mark.slow
def test_tokens_equal_the_reference_for_many_more_random_tokens(built):
    assert law_on_random_tokens(built, 7000, seed=1) == []


def test_tokens_of_control_are_text(built):
    _, judge = built
    for written in (*qwen_rewards.CONTROL, qwen_rewards.END, "a <think>b"):
        ids = judge.encode(written, add_special_tokens=False).ids
        assert judge.decode(ids) == written
        assert not set(ids) & set(judge.get_added_tokens_decoder())
    assert judge.encode("").ids == [judge.token_to_id(qwen_rewards.END)]


def test_words_are_those_of_the_pattern():
    """All short strings of what its parts tell apart, and all contractions among their likes."""
    strings = ["".join(s) for s in itertools.product(" \n\xa0's1!a", repeat=5)]
    strings += [f"{a}'{b}{c}{d}" for a in "x! \r" for b, c, d in itertools.product("stmdrevlSLxſRK", "eElLx \r", "lx'")]
    reference = pre_tokenizers.Split(Regex(PATTERN), "isolated").pre_tokenize_str
    wanted = [[start for _, (start, _) in reference(s)] for s in strings]
    point = np.array([[ord(c) for c in s] for s in strings], np.int32)
    tables = cut.build_byte_level(prefix=False, pattern="qwen")
    _, count, begins = jax.jit(cut.words)(tables, point, np.ones(point.shape, bool))
    assert [np.flatnonzero(row).tolist() for row in np.asarray(begins)] == wanted
    assert np.asarray(count).sum(1).tolist() == [len(s.encode()) for s in strings]


@functools.cache
def texts(count: int) -> list[str]:
    """Of letters, marks and their likes: all that a composition may depend on."""
    tables, r = build_composition(), np.random.default_rng(0)
    kinds = [np.asarray(x) > 0 for x in (tables.rank, tables.first, tables.second)]
    points = [tables.point[1:], *(tables.point[kind] for kind in kinds), np.array([ord(c) for c in "aeiou |한한"])]
    draw = [[int(r.choice(points[r.integers(len(points))])) for _ in range(r.integers(1, 40))] for _ in range(count)]
    return ["".join(map(chr, line)).encode()[:160].decode(errors="ignore") for line in draw]


def test_composition_is_that_of_the_library():
    lines = [*texts(600), "", "plain"]
    point, begins = np.zeros((len(lines), 160), np.int32), np.zeros((len(lines), 160), bool)
    for row, line in enumerate(lines):
        at = np.cumsum([0, *(len(c.encode()) for c in line)])[:-1]
        point[row, at], begins[row, at] = [ord(c) for c in line], True
    got, there = map(np.asarray, jax.jit(compose)(build_composition(), point, begins))
    wanted = [normalizers.NFC().normalize_str(line) for line in lines]
    assert ["".join(map(chr, row[kept])) for row, kept in zip(got, there, strict=True)] == wanted
    assert sum(a != b for a, b in zip(lines, wanted, strict=True)) > 300


def test_a_wrong_table_is_found(built):
    """Not the law but its judge: marks out of order, nothing composed."""
    tables, judge = built
    sources = [list(line.encode()) for line in texts(64)]
    composition = tables.composition
    for wrong in (
        replace(tables, composition=replace(composition, rank=(composition.rank > 0).astype(np.int32))),
        replace(tables, composition=replace(composition, pair=np.zeros_like(composition.pair))),
    ):
        assert law_on(spelled(wrong), BYTES, judge, sources)
    assert law_on(spelled(tables), BYTES, judge, sources) == []


@pytest.mark.slow
def test_sixty_four_bit_mode_and_shards_change_nothing(built):
    tables = replace(spelled(built[0]), max_bytes=32, max_tokens=16)
    lines = [line.encode()[:32].ljust(32) for line in texts(16)]
    same_in_64_bits_and_in_shards(tables, np.array([list(line) for line in lines], np.int32))


def test_abstract_tables_have_the_kinds_of_arrays_that_real_ones_have(built):
    tables, judge = built
    sizes = LlamaConfig(vocab=judge.get_vocab_size(with_added_tokens=False))
    guess = text.abstract(gpt2().get_vocab_size(), sizes, max_bytes=256, max_tokens=256)
    real, guessed = map(jax.tree.leaves, (tables, guess))
    assert [(x.dtype, x.ndim) for x in real] == [(x.dtype, x.ndim) for x in guessed]
    for part in ("words", "composition"):
        shapes = ([x.shape for x in jax.tree.leaves(getattr(t, part))] for t in (tables, guess))
        assert next(shapes) == next(shapes)
    params, settings = sentence.abstract(replace(sizes, layers=1), max_tokens=24)
    ids, mask = jax.ShapeDtypeStruct((3, 23), np.int32), jax.ShapeDtypeStruct((3, 23), bool)
    assert jax.eval_shape(lambda p, i, m: sentence.embed(p, settings, i, m), params, ids, mask).shape == (
        3,
        sizes.width,
    )


def test_embeddings_equal_those_of_sentence_transformers(tmp_path):
    library = pytest.importorskip("sentence_transformers", reason="parity with sentence-transformers")
    root = qwen_rewards.directory(tmp_path)
    lines = ["", "joy", "Ünknown 喜悦 ☃!", "e\u0301 <think>", "the furious man " * 40, *scripts()[::9]]
    theirs = library.SentenceTransformer(str(root), device="cpu")
    theirs.tokenizer.split_special_tokens = True
    params, cfg, tokenizer = sentence.load(str(root))
    assert (cfg.cls, cfg.sep, cfg.pooling, cfg.text_tokens) == (
        None,
        tokenizer.token_to_id("<|endoftext|>"),
        ("lasttoken",),
        119,
    )
    ours, plain = sentence.embed_texts(params, cfg, tokenizer, lines), [line.replace("<think>", "") for line in lines]
    wanted = theirs.encode(plain, batch_size=7)  # <think> is text to us
    same = [line == other for line, other in zip(lines, plain, strict=True)]
    np.testing.assert_allclose(ours[same], wanted[same], atol=1e-5)
    with pytest.raises(ConfigError, match=r"reward.max_tokens=121: wanted 2 to 120"):
        rewards.make_reader(Reward(model=str(root), max_tokens=121), gpt2())
