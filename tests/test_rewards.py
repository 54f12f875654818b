"""Rewards are the formulas of method.md: equal to plain float64 NumPy, in the graph as on strings; padding is inert."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from emojax import rewards, text
from emojax.config import ConfigError, Reward, concepts
from emojax.data.clips import Clip
from emojax.data.text import END
from emojax.rewards import Captions, RewardModel, RewardStatic, emotion, rouge, sentence
from emojax.rewards.part import scorer
from emojax.rewards.score import compare
from emojax.types import References, Text

CAPTIONS = {  # by emotion
    "happy": ("She laughs, full of joy.", "A cheerful man, delighted by the news.", "He sounds pleased and glad."),
    "sad": ("A woman close to tears, her voice low.", "He mourns, dejected.", "The speaker sounds unhappy and gloomy."),
    "angry": ("She shouts in fury.", "An irritated man snaps at someone.", "The speaker is enraged."),
    "fearful": ("He whispers, terrified.", "A frightened woman trembles.", "The speaker sounds anxious and scared."),
}
SEEDS = np.random.default_rng(0)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def plain_coordinates(phrases, captions, kind, center):
    """method.md, line by line, in float64."""
    b = np.array([unit(unit(p).mean(0)) for p in phrases])
    mu = b.mean(0) if center else 0
    b, e = unit(b - mu), unit(captions - mu)
    if kind == "cosine":
        return np.array([[x @ anchor for anchor in b] for x in e])
    if kind == "least_squares":
        return np.array([np.linalg.lstsq(b.T, x, rcond=1e-6)[0] for x in e])
    gram, vectors = np.linalg.eigh(b.T @ b)
    return e @ vectors[:, gram > 1e-9][:, ::-1]  # largest singular value first, up to sign


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("kind", ["cosine", "least_squares", "orthonormal"])
def test_coordinates_equal_the_formulas(kind, center):
    phrases = [SEEDS.normal(size=(n, 24)) + 2 for n in (5, 3, 7, 4)]
    captions = unit(SEEDS.normal(size=(6, 24)) + 1)
    z = np.asarray(emotion.project(emotion.build_space(phrases, kind, center), captions.astype(np.float32)))
    wanted = plain_coordinates(phrases, captions, kind, center)
    assert z.shape == wanted.shape == (6, 3 if center and kind == "orthonormal" else 4)  # centring takes one rank
    if kind == "orthonormal":
        z, wanted = z @ z.T, wanted @ wanted.T  # a basis is free up to rotation; r_emo is not
    np.testing.assert_allclose(z, wanted, atol=1e-5)


def plain_common(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, j in itertools.product(range(len(a)), range(len(b))):
        table[i + 1, j + 1] = table[i, j] + 1 if a[i] == b[j] else max(table[i, j + 1], table[i + 1, j])
    return table[-1, -1]


def test_rouge_l_equals_a_plain_table():
    r = np.random.default_rng(3)
    b, g, n, s, t = 6, 5, 3, 13, 17
    ids, refs = r.integers(0, 5, (b, g, s)), r.integers(0, 5, (b, n, t))
    mask, refs_mask = np.arange(s) < r.integers(0, s + 1, (b, g, 1)), np.arange(t) < r.integers(1, t + 1, (b, n, 1))
    present = np.arange(n) < r.integers(0, n + 1, (b, 1))
    present[:3] = (True, True, False), (False, True, True), (False, False, False)
    lengths = rouge.common_length(ids[:, :, None], mask[:, :, None], refs[:, None], refs_mask[:, None])
    score = jax.jit(rouge.rouge_l)(ids, mask, refs, refs_mask, present)
    for i, j in itertools.product(range(b), range(g)):
        caption = ids[i, j][mask[i, j]]
        rows = [refs[i, k][refs_mask[i, k]] for k in range(n)]
        common = [plain_common(caption, row) for row in rows]
        assert lengths[i, j].tolist() == common
        pairs = [(c / max(len(caption), 1), c / len(row)) for c, row in zip(common, rows, strict=True)]
        pairs = [pair for pair, there in zip(pairs, present[i], strict=True) if there]
        p, q = max((x for x, _ in pairs), default=0), max((x for _, x in pairs), default=0)
        assert float(score[i, j]) == pytest.approx(2.44 * p * q / (q + 1.44 * p) if p else 0, abs=1e-6)


def made_up(*parts):
    """A reward without a sentence model, and random captions [2 3 ...] with references [2 4 ...]."""
    r = np.random.default_rng(5)
    space = emotion.build_space([r.normal(size=(4, 16)) + 1 for _ in range(5)], "cosine", True)
    static = RewardStatic(tuple(scorer(part, Reward()) for part in parts), None, 9, END)
    refs = References(
        present=np.array([[True, True, False, True], [False, True, True, False]]),
        tokens=Text(r.integers(0, 9, (2, 4, 7)), np.arange(7) < r.integers(1, 8, (2, 4, 1))),
        embedding=unit(r.normal(size=(2, 4, 16)) + 0.5).astype(np.float32),
    )
    tokens = Text(r.integers(0, 9, (2, 3, 6)), np.arange(6) < r.integers(1, 7, (2, 3, 1)))
    embedding = unit(r.normal(size=(2, 3, 16)) + 0.5).astype(np.float32)
    return RewardModel(None, None, {"emotion": space}), static, Captions(tokens, None, None, tokens, embedding), refs


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_the_mix_equals_the_formulas(pool):
    model, static, captions, refs = made_up(f"emotion(pool={pool})*0.3", f"sentence(pool={pool})*0.7")
    total, parts = compare(model, static, captions, refs)
    space = model.parts["emotion"]
    mean, basis = (np.asarray(x, np.float64) for x in (space.mean, space.basis))

    def z(e):
        return basis @ unit(e.astype(np.float64) - mean)

    best = {"mean": np.mean, "max": max}[pool]
    for i, j in itertools.product(range(2), range(3)):
        own = captions.embedding[i, j]
        theirs = [refs.embedding[i, k] for k in range(4) if refs.present[i, k]]
        emo = best([unit(z(own)) @ unit(z(e)) for e in theirs])
        sem = best([own.astype(np.float64) @ e for e in theirs])
        found = (total, parts["emotion"], parts["sentence"])
        assert [float(x[i, j]) for x in found] == pytest.approx([0.3 * emo + 0.7 * sem, emo, sem], abs=1e-5)


KINDS = [("emotion*0.5", "sentence*0.5"), ("emotion(pool=max)", "sentence(pool=max)"), ("rouge_l(tokens=reward)",)]


@pytest.mark.parametrize("kind", [*KINDS, ("bleu(tokens=reward)",)])
def test_padding_is_inert_and_order_is_free(kind):
    model, static, captions, refs = made_up(*kind)
    total, parts = compare(model, static, captions, refs)

    def grown(x, axis, size):
        widths = [(0, size if a == axis else 0) for a in range(x.ndim)]
        return np.pad(x, widths, constant_values=False if x.dtype == bool else 3)

    longer = jax.tree.map(lambda x: grown(x, 1, 2), refs)
    longer = longer.replace(tokens=jax.tree.map(lambda x: grown(x, 2, 4), longer.tokens))
    wider = captions.replace(tokens=jax.tree.map(lambda x: grown(x, 2, 5), captions.tokens))
    padded = compare(model, static, wider, longer)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), (total, parts), padded)

    order, clips = [2, 0, 1], [1, 0]
    swapped = jax.tree.map(lambda x: x[clips][:, order], captions)
    mixed = compare(model, static, swapped, jax.tree.map(lambda x: x[clips][:, ::-1], refs))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[np.ix_(clips, order)], b, atol=1e-6), (total, parts), mixed)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]])
def test_an_empty_caption_scores_minus_one_and_what_cannot_be_scored_is_nan(kind):
    model, static, captions, refs = made_up(*kind)
    captions.tokens.mask[0, 1] = False
    refs.present[1] = False
    total, parts = compare(model, static, captions, refs)
    for r in (total, *parts.values()):
        assert r[0, 1] == -1
        assert np.isfinite(r[0]).all()
        assert np.isnan(r[1]).all()
    if "emotion*0.5" in kind:
        captions.embedding[0, 0] = np.nan
        total, _ = compare(model, static, captions, refs)
        assert np.isnan(total[0, 0])
        assert total[0, 1] == -1


@pytest.fixture(scope="module")
def policy():
    """A byte-level policy tokenizer that can spell any bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<start>", "<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(itertools.chain(*CAPTIONS.values()), trainer)
    return tokenizer


def judge(policy, **fields):
    """A reader of the reward, or a skip where its model is not at hand."""
    try:
        return rewards.make_reader(
            Reward(max_tokens=34, max_bytes=120, attributes=concepts.ATTRIBUTES, **fields), policy
        )
    except FileNotFoundError as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="module")
def built(policy):
    """The reward with the real sentence model."""
    reader = judge(policy, parts=("emotion*0.5", "sentence*0.5", "facts*0.5", "rouge_l(tokens=reward)*0"))
    return *rewards.build(reader), reader


def test_the_reward_of_ids_equals_that_of_the_text_they_spell(built, policy):
    model, static, reader = built
    r = np.random.default_rng(2)
    texts = [*CAPTIONS["sad"], *CAPTIONS["angry"], *CAPTIONS["fearful"], "", " ", "她非常生气。[SEP]"]
    texts += ["angry " * 60, "é😀", "x" * 200]
    rows = [policy.encode(t).ids for t in texts] + [list(r.integers(3, 400, n)) for n in (3, 9, 40)]
    b, g, t = 6, 3, max(map(len, rows)) + 1
    ids, mask = np.zeros((b * g, t), np.int32), np.zeros((b * g, t), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row) + 1], mask[i, : len(row) + 1] = [*row, END], True  # closed by the end token
    captions = [["A furious man."], ["x", "She is afraid.", "fear"], [""], ["喜悦的心情"], ["a"] * 9, ["calm", "sad"]]
    emotions = ["angry", "fearful", "neutral", None, "sad", None]
    genders = ["man", "woman", "woman", None, None, "man"]
    clips = [
        Clip(str(i), captions=tuple(each), emotion=emotion, attributes={"gender": gender} if gender else {})
        for i, (each, emotion, gender) in enumerate(zip(captions, emotions, genders, strict=True))
    ]
    refs = rewards.references(reader, clips, limit=3)
    assert refs.present.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0]]
    np.testing.assert_allclose(np.linalg.norm(refs.embedding, axis=-1), 1, atol=1e-5)

    score = jax.jit(rewards.score, static_argnums=1)
    total, parts = score(model, static, ids.reshape(b, g, t), mask.reshape(b, g, t), refs)
    spelled = [policy.decode(row) for row in rows]
    cut = [dataclasses.replace(clip, captions=clip.captions[:3]) for clip in clips for _ in range(g)]
    wanted = rewards.score_texts(model, static, reader, spelled, cut)
    assert {"emotion", "sentence", "facts", "rouge_l", "gender_stated", "gender_right"} == parts.keys() & {
        *("emotion", "sentence", "facts", "rouge_l", "gender_stated", "gender_right")
    }
    for name, value in ({"reward": total} | parts).items():
        np.testing.assert_allclose(np.asarray(value).reshape(-1), wanted[name], atol=1e-5)
    assert np.isnan(parts["sentence"][2]).all()
    assert (parts["sentence"][3, :2] == -1).all()
    facts = np.asarray(parts["facts"])
    assert np.isnan(facts[3]).all(), "nothing is known of that clip"
    assert (np.asarray(total)[3, :2] == -1).all(), "and its captions are scored by the rest"
    assert {-1.0, 0.0, 1.0} & set(facts[[0, 1, 4, 5]].ravel().tolist())
    mix = 0.5 * (parts["emotion"] + parts["sentence"])
    np.testing.assert_allclose(total, np.where(np.isnan(mix), 0, mix) + 0.5 * np.nan_to_num(facts), atol=1e-6)


def separation(vectors, labels):
    """How far cosines of the same emotion lie above those of different ones, in their standard deviations."""
    cosines = unit(vectors) @ unit(vectors).T
    pairs = ~np.eye(len(labels), dtype=bool)
    same = np.equal.outer(labels, labels)
    gap = cosines[same & pairs].mean() - cosines[~same].mean()
    return cosines[same & pairs].mean(), cosines[~same].mean(), gap / cosines[pairs].std()


def test_centring_separates_emotions(built):
    """The facts of method.md: without centring all captions lie together; with it, apart, and more than sentences."""
    model, static, reader = built
    tokenizer = reader.tokenizer
    texts, labels = zip(*((text, label) for label, texts in CAPTIONS.items() for text in texts), strict=True)
    labels = np.array(labels)
    embedded = sentence.embed_texts(model.sentence, static.sentence, tokenizer, texts)
    phrases = emotion.phrases(concepts.CONCEPTS, concepts.TEMPLATES)
    anchors = sentence.embed_texts(model.sentence, static.sentence, tokenizer, [*itertools.chain(*phrases)])
    anchors = np.split(anchors, len(phrases))  # as many phrases for each
    raw = emotion.project(emotion.build_space(anchors, "cosine", center=False), embedded)
    same, different, _ = separation(np.asarray(raw), labels)
    assert same > 0.95
    assert different > 0.85
    centred = rewards.coordinates_of_texts(model, reader, texts)
    assert centred.shape == (len(texts), 7)
    same, different, apart = separation(centred, labels)
    assert same > 0.6
    assert different < 0.2
    assert apart > separation(embedded, labels)[2]


def test_build_refuses_lengths_that_the_model_cannot_read(policy, built):
    with pytest.raises(ConfigError, match=r"reward.max_tokens=300: wanted 3 to 256"):
        rewards.make_reader(Reward(max_tokens=300), policy)
    model, _, reader = built
    with pytest.raises(ValueError, match="has no emotion coordinates"):
        rewards.coordinates_of_texts(model.replace(parts={}), reader, ["a"])


def test_what_no_part_asks_for_is_not_loaded(policy):
    nowhere = Reward(parts=("facts", "rouge_l", "repetition*0.1"), model="nowhere")
    reader = rewards.make_reader(nowhere, policy)
    model, static = rewards.build(reader)
    assert model.sentence is None
    assert not isinstance(model.tables, text.Tables)
    refs = rewards.references(reader, [Clip("a", captions=("She is sad.",), emotion="sad")], 2)
    assert refs.tokens is refs.embedding is None
    assert static.needs == {"bytes", "words"}
    alone = rewards.build(rewards.make_reader(Reward(parts=("overlong(limit=9, soft=3)",), model="nowhere"), policy))
    assert alone[0].tables is None
    judge(policy)  # of the tokenizer alone:
    tokens = rewards.build(judge(policy, parts=("rouge_l(tokens=reward)",)))
    assert tokens[0].sentence is None
    assert isinstance(tokens[0].tables, text.Tables)
