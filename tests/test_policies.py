"""The law of the policy's half of emojax/text: the bytes made in the graph are those of the decoded text, for any ids
and any mask, whatever the decoder. And what cannot be had exactly is refused."""

import functools

import jax
import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models

from emojax import text
from emojax.config import BertConfig
from emojax.text.check import random_ids
from emojax.text.pieces import Pieces
from emojax.text.policy import Policy, added_bytes, build_policy, policy_bytes, spell
from support import policies
from test_retokenize import TEXTS, byte_level

KINDS = {"gpt-2": policies.gpt2, "llama 2": policies.llama2, "no prefix": lambda: policies.llama2(False)}
KINDS |= {f"added, {kind}": functools.partial(policies.added, kind) for kind in ("llama", "wordpiece")}
KINDS |= {"bert": policies.bert} | {name: functools.partial(policies.odd().get, name) for name in policies.odd()}
SEQUENCES, LONGEST = 500, 48


def in_graph(tables: Policy, ids: np.ndarray, mask: np.ndarray, max_bytes: int) -> list[bytes]:
    byte, filled = map(np.asarray, jax.jit(policy_bytes, static_argnums=3)(tables, ids, mask, max_bytes))
    assert (byte[~filled] == 0).all()
    assert (filled[:, 1:] <= filled[:, :-1]).all()
    return [bytes(row[there].astype(np.uint8)) for row, there in zip(byte, filled, strict=True)]


def sequences(policy: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Ids i32[N T] and a mask with holes, of random tokens and texts; many begin with spaces."""
    rng, size = np.random.default_rng(0), policy.get_vocab_size()
    spaces = [i for i, piece in enumerate(added_bytes(build_policy(policy))) if piece.startswith(b" ")] or [0]
    rows = [ids for _, ids in random_ids(policy, SEQUENCES, LONGEST, 0)]
    rows += [encoding.ids[:LONGEST] for encoding in policy.encode_batch(TEXTS)]
    for _ in range(SEQUENCES // 2):
        blank = rng.choice(spaces, rng.integers(0, 4)).tolist()
        rows.append([*blank, *rng.integers(-3, size + 3, LONGEST - len(blank)).tolist()])
    ids = np.array([row + [0] * (LONGEST - len(row)) for row in rows], np.int32)
    mask = np.arange(LONGEST) < np.array([[len(row)] for row in rows])
    mask[1::2] &= rng.random(mask[1::2].shape) < 0.85
    return ids, mask


def decoded(policy: Tokenizer, ids: np.ndarray, mask: np.ndarray) -> list[str]:
    rows = [[int(i) for i in row[kept] if i >= 0] for row, kept in zip(ids, mask, strict=True)]
    return policy.decode_batch(rows, skip_special_tokens=True)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_those_of_the_decoded_text_for_any_tokens_and_mask(kind):
    policy = KINDS[kind]()
    tables = build_policy(policy)
    ids, mask = sequences(policy)
    texts = decoded(policy, ids, mask)
    long = max(map(len, added_bytes(tables))) * LONGEST
    raw = in_graph(tables, ids, mask, long)
    assert [row.decode(errors="replace") for row in raw] == texts
    assert [spell(tables, row[kept].tolist()) for row, kept in zip(ids, mask, strict=True)] == raw
    for short in (1, 7)[kind != "llama 2" :]:
        assert in_graph(tables, ids, mask, short) == [row[:short] for row in raw]
    assert len(set(texts)) > SEQUENCES / 2


def test_random_tokens_reach_the_hard_cases_of_byte_fallback():
    """Runs that are text, runs that are not, runs that a silent token does not part, and spaces at the beginning."""
    policy = policies.llama2()
    ids, mask = sequences(policy)
    tokens = [
        [policy.id_to_token(max(int(i), 0)) or "" for i in row[kept]] for row, kept in zip(ids, mask, strict=True)
    ]
    texts = decoded(policy, ids, mask)
    assert any("\ufffd" in text for text in texts)
    assert any(any(len(c.encode()) == 4 for c in text) for text in texts)
    windows = [row[k : k + 3] for row in tokens for k in range(len(row) - 2)]
    assert any(a[:3] == c[:3] == "<0x" and between in ("<s>", "</s>", "<unk>", "") for a, between, c in windows)
    assert any(row[0] == "<0x20>" and text[:1] not in ("", " ") for row, text in zip(tokens, texts, strict=True) if row)
    assert any(text.startswith(" ") for text in texts)


def test_a_run_of_bytes_is_text_or_not_as_a_whole():
    policy = policies.llama2()
    tables = build_policy(policy)

    def text(*tokens: str) -> str:
        ids = np.array([[policy.token_to_id(token) for token in tokens]], np.int32)
        (raw,) = in_graph(tables, ids, np.ones_like(ids, bool), 64)
        assert raw.decode(errors="replace") == policy.decode(ids[0].tolist())
        return raw.decode(errors="replace")

    ni = ("<0xE4>", "<0xBD>", "<0xA0>")
    assert text(*ni) == "你"
    assert text(*ni, "<0xFF>") == "\ufffd" * 4
    assert text(*ni, "a", "<0xFF>") == "你a\ufffd"
    assert text("<0xE4>", "</s>", "<0xBD>", "<0xA0>") == "你"
    assert text("<0xE4>", "a", "<0xBD>", "<0xA0>") == "\ufffda\ufffd\ufffd"
    assert text("<0x20>", "a") == text("▁a") == "a"
    assert text("<0x20>", "<0xFF>") == "\ufffd\ufffd"
    assert text("<s>", "▁", "▁a") == " a"


@pytest.mark.parametrize(
    ("decoder", "told"),
    [
        (decoders.BPEDecoder(), "BPEDecoder"),
        (decoders.CTC(), "CTC"),
        (decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()]), "ByteLevel, Fuse"),
        (decoders.Sequence([decoders.Fuse(), decoders.Replace("a", "b")]), "Fuse, Replace"),
        (decoders.Sequence([decoders.Fuse(), decoders.ByteFallback()]), "Fuse, ByteFallback"),
        (decoders.Sequence([decoders.ByteFallback(), decoders.Strip(" ", 1, 0)]), "ByteFallback, Strip"),
        (decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 2, 0)]), "Fuse, Strip.*'start': 2"),
        (decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 0, 1)]), "Fuse, Strip.*'stop': 1"),
        (decoders.Sequence([decoders.Fuse(), decoders.Strip("_", 1, 0)]), "Fuse, Strip.*'content': '_'"),
        (decoders.Sequence([decoders.ByteFallback()] * 2), "ByteFallback, ByteFallback"),
    ],
)
def test_another_decoder_is_refused_with_what_to_use_instead(decoder, told):
    policy = byte_level(models.BPE())
    policy.decoder = decoder
    with pytest.raises(ValueError, match=f"the decoder {told}.*; converted exactly .*: use a policy with one of these"):
        build_policy(policy)


def test_a_pattern_of_replace_may_be_an_expression():
    policy = policies.odd()["none"]
    policy.decoder = decoders.Sequence([decoders.Replace(Regex("[a▁]+"), "<>"), decoders.Fuse()])
    ids, mask = sequences(policy)
    raw = in_graph(build_policy(policy), ids, mask, 20 * LONGEST)
    assert [row.decode() for row in raw] == decoded(policy, ids, mask)


@pytest.mark.parametrize(("vocabulary", "policy"), [(32_000, policies.llama2), (21_128, policies.bert)])
def test_a_plan_knows_the_sizes_of_vocabularies_that_are_not_byte_level(vocabulary, policy):
    guess, real = text.abstract(vocabulary, BertConfig(), max_bytes=9, max_tokens=9), build_policy(policy())
    assert isinstance(guess.policy, Pieces)
    assert isinstance(real, Pieces)
    leaves, guessed = map(jax.tree.leaves, (real, guess.policy))
    assert [(x.dtype, x.ndim) for x in leaves] == [(x.dtype, x.ndim) for x in guessed]
    assert (guess.policy.real.shape, guess.policy.strip) == ((vocabulary,), real.strip)
    ids, _ = jax.eval_shape(text.retokenize, guess, jax.ShapeDtypeStruct((2, 3), np.int32))
    assert ids.shape == (2, 9)
