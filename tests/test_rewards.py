"""Rewards are the formulas of method.md: equal to plain float64 NumPy, in the graph as on strings; padding is inert."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from emojax import rewards
from emojax.config import ConfigError, Reward, concepts
from emojax.rewards import emotion, rouge, sentence
from emojax.rewards.score import RewardModel, RewardStatic, compare
from emojax.types import References

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


def made_up(pool="mean", kind="emotion", weight=0.3):
    """A reward without a sentence model, and random captions [2 3 ...] with references [2 4 ...]."""
    r = np.random.default_rng(5)
    space = emotion.build_space([r.normal(size=(4, 16)) + 1 for _ in range(5)], "cosine", True)
    static = RewardStatic(kind, weight, pool, None)
    embedding = unit(r.normal(size=(2, 3, 16)) + 0.5).astype(np.float32)
    refs = References(
        ids=r.integers(0, 9, (2, 4, 7)),
        mask=np.arange(7) < r.integers(1, 8, (2, 4, 1)),
        embedding=unit(r.normal(size=(2, 4, 16)) + 0.5).astype(np.float32),
        present=np.array([[True, True, False, True], [False, True, True, False]]),
    )
    ids, mask = r.integers(0, 9, (2, 3, 6)), np.arange(6) < r.integers(1, 7, (2, 3, 1))
    return RewardModel(None, None, space), static, ids, mask, None if kind == "rouge_l" else embedding, refs


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_the_mix_equals_the_formulas(pool):
    model, static, ids, mask, embedding, refs = made_up(pool)
    total, parts = compare(model, static, ids, mask, embedding, refs)
    mean, basis = (np.asarray(x, np.float64) for x in (model.space.mean, model.space.basis))

    def z(e):
        return basis @ unit(e.astype(np.float64) - mean)

    for i, j in itertools.product(range(2), range(3)):
        theirs = [refs.embedding[i, k] for k in range(4) if refs.present[i, k]]
        emo = [unit(z(embedding[i, j])) @ unit(z(e)) for e in theirs]
        sem = [embedding[i, j].astype(np.float64) @ e for e in theirs]
        both = [0.3 * a + 0.7 * b for a, b in zip(emo, sem, strict=True)]
        # of the best reference, or the mean over all: either way the parts add up to the whole
        wanted = max(zip(both, emo, sem, strict=True)) if pool == "max" else map(np.mean, (both, emo, sem))
        found = (total, parts["r_emo"], parts["r_sem"])
        assert [float(x[i, j]) for x in found] == pytest.approx(list(wanted), abs=1e-5)


@pytest.mark.parametrize(("kind", "pool"), [("emotion", "mean"), ("emotion", "max"), ("rouge_l", "mean")])
def test_padding_is_inert_and_order_is_free(kind, pool):
    model, static, ids, mask, embedding, refs = made_up(pool, kind)
    total, parts = compare(model, static, ids, mask, embedding, refs)

    def grown(x, axis, size):
        widths = [(0, size if a == axis else 0) for a in range(x.ndim)]
        return np.pad(x, widths, constant_values=False if x.dtype == bool else 3)

    longer = References(*(grown(x, 1, 2) for x in (refs.ids, refs.mask, refs.embedding, refs.present)))
    longer = longer.replace(ids=grown(longer.ids, 2, 4), mask=grown(longer.mask, 2, 4))
    padded = compare(model, static, grown(ids, 2, 5), grown(mask, 2, 5), embedding, longer)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), (total, parts), padded)

    order, clips = [2, 0, 1], [1, 0]
    swapped = jax.tree.map(lambda x: x[clips][:, order], (ids, mask, embedding))
    mixed = compare(model, static, *swapped, jax.tree.map(lambda x: x[clips][:, ::-1], refs))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[np.ix_(clips, order)], b, atol=1e-6), (total, parts), mixed)


@pytest.mark.parametrize("kind", ["emotion", "rouge_l"])
def test_an_empty_caption_scores_minus_one_and_what_cannot_be_scored_is_nan(kind):
    model, static, ids, mask, embedding, refs = made_up(kind=kind)
    mask[0, 1] = False
    refs.present[1] = False
    total, parts = compare(model, static, ids, mask, embedding, refs)
    for r in (total, *parts.values()):
        assert r[0, 1] == -1
        assert np.isfinite(r[0]).all()
        assert np.isnan(r[1]).all()
    if kind == "emotion":
        refs.embedding[0, 0] = np.nan
        total, _ = compare(model, static, ids, mask, embedding, refs)
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


@pytest.fixture(scope="module")
def built(policy):
    """The reward with the real sentence model."""
    cfg = Reward(max_tokens=34, max_bytes=120, facts_weight=0.5, attributes=concepts.ATTRIBUTES)
    try:
        tokenizer = sentence.load_tokenizer(cfg.model)
    except FileNotFoundError as absent:
        pytest.skip(str(absent))
    return *rewards.build(cfg, policy), tokenizer


def test_the_reward_of_ids_equals_that_of_the_text_they_spell(built, policy):
    model, static, tokenizer = built
    r = np.random.default_rng(2)
    texts = [*CAPTIONS["sad"], *CAPTIONS["angry"], *CAPTIONS["fearful"], "", " ", "她非常生气。[SEP]"]
    texts += ["angry " * 60, "é😀", "x" * 200]
    rows = [policy.encode(t).ids for t in texts] + [list(r.integers(3, 400, n)) for n in (3, 9, 40)]
    b, g, t = 6, 3, max(map(len, rows)) + 1
    ids, mask = np.zeros((b * g, t), np.int32), np.zeros((b * g, t), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row) + 1], mask[i, : len(row) + 1] = [*row, 2], True  # closed by the end token
    captions = [["A furious man."], ["x", "She is afraid.", "fear"], [""], ["喜悦的心情"], ["a"] * 9, ["calm", "sad"]]
    known = np.array([[3, 1], [6, 0], [0, 0], [-1, -1], [2, -1], [-1, 1]], np.int32)  # emotion, gender
    known = np.pad(known, ((0, 0), (0, len(static.facts) - 2)), constant_values=-1)
    refs = rewards.references(static, model, tokenizer, captions, limit=3, facts=known)
    assert refs.present.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0]]
    np.testing.assert_allclose(np.linalg.norm(refs.embedding, axis=-1), 1, atol=1e-5)

    score = jax.jit(rewards.score, static_argnums=1)
    total, parts = score(model, static, ids.reshape(b, g, t), mask.reshape(b, g, t), refs)
    spelled = [policy.decode(row) for row in rows]
    repeated = [c[:3] for c in captions for _ in range(g)]
    wanted = rewards.score_texts(model, static, tokenizer, spelled, repeated, known.repeat(g, 0))
    assert {"r_emo", "r_sem", "facts", "gender_stated", "gender_right"} <= parts.keys()
    for name, value in ({"reward": total} | parts).items():
        np.testing.assert_allclose(np.asarray(value).reshape(-1), wanted[name], atol=1e-5)
    assert np.isnan(total[2]).all()
    assert (total[3, :2] == -1).all()
    facts = np.asarray(parts["facts"])
    assert np.isnan(facts[3]).all(), "nothing is known of that clip"
    assert {-1.0, 0.0, 1.0} & set(facts[[0, 1, 4, 5]].ravel().tolist())
    unpaid, _ = score(
        model, dataclasses.replace(static, facts_weight=0.0), *(x.reshape(b, g, t) for x in (ids, mask)), refs
    )
    spoken = np.isfinite(np.asarray(total)) & (np.asarray(total) != -1)
    np.testing.assert_allclose((total - unpaid)[spoken], (0.5 * np.nan_to_num(facts))[spoken], atol=1e-6)

    rouge_static = dataclasses.replace(static, kind="rouge_l", facts_weight=0.0)
    plain = model.replace(sentence=None, space=None)
    total, _ = score(plain, rouge_static, ids.reshape(b, g, t), mask.reshape(b, g, t), refs)
    wanted = rewards.score_texts(plain, rouge_static, tokenizer, spelled, [c[:3] for c in captions for _ in range(g)])
    np.testing.assert_allclose(np.asarray(total).reshape(-1), wanted["rouge_l"], atol=1e-6)


def separation(vectors, labels):
    """How far cosines of the same emotion lie above those of different ones, in their standard deviations."""
    cosines = unit(vectors) @ unit(vectors).T
    pairs = ~np.eye(len(labels), dtype=bool)
    same = np.equal.outer(labels, labels)
    gap = cosines[same & pairs].mean() - cosines[~same].mean()
    return cosines[same & pairs].mean(), cosines[~same].mean(), gap / cosines[pairs].std()


def test_centring_separates_emotions(built):
    """The facts of method.md: without centring all captions lie together; with it, apart, and more than sentences."""
    model, static, tokenizer = built
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
    centred = rewards.coordinates_of_texts(model, static, tokenizer, texts)
    assert centred.shape == (len(texts), 7)
    same, different, apart = separation(centred, labels)
    assert same > 0.6
    assert different < 0.2
    assert apart > separation(embedded, labels)[2]


def test_build_refuses_lengths_that_the_model_cannot_read(policy, built):
    with pytest.raises(ConfigError, match=r"reward.max_tokens=300: wanted 3 to 256"):
        rewards.build(Reward(max_tokens=300), policy)
    model, static, tokenizer = built
    with pytest.raises(ValueError, match="'rouge_l' has no emotion coordinates"):
        rewards.coordinates_of_texts(
            model.replace(space=None), dataclasses.replace(static, kind="rouge_l"), tokenizer, ["a"]
        )
