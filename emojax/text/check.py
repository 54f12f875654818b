"""The law of this folder on a user's own tokenizers and text: `emojax check-text`.

The tokens made in the graph must equal the reward tokenizer's tokens for the decoded text, for any tokens at all.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from emojax.hub import tokenizer_files
from emojax.text.convert import Tables, build, retokenize
from emojax.text.policy import added_bytes, build_policy, spell

if TYPE_CHECKING:
    import tokenizers

WINDOW = 128  # policy tokens of a text compared at once; a longer one is cut into parts of so many
_BATCH = 64  # sequences
_MIXES = (
    *("any token", "single bytes", "one script", "any code point"),
    *("curious", "clusters", "one long word", "special tokens", "breaks"),
)
# First and last of the code points that normalisers and word breaks treat in ways of their own.
_CURIOUS = (
    *((0x00, 0x1F), (0x7F, 0xA0), (0x2000, 0x206F), (0x3000, 0x303F)),  # controls, spaces, punctuation
    *((0x300, 0x36F), (0x590, 0x5FF), (0x8D0, 0x9FF), (0xD30, 0xD4F), (0x1AB0, 0x1AFE), (0x1B34, 0x1BF3)),  # marks
    *((0x1DC0, 0x1DFF), (0x3099, 0x309B), (0xA950, 0xA9CF), (0xFE00, 0xFE2F), (0x1D150, 0x1D18F)),  # marks
    *((0x1100, 0x11FF), (0xAC00, 0xAC3F)),  # jamo and the syllables they make
    *((0x4E00, 0x4E1F), (0xF900, 0xF91F), (0x2F800, 0x2F80F)),  # ideographs and their compatibility forms
    *((0xFF00, 0xFFEF), (0x1F3F0, 0x1F3FF), (0x1F466, 0x1F469)),  # full-width forms, emoji
)
# What clusters of few bytes are made of (see `graphemes`): things that normalisers replace, and what sticks to them.
_BASES = "aAe z\r\n\t©™ℹ½²Ωﬁﬀ㎏㍿①éÅǆ가각각ꥠｶＡ！कक़গ়ൎߓ\u0600\u06dd\u0890🏳❤‼👩🇨▁\u3000\xa0\x07\u200b\ufffdﷺ"
# Some of them take one, two or three bytes, so that with the marks both short and long clusters arise.
_MARKS = "\u0301\u0308\u0327\u0338\u0345\u05bc\u0654\u093c\u094d\u09cd\u0903\u0e33\u200d\u200c\ufe0f\uff9eᅡᆨ🏽𝅥"
# What GPT-2's pattern parts words by (see `byte_level`), and what looks like it.
_BREAKS = (
    *(
        "  ",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\xa0",
        "\u2003",
        "\u2028",
        "\u3000",
        "\x85",
        "\x1f",
        "\u200b",
        "'",
        "''",
        "’",
        "ʼ",
        "＇",
    ),
    *(
        "'s",
        "'t",
        "'re",
        "'ve",
        "'m",
        "'ll",
        "'d",
        "'S",
        "'LL",
        "'Re",
        "'l",
        "'r",
        "’s",
        "a",
        "Z",
        "é",
        "e\u0301",
        "\u0308",
    ),
    *("说", "ʰ", "0", "12", "٣", "Ⅷ", "½", "²", "!", "--", "…", "_", "😀"),
)


@dataclasses.dataclass(frozen=True)
class Mismatch:
    """Tokens for which the graph and the reward tokenizer differ: a bug of emojax."""

    source: str  # "line 3", or the kind of random tokens
    ids: list[int]  # policy tokens
    text: str  # what they spell
    expected: list[int]  # the reward tokenizer's tokens
    got: list[int]  # the graph's


def read_tokenizer(path: str | Path) -> "tokenizers.Tokenizer":
    """A tokenizer.json, or the one in a directory.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is not a tokenizer.
    """
    file = Path(path)
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"no tokenizer at {file}; give a tokenizer.json or a directory that holds one")
    return tokenizer_files.read(file)


def plain(tokenizer: "tokenizers.Tokenizer") -> "tokenizers.Tokenizer":
    """A copy that reads all of a text, and reads it as text only."""
    copy = type(tokenizer).from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = True
    return copy


def random_ids(
    policy: "tokenizers.Tokenizer", sequences: int, length: int, seed: int
) -> Iterator[tuple[str, list[int]]]:
    """Token sequences, most of which no good policy would emit, with the name of their kind."""
    rng, tear = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    spelled = added_bytes(build_policy(policy))
    silent = [i for i, piece in enumerate(spelled) if not piece] + [len(spelled), len(spelled) + 999]
    single = [i for i, piece in enumerate(spelled) if len(piece) == 1] or silent
    letters = [i for i, piece in enumerate(spelled) if piece.isalpha()] or single  # ASCII letters
    spellings = ("[SEP]", "[CLS]", "[UNK]", "[MASK]", " [PAD] ", "##s", "[unused1]", "<s>", "</s> ", "<unk>", "▁<mask>")

    def encode(points: Iterable[int]) -> list[int]:
        text = "".join(chr(c) for c in points if not 0xD800 <= c < 0xE000)
        return policy.encode(text, add_special_tokens=False).ids

    for i in range(sequences):
        kind = _MIXES[i % len(_MIXES)]
        size = int(rng.integers(1, length + 1))
        if kind == "any token":
            ids = rng.integers(0, len(spelled) + 2, size).tolist()
        elif kind == "single bytes":
            ids = rng.choice(single, size).tolist()
        elif kind == "one script":
            ids = encode(int(rng.integers(0, 0x3000)) // 64 * 64 + rng.integers(0, 64, size))
        elif kind == "any code point":
            ids = encode(rng.integers(0, rng.choice([0x250, 0x3000, 0x11000, 0x20000, 0x110000]), size))
        elif kind == "curious":
            block = [_CURIOUS[k] for k in rng.integers(0, len(_CURIOUS), size)]
            ids = encode(int(rng.integers(a, b + 1)) if rng.random() < 0.7 else ord("a") for a, b in block)
        elif kind == "clusters":
            pools = [_MARKS if rng.random() < 0.4 else _BASES for _ in range(size)]
            ids = encode(ord(pool[int(rng.integers(len(pool)))]) for pool in pools)
        elif kind == "breaks":
            few = rng.choice(_BREAKS, 8)
            ids = encode(map(ord, "".join(rng.choice(few, size))))
        elif kind == "one long word":
            ids = rng.choice(letters, size).tolist()
        else:
            words = [list(map(ord, spellings[k])) for k in rng.integers(0, len(spellings), 1 + size // 4)]
            ids = [token for word in words for token in [*encode(word), int(rng.choice(silent))]]
        if i // len(_MIXES) % 4 == 3:  # some tokens are lost, so parts of characters, and silent ones come between
            pairs = [(token, int(tear.choice(silent))) for token in ids if tear.random() < 0.97]
            ids = [token for pair in pairs for token in (pair if tear.random() < 0.2 else pair[:1])]
        yield f"random tokens ({kind})", ids[:length]


def compare(
    tables: Tables, policy: "tokenizers.Tokenizer", reward: "tokenizers.Tokenizer", sources: list[tuple[str, list[int]]]
) -> Iterator[Mismatch]:
    """The sequences for which `retokenize` breaks its promise, cuts at `max_bytes` and `max_tokens` included.

    Args:
      reward: made `plain`.
      sources: (name, ids) of each sequence.
    """
    spelling = build_policy(policy)
    longest = max((len(ids) for _, ids in sources), default=1)
    width = 1 << max(longest - 1, 63).bit_length()  # few widths, so that few programs are compiled
    run = jax.jit(retokenize)
    on_device = jax.device_put(tables)
    for start in range(0, len(sources), _BATCH):
        part = sources[start : start + _BATCH]
        ids, mask = np.zeros((_BATCH, width), np.int32), np.zeros((_BATCH, width), bool)
        for row, (_, sequence) in enumerate(part):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = True
        out, kept = map(np.asarray, run(on_device, ids, mask))
        texts = policy.decode_batch([sequence for _, sequence in part])
        for row, (_, sequence) in enumerate(part):
            raw = spell(spelling, sequence)
            if len(raw) > tables.max_bytes:
                texts[row] = raw[: tables.max_bytes].decode(errors="replace")
        wanted = reward.encode_batch(texts, add_special_tokens=False)
        for row, (name, sequence) in enumerate(part):
            got, expected = out[row][kept[row]].tolist(), wanted[row].ids[: tables.max_tokens]
            if got != expected:
                yield Mismatch(name, sequence, texts[row], expected, got)


def check(
    policy: "tokenizers.Tokenizer",
    reward: "tokenizers.Tokenizer",
    lines: Iterable[str],
    random_sequences: int = 2000,
    seed: int = 0,
) -> list[Mismatch]:
    """Compare the graph with the tokenizers on every line of a text and on random tokens: nothing differs, or a bug.

    Args:
      lines: a line of more than WINDOW policy tokens is compared in parts of so many.
    Raises:
      ValueError: the tokenizers are of a kind that `build` refuses.
    """
    policy, reward = plain(policy), plain(reward)
    sources = []
    for number, line in enumerate(lines, 1):
        ids = policy.encode(line, add_special_tokens=False).ids
        sources += [(f"line {number}", ids[k : k + WINDOW]) for k in range(0, len(ids), WINDOW)]
    sources += random_ids(policy, random_sequences, 64, seed)
    spelling = build_policy(policy)
    longest = max((len(spell(spelling, ids)) for _, ids in sources), default=1)
    size = 1 << max(longest - 1, 63).bit_length()  # all is read, and nearly always all is kept
    tables = build(policy, reward, max_bytes=size, max_tokens=size)
    return list(compare(tables, policy, reward, sources))
