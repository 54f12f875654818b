"""Every part of a reward is, in the graph, what a plain implementation on strings says: on Chinese, emoji and broken
UTF-8, too. The score of sampled tokens is that of the text that they spell."""

import functools
import itertools
import json
import math
import random
import re
from collections import Counter

import jax
import numpy as np
import pytest

from emojax import rewards
from emojax.config import Reward
from emojax.config.concepts import CONCEPTS
from emojax.data.clips import Clip
from emojax.data.text import END
from emojax.rewards import lexicon, wheels
from emojax.rewards.parts import units
from support.byte_policy import policy

CLIPS, SAMPLES, BYTES = 200, 5, 96
PIECES = [
    "a calm voice",
    "A sad, sad woman",
    "angry man!",
    "她很伤心。",
    "高兴的声音",
    "joyful",
    "happy",
    "fear",
    "terrified",
]
PIECES += [
    "the speaker",
    "frowning",
    "AU12",
    "smile",
    "Ünknown",
    "naïve",
    "😀",
    "don't",
    "x_y 7",
    "…",
    "，",
    "？",
    "\u3000",
]
PLAIN = ("rouge_l", "bleu", "cider", "length(low=3, high=6)", "overlong(limit=40, soft=30)", "repetition(n=2)")
PLAIN += ("copying(n=2)", "ending", "label", "units", "wheel", "wheel(table=plutchik8, measure=precision, as=plutchik)")


def texts(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    found = ["", " ", "?", "sad"]
    while len(found) < count:
        text = "".join(rng.choice(PIECES) + rng.choice([" ", " ", ", ", ". ", ""]) for _ in range(rng.randrange(1, 8)))
        found.append(text.encode()[: BYTES // 2].decode(errors="ignore"))
    return found


@functools.cache
def clips() -> list[Clip]:
    rng, spoken = random.Random(5), iter(texts(3 * CLIPS, 2)[4:])
    names = [concept.name for concept in CONCEPTS]
    found = []
    for n in range(CLIPS):
        captions = tuple(next(spoken) for _ in range(rng.choice([0, 1, 2, 2])) if n)
        unit = {"action_units": "AU4 AU12"} if n % 3 == 0 else {"action_units": "AU6"} if n % 3 == 1 else {}
        emotion = rng.choice(names) if n % 4 else None
        found.append(Clip(str(n), transcript=texts(9, n)[5], captions=captions, emotion=emotion, attributes=unit))
    return found


@functools.cache
def scored() -> tuple[list[str], dict[str, np.ndarray]]:
    """1,000 captions and what the parts say of them, as strings."""
    reader = rewards.make_reader(Reward(parts=PLAIN, max_bytes=BYTES), policy(), training=clips())
    captions = texts(CLIPS * SAMPLES, 1)
    of = [clip for clip in clips() for _ in range(SAMPLES)]
    return captions, rewards.score_texts(*rewards.build(reader), reader, captions, of)


def of_part(name: str) -> tuple[list[tuple[str, Clip]], np.ndarray]:
    captions, found = scored()
    return list(zip(captions, [clip for clip in clips() for _ in range(SAMPLES)], strict=True)), found[name]


# --- what words are, on strings ---

_ALONE = "\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_BETWEEN = (
    "\x80-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\u2000-\u206f\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_WORD = re.compile(f"[{_ALONE}]|(?:[A-Za-z0-9_]|[^\\x00-\\x7f{_ALONE}{_BETWEEN}])+")


def split(text: str) -> list[str]:
    return [re.sub("[A-Z]", lambda c: c[0].lower(), word) for word in _WORD.findall(text)]


def test_words_are_those_of_the_text() -> None:
    reader = rewards.make_reader(Reward(parts=("length(low=1, high=2)",), max_bytes=BYTES), policy())
    found = reader.words(texts(1000, 3))
    number: dict[str, int] = {}
    for text, ids, mask in zip(texts(1000, 3), np.asarray(found.ids), np.asarray(found.mask), strict=True):
        wanted = split(text)
        assert mask.sum() == len(wanted), text
        for word, n in zip(wanted, ids.tolist(), strict=False):
            assert number.setdefault(word, n) == n, (word, text)
    assert len(set(number.values())) == len(number) > 40


# --- the parts, on strings ---


def grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[k:] for k in range(n)), strict=False))


def references(clip: Clip) -> list[list[str]]:
    return [split(text) for text in clip.captions if text.strip()]


def common(a: list[str], b: list[str]) -> int:
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, j in itertools.product(range(len(a)), range(len(b))):
        table[i + 1, j + 1] = table[i, j] + 1 if a[i] == b[j] else max(table[i, j + 1], table[i + 1, j])
    return int(table[-1, -1])


def plain_rouge(words: list[str], refs: list[list[str]]) -> float:
    pairs = [(common(words, ref), len(ref)) for ref in refs]
    p, r = max(c / len(words) for c, _ in pairs), max(c / max(n, 1) for c, n in pairs)
    return 2.44 * p * r / (r + 1.44 * p) if p else 0.0


def plain_bleu(words: list[str], refs: list[list[str]]) -> float:
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize="none", force=True, smooth_method="add-k", smooth_value=1, effective_order=True)
    return metric.sentence_score(" ".join(words), [" ".join(ref) for ref in refs]).score / 100


@functools.cache
def frequencies() -> tuple[Counter, float]:
    documents = [clip for clip in clips() if clip.captions]
    counts = Counter(
        g
        for clip in documents
        for g in {g for r in map(split, clip.captions) for n in range(1, 5) for g in grams(r, n)}
    )
    return counts, math.log(len(documents))


def plain_cider(words: list[str], refs: list[list[str]]) -> float:
    """CIDEr-D as the COCO caption evaluation has it."""
    counts, clips = frequencies()

    def vector(words: list[str], n: int) -> dict[tuple[str, ...], float]:
        return {g: c * (clips - math.log(max(1, counts[g]))) for g, c in Counter(grams(words, n)).items()}

    total = 0.0
    for ref in refs:
        for n in range(1, 5):
            a, b = vector(words, n), vector(ref, n)
            norm = math.sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
            product = sum(min(x, b[g]) * b[g] for g, x in a.items() if g in b)
            total += product / (norm or 1) * math.exp(-((len(words) - len(ref)) ** 2) / 72)
    return 10 * total / 4 / len(refs)


@pytest.mark.parametrize(("name", "plain"), [("rouge_l", plain_rouge), ("bleu", plain_bleu), ("cider", plain_cider)])
def test_likeness_to_the_references_is_that_of_the_reference_implementation(name, plain) -> None:
    pairs, found = of_part(name)
    for (caption, clip), score in zip(pairs, found, strict=True):
        words, refs = split(caption), references(clip)
        if not refs:
            assert np.isnan(score)
            continue
        wanted = plain(words, refs) if words else -1
        assert score == pytest.approx(wanted, abs=2e-5), (caption, clip.captions)
    assert np.unique(found[np.isfinite(found)].round(4)).size > 100


def plain_length(text: str, clip: Clip) -> float:
    n = len(split(text))
    return -min(1.0, max(0.0, (3 - n) / 3, (n - 6) / 6))


def plain_overlong(text: str, clip: Clip) -> float:
    return -min(1.0, max(0.0, (len(text.encode()) - 10) / 30))


def plain_repetition(text: str, clip: Clip) -> float:
    pairs = grams(split(text), 2)
    return -(len(pairs) - len(set(pairs))) / max(len(pairs), 1)


def plain_copying(text: str, clip: Clip) -> float:
    pairs, spoken = grams(split(text), 2), set(grams(split(clip.transcript or ""), 2))
    return -sum(pair in spoken for pair in pairs) / max(len(pairs), 1)


def plain_ending(text: str, clip: Clip) -> float:
    last = text.rstrip(" \t\n\r\"')]}»”’」』）】\u3000")[-1:]
    return 0.0 if last and last in ".!?…。！？।۔؟" else -1.0


def emotions_in(text: str) -> set[str]:
    from emojax.rewards.facts import known_facts

    return set(lexicon.stated(text, known_facts(Reward())[:1]).get("emotion", ()))


def plain_label(text: str, clip: Clip) -> float:
    return math.nan if clip.emotion is None else float(emotions_in(text) == {clip.emotion})


def f1(named: set[str], true: set[str]) -> float:
    return 2 * len(named & true) / (len(named) + len(true)) if true else math.nan


def plain_units(text: str, clip: Clip) -> float:
    named = lexicon.stated(text, units.units()).get("action_units", set())
    return 2 * f1(set(named), set(clip.attributes.get("action_units", "").split())) - 1


def plain_wheel(text: str, clip: Clip) -> float:
    return f1(emotions_in(text), {e for ref in clip.captions for e in emotions_in(ref)})


def plain_plutchik(text: str, clip: Clip) -> float:
    def sectors(text: str) -> set[str]:
        return set(lexicon.stated(text, wheels.plutchik8(1)).get("plutchik8", ()))

    true, named = {s for ref in clip.captions for s in sectors(ref)}, sectors(text)
    return math.nan if not true else len(true & named) / max(len(named), 1)


TELLING = [plain_length, plain_overlong, plain_repetition, plain_copying, plain_ending]
TELLING += [plain_label, plain_units, plain_wheel, plain_plutchik]


@pytest.mark.parametrize("plain", TELLING, ids=lambda plain: plain.__name__[6:])
def test_what_a_caption_is_like_equals_a_plain_implementation(plain) -> None:
    pairs, found = of_part(plain.__name__[6:])
    np.testing.assert_allclose(found, [plain(text, clip) for text, clip in pairs], atol=1e-5)
    assert np.unique(found[np.isfinite(found)]).size > 1


def test_the_graph_scores_tokens_as_the_strings_that_they_spell() -> None:
    """All parts in one program, of texts and of random bytes that are no UTF-8."""
    reader = rewards.make_reader(Reward(parts=PLAIN, max_bytes=BYTES), policy(), training=clips())
    model, static = rewards.build(reader)
    r = np.random.default_rng(4)
    rows = [policy().encode(text, add_special_tokens=False).ids for text in texts(CLIPS * SAMPLES, 6)]
    for n in range(0, len(rows), 4):  # bytes that break what is there
        rows[n] = [int(r.integers(3, 259)) if r.random() < 0.3 else token for token in rows[n]][:30]
    ids, mask = np.zeros((len(rows), BYTES), np.int32), np.zeros((len(rows), BYTES), bool)
    for n, row in enumerate(rows):
        ids[n, : len(row) + 1], mask[n, : len(row) + 1] = [*row, END], True
    ids, mask = (x.reshape(CLIPS, SAMPLES, BYTES) for x in (ids, mask))
    refs = rewards.references(reader, clips(), 2)
    total, parts = jax.jit(rewards.score, static_argnums=1)(model, static, ids, mask, refs)
    of = [clip for clip in clips() for _ in range(SAMPLES)]
    wanted = rewards.score_texts(model, static, reader, policy().decode_batch(rows), of)
    broken = np.arange(len(rows)) % 4 == 0
    for name, value in ({"reward": total} | parts).items():
        here, there = np.asarray(value).reshape(-1), wanted[name]
        tokens = name in ("overlong", "reward")  # a byte that is no UTF-8 is a token, U+FFFD three
        np.testing.assert_allclose(here[~broken], there[~broken], atol=2e-5, err_msg=name)
        np.testing.assert_allclose(here[broken & (not tokens)], there[broken & (not tokens)], atol=2e-5, err_msg=name)


def test_a_lexicon_of_numbers_and_a_wheel_from_a_file(tmp_path) -> None:
    vad = tmp_path / "vad.tsv"
    vad.write_text(
        "Word\tValence\tArousal\tDominance\nsad\t0.1\t0.3\t0.2\nhappy\t0.9\t0.7\t0.6\nangry\t0.1\t0.9\t0.7\n"
    )
    wheel = tmp_path / "wheels.json"
    wheel.write_text(json.dumps({"w": {"1": {"low": ["sad"], "high": ["happy", "angry"]}}, "v": {"1": {"x": ["sad"]}}}))
    about = [Clip("a", captions=("a sad man", "so happy")), Clip("b", captions=("nothing",))]
    cfg = Reward(parts=(f"vad(file={vad})", f"wheel(table={wheel})"), max_bytes=40)
    reader = rewards.make_reader(cfg, policy())
    given = ["sad angry sad", "calm", "happy", "sad"]
    found = rewards.score_texts(*rewards.build(reader), reader, given, [about[0], about[0], about[1], about[1]])
    mean = np.array([[0.5, 0.5, 0.4], [0.1, 0.5, 1.1 / 3]])
    np.testing.assert_allclose(found["vad"], [1 - np.abs(mean[0] - mean[1]).mean(), 0, np.nan, np.nan], atol=1e-6)
    # of wheel w both sectors are true and named, of v the one: F1 1 and 1; "calm" names none
    np.testing.assert_allclose(found["wheel"], [1, 0, np.nan, np.nan], atol=1e-6)
