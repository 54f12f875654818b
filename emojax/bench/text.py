"""`emojax bench text`: what it costs to turn captions into the reward model's tokens, for each pair of tokenizers.

Every pair converts captions that spell the same text, and one Emo-GRPO step (`emojax bench grpo`) with as many captions
of as many tokens is timed beside them. Tokenizers that are not given are made up, at the sizes of published ones: words
of random syllables, most of which a vocabulary has whole.
"""

import dataclasses
import functools
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emojax.bench import grpo
from emojax.config import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer, models

_CONSONANTS = ("", *"bcdfghjklmnprstvwz", "ch", "sh", "th", "st", "tr", "br", "pl")
_LETTERS, _VOWELS = "abcdefghijklmnopqrstuvwxyz", "aeiou"
_CODAS = ("", "", "", *"nrsltdm")
_PROMPTS = 8  # of the step beside
_FIRST_RARE = 0x4E00  # ideographs fill a large vocabulary, as they do a published one


@dataclass(frozen=True)
class TextWork:
    captions: int = 64  # converted at once
    tokens: int = 64  # of the policy, per caption
    max_bytes: int = 256  # of a caption that are read
    max_tokens: int = 64  # of the reward model, per caption, that are kept
    repeats: int = 20  # conversions timed
    threads: int = 2  # processors
    steps: int = 3  # GRPO steps timed beside; 0: none
    policies: tuple[Path, ...] = ()  # tokenizer.json files or their directories; none: made up, one a kind
    rewards: tuple[Path, ...] = ()  # the same


def main(work: TextWork) -> None:
    """Measures and prints one JSON line."""
    if work.captions < 8 or work.captions % 8:
        raise ConfigError(
            f"--captions wants a multiple of 8, which is one group each for 8 prompts, got {work.captions}"
        )
    if hasattr(os, "sched_setaffinity"):  # XLA takes one thread per processor that it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: work.threads])
    print(json.dumps(measure(work)), flush=True)


def measure(work: TextWork) -> dict[str, Any]:
    """Milliseconds of each pair's conversion, median and least, and its share of the step."""
    import jax

    step = None
    if work.steps:
        group, steps = work.captions // _PROMPTS, work.steps
        step_work = grpo.Work(
            prompts=_PROMPTS,
            group=group,
            completion_len=work.tokens,
            steps=steps,
            warmup=1,
            threads=work.threads,
        )
        step = 1000 * grpo.measure(step_work)["median_step_s"]
    policies, rewards = _given(work.policies) or MADE_UP_POLICIES, _given(work.rewards) or MADE_UP_REWARDS
    pairs = []
    for reward_name, make in rewards.items():
        reward = make()
        for policy_name, make_policy in policies.items():
            times = list(_times(work, make_policy(), reward))
            median = statistics.median(times)
            pair = {
                "policy": policy_name,
                "reward": reward_name,
                "ms": round(median, 2),
                "least_ms": round(min(times), 2),
            }
            pairs.append(pair | ({"share": round(median / step, 5)} if step else {}))
    told = {**dataclasses.asdict(work), "policies": list(policies), "rewards": list(rewards)}
    return {
        "args": told,
        "version": {"jax": jax.__version__},
        "device": jax.devices()[0].device_kind,
        "grpo_step_ms": round(step, 1) if step else None,
        "pairs": pairs,
    }


def _given(paths: tuple[Path, ...]) -> dict[str, "Callable[[], Tokenizer]"]:
    from emojax.text.check import read_tokenizer

    return {str(path): functools.partial(read_tokenizer, path) for path in paths}


def _times(work: TextWork, policy: "Tokenizer", reward: "Tokenizer") -> Iterator[float]:
    """Milliseconds of each conversion after the first, which compiles."""
    import jax
    import numpy as np

    from emojax import text

    tables = jax.device_put(text.build(policy, reward, max_bytes=work.max_bytes, max_tokens=work.max_tokens))
    ids, mask = np.zeros((2, work.captions, work.tokens), np.int32)
    for row, caption in enumerate(sentences(work.captions, work.tokens)):
        tokens = policy.encode(caption, add_special_tokens=False).ids[: work.tokens]
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    run, args = jax.jit(text.retokenize), jax.device_put((ids, mask.astype(bool)))
    for repeat in range(1 + work.repeats):
        clock = time.perf_counter()
        jax.block_until_ready(run(tables, *args))
        if repeat:
            yield 1000 * (time.perf_counter() - clock)


@functools.cache
def words(count: int) -> tuple[tuple[str, ...], ...]:
    """Different words of one to four syllables, the short ones first, as syllables."""
    import numpy as np

    rng, found = np.random.default_rng(0), {}
    while len(found) < count:
        size = int(rng.integers(1, 5))
        sounds = (rng.integers(0, len(part), size) for part in (_CONSONANTS, _VOWELS, _CODAS))
        word = tuple(_CONSONANTS[c] + _VOWELS[v] + _CODAS[d] for c, v, d in zip(*sounds, strict=True))
        found.setdefault("".join(word), word)
    return tuple(sorted(found.values(), key=len))


def sentences(count: int, length: int) -> list[str]:
    """Sentences of words most of which are in the vocabularies."""
    import numpy as np

    rng, known = np.random.default_rng(1), words(12_000)
    return [" ".join("".join(known[k]) for k in rng.integers(0, len(known), length)) + "." for _ in range(count)]


def _filled(pieces: dict[str, int], size: int) -> dict[str, int]:
    """A tokenizer with ideographs, and pairs of them, up to that size."""
    for i in range(2 * size):
        if len(pieces) == size:
            break
        first, second = divmod(i, 20_000)
        pieces.setdefault(chr(_FIRST_RARE + second) + (chr(_FIRST_RARE + first) if first else ""), len(pieces))
    return pieces


def _numbered(pieces: list[str]) -> dict[str, int]:
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}


def _merged(vocabulary: dict[str, int], space: str, size: int) -> "models.BPE":
    """Rules as trained ones: syllables from letters, words from syllables, then the space before a word."""
    from tokenizers import models

    merges = []

    def join(parts: tuple[str, ...]) -> str:
        whole = parts[0]
        for part in parts[1:]:
            if len(vocabulary) < size and whole + part not in vocabulary:
                vocabulary[whole + part] = len(vocabulary)
                merges.append((whole, part))
            whole += part
        return whole

    known = words(24_000)
    for syllable in dict.fromkeys(s for word in known for s in word):
        join(tuple(syllable))
    for word in known:
        join((space, join(word)))
    return models.BPE(vocabulary, merges, byte_fallback="<0x00>" in vocabulary)


def byte_level(size: int = 50_000) -> "Tokenizer":
    """GPT-2's and RoBERTa's kind."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    from emojax.text.bytes import byte_alphabet

    tokenizer = Tokenizer(_merged(byte_alphabet(), "Ġ", size))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_fallback(size: int = 32_000) -> "Tokenizer":
    """Llama 2's kind."""
    from tokenizers import Tokenizer, decoders, normalizers

    base = _numbered([*(f"<0x{i:02X}>" for i in range(256)), "▁", ".", *_LETTERS])
    tokenizer = Tokenizer(_merged(base, "▁", size))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    return tokenizer


def wordpiece(size: int = 30_000) -> "Tokenizer":
    """BERT's kind."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    known = words(12_000)
    parts = ["[UNK]", ".", *_LETTERS, *(s for word in known for s in word)]
    vocabulary = _filled(_numbered([*parts, *("##" + p for p in parts[1:]), *map("".join, known)]), size)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def unigram(size: int = 250_000) -> "Tokenizer":
    """XLM-R's kind, with a small character map: what is frequent is likely."""
    import math

    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    from emojax.text.graphemes import write_charsmap

    known = words(24_000)
    parts = ["<unk>", *("▁" + "".join(word) for word in known), *(s for word in known for s in word), "▁", "."]
    pieces = _filled(_numbered([*parts, *_LETTERS]), size)
    tokenizer = Tokenizer(models.Unigram([(p, -math.log(100.0 + i)) for p, i in pieces.items()], 0))
    forms = {chr(0xFF01 + i): chr(0x21 + i) for i in range(94)}
    tokenizer.normalizer = normalizers.Precompiled(write_charsmap(forms))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return tokenizer


MADE_UP_POLICIES: "dict[str, Callable[[], Tokenizer]]" = {
    "byte-level BPE, 50,000": byte_level,
    "BPE with byte fallback, 32,000": byte_fallback,
    "WordPiece, 30,000": wordpiece,
}
MADE_UP_REWARDS: "dict[str, Callable[[], Tokenizer]]" = {
    "WordPiece, 30,000": wordpiece,
    "unigram, 250,000": unigram,
    "byte-level BPE, 50,000": byte_level,
}
