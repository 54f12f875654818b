"""Made-up policy tokenizers of every kind that a pretrained decoder may have, as its files give them."""

import functools
import io
import json
import tempfile
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from emojax.data.text import pretrained_tokenizer
from test_retokenize import TEXTS, byte_level, every_form, trained_pieces

BOUNDS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}


@functools.cache
def gpt2() -> Tokenizer:
    trained = byte_level(models.BPE())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=907, initial_alphabet=alphabet, special_tokens=["<|end|>", "<pad>"])
    trained.train_from_iterator(TEXTS * 3, trainer)
    return trained


def llama2(prefix_space: bool = True) -> Tokenizer:
    """What transformers makes of a SentencePiece model with byte fallback, for Llama 2 and Mistral."""
    with tempfile.TemporaryDirectory() as folder:
        at = write_llama2(Path(folder))
        settings = {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": prefix_space, **BOUNDS}
        (at / "tokenizer_config.json").write_text(json.dumps(settings))
        return pretrained_tokenizer(at)


@functools.cache
def _sentencepiece(kind: str, vocab: int) -> bytes:
    package = pytest.importorskip("sentencepiece", reason="the package sentencepiece is not installed")
    model = io.BytesIO()
    package.SentencePieceTrainer.train(
        sentence_iterator=iter(every_form()),
        model_writer=model,
        model_type=kind,
        vocab_size=vocab,
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return model.getvalue()


def write_llama2(at: Path) -> Path:
    at.mkdir(exist_ok=True)
    (at / "tokenizer.model").write_bytes(_sentencepiece("bpe", 2411))
    (at / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer", **BOUNDS}))
    return at


def bert() -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        return pretrained_tokenizer(write_bert(Path(folder)))


@functools.cache
def _pieces() -> str:
    pieces = [p for p in sorted(trained_pieces().get_vocab()) if p not in ("[UNK]", "[SEP]", "[MASK]")]
    return "\n".join(["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, "n't", "'s", "do", "not"])


def write_bert(at: Path) -> Path:
    """The files of a Chinese GPT-2 (uer/gpt2-chinese-cluecorpussmall has these): a vocab.txt and nothing of GPT-2's."""
    at.mkdir(exist_ok=True)
    (at / "vocab.txt").write_text("\n".join(dict.fromkeys(_pieces().split("\n"))) + "\n", "utf-8")
    (at / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    return at


@functools.cache
def odd() -> dict[str, Tokenizer]:
    """Decoders that are seldom met, over vocabularies with pieces made to trip them."""
    rough = ["##", "####a", "##.", " .", "a .", "do not", " ' ", "'s", "▁", "▁▁", "▁a▁", "x▁y", "", "<0x4>", "<0xG0>"]
    rough += ["<0x+A>", "▁<0x41>", "<0xé>", "\ufffd", "é", "中", "😀", "a", "b ", "##b", "\u00a0", "<s>", "</s>"]
    rough += [f"<0x{i:02X}>" for i in range(256)] + ["<0xc3>", "<0xA9 >"]
    base = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(rough)}, unk_token="a"))
    base.add_special_tokens(["<s>", "</s>"])
    base.add_tokens([AddedToken(token, special=False) for token in ("▁added", "##added !", "<0x42>")])

    def with_decoder(decoder: decoders.Decoder | None) -> Tokenizer:
        copy = Tokenizer.from_str(base.to_str())
        copy.decoder = decoder
        return copy

    replace, fallback, fuse = decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()
    strip = decoders.Strip(" ", 1, 0)
    kinds = {
        "none": None,
        "wordpiece": decoders.WordPiece(cleanup=True),
        "wordpiece as it is": decoders.WordPiece(prefix="▁", cleanup=False),
        "metaspace": decoders.Metaspace(),
        "metaspace, never": decoders.Metaspace(prepend_scheme="never"),
        "llama": decoders.Sequence([replace, fallback, fuse, strip]),
        "llama, no prefix": decoders.Sequence([replace, fallback, fuse]),
        "nested": decoders.Sequence([decoders.Sequence([replace, fallback]), fuse, strip]),
        "replace": decoders.Sequence([replace]),
        "bytes behind wordpiece": decoders.Sequence([decoders.WordPiece(), fallback]),
        "fuse": fuse,
        "byte level": decoders.ByteLevel(),
    }
    return {name: with_decoder(decoder) for name, decoder in kinds.items()}


def added(kind: str = "llama") -> Tokenizer:
    """With added tokens that its normalizer changes: that of Llama 2 puts "▁" before them, that of BERT lowers case."""
    policy = Tokenizer.from_str(odd()[kind].to_str())
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    policy.normalizer = prepend if kind == "llama" else normalizers.BertNormalizer(lowercase=True)
    policy.add_tokens(["[LAUGH]", "É", "x [Y]"])
    policy.add_tokens([AddedToken("<|End|>", special=True, normalized=True)])
    return Tokenizer.from_str(policy.to_str())  # as files give it: what is added by hand is not changed yet
