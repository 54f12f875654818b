"""Where a caption of a pretrained decoder ends: at a token of its own vocabulary, which config.json or the tokenizer's
files name; where none does, it is said before anything is made."""

import json
from pathlib import Path

import pytest

from emojax.config import Config, ConfigError, presets
from emojax.decoder import pretrained
from support import policies

VOCAB = 1600  # of the decoder; the tokenizer of `policies.bert` has fewer tokens


def resolved(at: Path, vocab: int = VOCAB, **told: object) -> Config:
    """The configuration of a Chinese GPT-2 whose config.json says this."""
    sizes = {"n_embd": 24, "n_layer": 1, "n_head": 2, "vocab_size": vocab}
    (at / "config.json").write_text(json.dumps({"model_type": "gpt2", **sizes, **told}))
    return pretrained.resolve(presets.load("tiny", [f"model.decoder.weights={at}"]), fetch=True)


def ends(cfg: Config) -> list[str | None]:
    tokenizer, lm = pretrained.tokenizer(cfg), cfg.model.decoder
    return [tokenizer.id_to_token(lm.start_token), tokenizer.id_to_token(lm.end_token)]


def test_a_token_outside_the_vocabulary_is_replaced_by_the_tokenizers_own(tmp_path: Path) -> None:
    at = policies.write_bert(tmp_path)
    assert ends(resolved(at)) == ["[CLS]", "[SEP]"]
    assert ends(resolved(at, bos_token_id=50_256, eos_token_id=50_256)) == ["[CLS]", "[SEP]"]
    assert ends(resolved(at, bos_token_id=5, eos_token_id=50_256)) == ["[MASK]", "[SEP]"]
    assert ends(resolved(at, bos_token_id=50_256, eos_token_id=0)) == ["[CLS]", "[PAD]"]
    (at / "special_tokens_map.json").write_text(json.dumps({"eos_token": "[MASK]"}))
    assert ends(resolved(at)) == ["[CLS]", "[MASK]"]


def test_a_token_of_the_vocabulary_stays(tmp_path: Path) -> None:
    at = policies.write_bert(tmp_path)
    assert ends(resolved(at, bos_token_id=5, eos_token_id=0)) == ["[MASK]", "[PAD]"]


def test_where_no_token_ends_a_caption_it_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"eos_token_id=50256 .* outside the vocabulary of 1600.* no tokenizer that can be read"
    ):
        resolved(tmp_path)
    policies.gpt2().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(
        ConfigError, match=r"name no eos_token or sep_token of the vocabulary; write the id of the token"
    ):
        resolved(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    assert ends(resolved(tmp_path)) == ["<|end|>", "<|end|>"]  # begun from its end, as GPT-2 is
    with pytest.raises(ConfigError, match=r"vocab_size=0 .wanted a whole number from 1"):
        resolved(tmp_path, vocab=0)


def test_an_end_that_is_text_to_the_tokenizer_is_refused(tmp_path: Path) -> None:
    at = policies.write_bert(tmp_path)
    with pytest.raises(
        ConfigError, match=r"ends a caption, 700, is '.*' to the tokenizer, which is text; wanted a special"
    ):
        ends(resolved(at, eos_token_id=700))
    assert ends(resolved(at, eos_token_id=VOCAB - 1))[1] is None  # a row without a token spells nothing
