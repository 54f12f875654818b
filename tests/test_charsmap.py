"""SentencePiece's normaliser in the graph: whatever characters meet, they become what the library makes of them."""

import functools
import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from emojax import text
from emojax.text import graphemes
from emojax.text.bytes import byte_alphabet
from emojax.text.charsmap import read_charsmap
from emojax.text.check import plain
from support.sentencepieces import law_on, learned, sentencepiece
from test_retokenize import byte_level

AROUND = ("{}\u0301", "™{}\u0301", "\u0600{}\u0308")
SPANS = "0-33ff a960-a97f ac00-ac7f d7b0-d7ff f900-faff fb00-ffff 11000-112ff 1d150-1d1ad 1f1e6-1f1ff 1f3f0-1f46f"
CHARACTERS = [chr(c) for a, b in (span.split("-") for span in SPANS.split()) for c in range(int(a, 16), int(b, 16) + 1)]


@functools.cache
def characters_and_charsmap(rule: str) -> tuple[text.UnigramTables, Tokenizer, Tokenizer]:
    """Every single character is a piece: what the normaliser does to each shows."""
    pieces = [(c, -10.0) for c in CHARACTERS]
    policy, reward = (
        byte_level(models.BPE(byte_alphabet(), [])),
        plain(sentencepiece(learned(rule)[0], pieces, split=False)),
    )
    return text.build(policy, reward, max_bytes=256, max_tokens=256), policy, reward


@pytest.mark.parametrize("around", ["a{}b", *(pytest.param(one, marks=pytest.mark.slow) for one in AROUND)])
def test_every_code_point_before_and_after_letters_and_marks(around):
    spans = ((1, 0x3420), (0x4DC0, 0x4E20), (0xA000, 0xAC80), (0xD780, 0xD800), (0xF8F0, 0x13600), (0x16000, 0x17010))
    spans += ((0x18D00, 0x20010), (0x2F800, 0x2FA20), (0xE0000, 0xE0200), (0x10FFF0, 0x110000))  # not all ideographs
    points = [chr(c) for span in spans for c in range(*span)]
    tables, policy, reward = characters_and_charsmap("nmt_nfkc")
    lines = ["".join(around.format(c) for c in points[k : k + 24]) for k in range(0, len(points), 24)]
    assert law_on(tables, policy, reward, [list(line.encode()) for line in lines]) == []


def test_every_key_of_the_character_map_and_what_may_follow_it():
    tables, policy, reward = characters_and_charsmap("nmt_nfkc")
    told = json.loads(reward.normalizer.__getstate__())["precompiled_charsmap"]
    keys = sorted(read_charsmap(told))
    assert len(keys) > 7000
    lines = ["x".join(keys[k : k + 30]) for k in range(0, len(keys), 30)]
    lines += [
        f"{after}".join(keys[k : k + 30]) for k in range(0, len(keys), 30) for after in ("\u0301", "\u05bc", "\u200d")
    ]
    assert law_on(tables, policy, reward, [list(line.encode())[:256] for line in lines]) == []


# Characters that cluster with each other, of every class of `graphemes` and of every length in bytes.
THEMES = (
    "a-bβठ😀\ue000\u0301\u0ec8\U0001d165\u0903\u0ac0\U0001d16d",  # letters and marks
    "ab\x02\u2028\U000e0001\r\n\u0301\u0600\ufffd",  # controls
    "ab\u0600\u06dd\u0890\U000110bd©क\u1100\u0301",  # marks before a letter
    "©®™🏳a\u0301\u0308\u200c\u200d\ufe0f\U0001f3fd",  # pictures
    "कग\u0958\U00011107\u094d\u1039\U00011133\u0301\u200c\u200d\u0903",  # conjuncts
    "\u1100\ua960\u1161\U00016d63\u11a8\ud7cb가각힣\u0301\u0308",  # syllables
    "ab ▁\u3000\u0301",
)


@pytest.mark.parametrize("seed", [0, 1])
def test_any_character_map_over_all_classes_of_characters(seed):
    """With it, "▁" is a piece or (seed 1) an unknown character."""
    rng = np.random.default_rng(seed)

    def some(most: int, least: int = 1) -> str:
        pool = THEMES[int(rng.integers(len(THEMES)))] if rng.random() < 0.8 else "".join(THEMES)
        return "".join(rng.choice(list(pool), int(rng.integers(least, most + 1))))

    forms = {key: some(3, 0) for key in [*"".join(THEMES), *(some(3, 2) for _ in range(300))] if rng.random() < 0.5}
    pieces = [piece for piece in dict.fromkeys("".join(THEMES)) if piece != "▁" or seed == 0]
    pieces += sorted({piece for piece in (some(3, 2) for _ in range(100)) if "▁" not in piece})
    policy = byte_level(models.BPE(byte_alphabet(), []))
    scores = [(piece, -float(rng.uniform(1, 9))) for piece in pieces]
    reward = plain(sentencepiece(graphemes.write_charsmap(forms), scores))
    tables = text.build(policy, reward, max_bytes=200, max_tokens=300)
    told = read_charsmap(json.loads(reward.normalizer.__getstate__())["precompiled_charsmap"])
    assert told == {key: form for key, form in forms.items() if len(key.encode()) < 6}
    assert law_on(tables, policy, reward, [list(some(40).encode()) for _ in range(2000)]) == []
