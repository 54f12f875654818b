"""Any text comes back as it was; text never becomes a control token; the same texts give the same tokenizer."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from emojax.data.text import (
    END,
    PAD,
    SPECIAL,
    START,
    bounds,
    decode,
    encode,
    encode_transcript,
    pretrained_tokenizer,
    train_tokenizer,
)
from support import policies

TEXTS = [f"a {a} voice, {b} and slow" for a in ("calm", "bright", "tense") for b in ("low", "high", "thin")] + [
    "伤心不已，悲伤凄凉",
    "心里无比疼痛，伤心",
    "发泄积在心中的委屈和气愤",
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 320)


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS,
        "",
        " two  spaces ",
        "naïve Ärger 😀👩‍👧 한국어 العربية",
        "tab\tline\nend\r\n\0\x7f",
        "".join(map(chr, range(1, 300))),
    ],
)
def test_any_text_comes_back(tokenizer, text: str) -> None:
    ids, mask = encode(tokenizer, text, 2000)
    assert decode(tokenizer, ids, mask) == text
    assert decode(tokenizer, ids) == text  # padding has no text
    assert ids[mask][-1] == END
    assert not (ids[mask][:-1] == END).any()


def test_random_strings_come_back(tokenizer) -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        points = rng.integers(0, 0x110000, rng.integers(1, 20))
        text = "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
        assert decode(tokenizer, *encode(tokenizer, text, 200)) == text


def test_special_tokens_have_their_ids_and_text_cannot_spell_them(tokenizer) -> None:
    assert [tokenizer.token_to_id(s) for s in SPECIAL] == [PAD, START, END]
    for again in (tokenizer, pickle.loads(pickle.dumps(tokenizer)), type(tokenizer).from_str(tokenizer.to_str())):
        ids, mask = encode_transcript(again, "say <end> or <pad><start>", 100)
        assert (ids[mask] > END).all()
        assert decode(again, ids, mask) == "say <end> or <pad><start>"


def test_a_caption_that_does_not_fit_has_no_end(tokenizer) -> None:
    text = "a calm voice, low and slow"
    n = len(tokenizer.encode(text).ids)
    ids, mask = encode(tokenizer, text, n + 3)
    assert (ids[n], mask.sum()) == (END, n + 1)
    assert (ids[n + 1 :] == PAD).all()
    assert encode(tokenizer, text, n + 1)[0][-1] == END
    for length in (1, n - 1, n):
        ids, mask = encode(tokenizer, text, length)
        assert mask.all()
        assert END not in ids
        assert (ids.shape, ids.dtype, mask.dtype) == ((length,), np.int32, bool)


def test_a_transcript_has_neither_start_nor_end(tokenizer) -> None:
    ids, mask = encode_transcript(tokenizer, "low and slow", 64)
    assert not np.isin(ids[mask], [PAD, START, END]).any()
    assert decode(tokenizer, ids, mask) == "low and slow"
    assert encode_transcript(tokenizer, "", 4)[1].sum() == 0


def test_merges_are_learned_in_any_script(tokenizer) -> None:
    for text in ("a calm voice", "伤心"):
        assert len(tokenizer.encode(text).ids) < len(text.encode()) / 2


def test_the_same_texts_give_the_same_tokenizer_on_any_number_of_threads() -> None:
    program = """
import sys
from emojax.data.text import train_tokenizer
sys.stdout.write(train_tokenizer(eval(sys.stdin.read()), 400).to_str())
"""
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            input=repr(TEXTS),
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "RAYON_NUM_THREADS": threads, "JAX_PLATFORMS": "cpu"},
        ).stdout
        for threads in ("1", "4")
    }
    assert runs == {train_tokenizer(iter(TEXTS), 400).to_str()}


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vocabulary of 200 .* 259"):
        train_tokenizer(TEXTS, 200)
    assert train_tokenizer(TEXTS, 259).get_vocab_size() == 259


def test_a_pretrained_tokenizer_of_any_kind_reads_and_writes_text() -> None:
    """Text that spells a special token is text; special tokens have none; what comes back is the text, where it can."""
    kinds = {"gpt-2": policies.gpt2(), "llama 2": policies.llama2(), "bert": policies.bert()}
    text, spaced = "她的声音 sounds low 低沉", "她 的 声 音 sounds low 低 沉"
    for kind, pretrained in kinds.items():
        end = pretrained.token_to_id({"gpt-2": "<|end|>", "llama 2": "</s>", "bert": "[SEP]"}[kind])
        ids, mask = encode(pretrained, text, 90, end)
        assert (ids[mask][-1], (ids[mask][:-1] == end).sum()) == (end, 0)
        assert decode(pretrained, ids, mask) == (spaced if kind == "bert" else text)
        ids, mask = encode_transcript(pretrained, "[SEP] </s> <|end|>", 90)
        assert end not in ids[mask]
        assert decode(pretrained, ids, mask).replace(" ", "").lower().startswith("[sep]" if kind != "bert" else "[")


def test_a_pretrained_tokenizer_is_found_in_files_of_any_kind(tmp_path) -> None:
    """vocab.txt is BERT's even where config.json says gpt2, of which transformers makes a tokenizer of one token."""
    for kind in ("gpt2", "bart"):
        at = policies.write_bert(tmp_path / kind)
        (at / "config.json").write_text(json.dumps({"model_type": kind, "vocab_size": 1510}))
        found = pretrained_tokenizer(at)
        assert found.encode("她 sounds", add_special_tokens=False).tokens[0] == "她"
        assert [found.id_to_token(i) for i in bounds(at)] == ["[CLS]", "[SEP]"]
    (at / "vocab.txt").unlink()
    with pytest.raises(FileNotFoundError, match="nothing but special tokens; wanted a"):
        pretrained_tokenizer(at)
    at = policies.write_llama2(tmp_path / "llama")
    assert [pretrained_tokenizer(at).id_to_token(i) for i in bounds(at)] == ["<s>", "</s>"]


def test_the_bounds_of_a_text_are_those_that_the_files_name(tmp_path) -> None:
    at = policies.write_bert(tmp_path / "bert")
    tokens = pretrained_tokenizer(at)
    tokens.save(str(at / "tokenizer.json"))
    (at / "tokenizer_config.json").unlink()

    def told(file: str, **named: object) -> list[str | None]:
        (at / file).write_text(json.dumps(named))
        return [None if i is None else tokens.id_to_token(i) for i in bounds(at)]

    assert told("special_tokens_map.json", sep_token={"content": "[PAD]"}) == ["[CLS]", "[PAD]"]
    assert told("tokenizer_config.json", eos_token="[MASK]", bos_token=None) == ["[CLS]", "[MASK]"]
    assert told("tokenizer_config.json", eos_token="not there") == ["[CLS]", "[PAD]"]
    train_tokenizer(TEXTS, 320).save(str(tmp_path / "tokenizer.json"))
    assert bounds(tmp_path) == (None, None)
