"""Made-up reward tokenizers of SentencePiece's kind, and the law on them."""

import functools
import io

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from emojax import text
from emojax.text import graphemes
from emojax.text.check import compare
from test_retokenize import TEXTS, every_form

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


@functools.cache
def learned(rule: str) -> tuple[bytes, list[tuple[str, float]]]:
    """The character map of a rule, which SentencePiece puts in every model, and the pieces learned with it."""
    package = pytest.importorskip("sentencepiece", reason="the package sentencepiece is not installed")
    from sentencepiece import sentencepiece_model_pb2 as protocol  # transformers has another: a process takes one only

    model = io.BytesIO()
    package.SentencePieceTrainer.train(
        sentence_iterator=iter(2 * every_form()),
        model_writer=model,
        vocab_size=3000,
        hard_vocab_limit=False,
        normalization_rule_name=rule,
        minloglevel=2,
    )
    proto = protocol.ModelProto.FromString(model.getvalue())
    return proto.normalizer_spec.precompiled_charsmap, [(p.piece, p.score) for p in proto.pieces[3:]]


def sentencepiece(charsmap: bytes, pieces: list[tuple[str, float]], steps: tuple = (), split: bool = True) -> Tokenizer:
    """As `transformers` makes one of XLM-R's sentencepiece.bpe.model."""
    vocabulary = [(token, 0.0) for token in SPECIAL] + pieces + [("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, SPECIAL.index("<unk>")))
    precompiled = normalizers.Precompiled(charsmap)
    tokenizer.normalizer = normalizers.Sequence([precompiled, *steps]) if steps else precompiled
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    parts = [pre_tokenizers.WhitespaceSplit(), metaspace]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts) if split else metaspace
    tokenizer.add_special_tokens([*SPECIAL, AddedToken("<mask>", lstrip=True)])
    return tokenizer


def xlm_r() -> Tokenizer:
    return sentencepiece(*learned("nmt_nfkc"))


def bge() -> Tokenizer:
    """The converter of `transformers` for files without a tokenizer of their own (BGE-M3)."""
    steps = (normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁"))
    return sentencepiece(*learned("nmt_nfkc"), steps, split=False)


def folded() -> Tokenizer:
    steps = (normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip(left=True, right=True))
    return sentencepiece(*learned("nmt_nfkc_cf"), steps)


def few_letters() -> Tokenizer:
    """Few characters are known, so that unknown ones come in runs; a map without long forms; scores of 53 bits."""
    words = ["▁" + word for word in "".join(c for c in " ".join(TEXTS) if c.isascii() and c not in "ntx").split()]
    pieces = sorted({word[i:j] for word in words for i in range(len(word)) for j in range(i + 1, i + 6)} - {"▁a"})
    scores = -np.random.default_rng(0).uniform(2, 14, len(pieces))
    keys = {
        "e": "a",
        "ﬁ": "fi",
        "각": "각",
        "a\u0301": "á",
        "\u0600": "",
        "\u3000": " ",
        "\x07": "",
        "s\u0308\u0301": "ṡ",
    }
    return sentencepiece(graphemes.write_charsmap(keys), list(zip(pieces, scores.tolist(), strict=True)))


def law_on(tables: text.Tables, policy: Tokenizer, reward: Tokenizer, sources: list[list[int]]) -> list:
    return list(compare(tables, policy, reward, [("", ids) for ids in sources]))
