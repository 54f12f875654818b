"""Added tokens of a policy's tokenizer: silent where they are special, never drawn where the decoder has no row."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from emojax.config import Config, ConfigError, presets
from emojax.data.text import decode, encode, train_tokenizer
from emojax.decoder import pretrained
from emojax.text.bytes import text_tokens
from support import policies

TINY = presets.load("tiny")


def configured(at: Path, tokenizer: Tokenizer, **sizes: int) -> Config:
    tokenizer.save(str(at / "tokenizer.json"))
    decoder = dataclasses.replace(TINY.model.decoder, weights=str(at), **sizes)
    return dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, decoder=decoder))


def test_those_without_rows_are_padding_and_that_is_said(tmp_path: Path) -> None:
    """Llama 2 with a "<pad>": 32,001 tokens and 32,000 rows."""
    made = train_tokenizer(["a calm voice"], 300)
    size = made.get_vocab_size()
    made.add_tokens(["[LAUGH]"])
    made.add_special_tokens(["<pad2>"])
    cfg = configured(tmp_path, made, vocab=size)
    with pytest.warns(UserWarning, match=rf"table of {size} tokens has no rows for the added '\[LAUGH\]', '<pad2>'"):
        found = pretrained.tokenizer(cfg)
    for text in ("a [LAUGH] b", "<pad2>"):
        ids, mask = encode(found, text, 40)
        assert ids.max() < size
        assert decode(found, ids, mask) == text
    assert decode(found, np.array([size, size + 1])) == ""
    with pytest.raises(ConfigError, match=f"has {size + 2} tokens, the decoder's vocabulary is {size - 1}"):
        pretrained.tokenizer(configured(tmp_path, made, vocab=size - 1))


def test_special_ones_that_a_normalizer_changes_are_silent_and_end_a_caption(tmp_path: Path) -> None:
    """As those of Yi-1.5."""
    policy = policies.added()
    end = policy.get_vocab_size() - 1
    assert policy.decode([end]) == "<|End|>"  # what it is about
    found = pretrained.tokenizer(configured(tmp_path, policy, vocab=end + 1, end_token=end))
    assert found.id_to_token(end) == "<|End|>"
    laugh = found.token_to_id("[LAUGH]")
    assert decode(found, np.array([laugh, end, laugh])) == "[LAUGH] [LAUGH]"
    assert text_tokens(found)[end] is None
    ids, mask = encode(found, "<|End|>", 20, end)
    assert ids[mask].tolist().count(end) == 1
    with pytest.raises(ConfigError, match=rf"ends a caption, {laugh}, is '▁\[LAUGH\]' to the tokenizer, which is text"):
        pretrained.tokenizer(configured(tmp_path, policy, vocab=end + 1, end_token=laugh))
