"""The law of emojax/text for every kind of policy tokenizer with every kind of reward tokenizer: the graph's tokens are
the reward tokenizer's for the decoded text, for any tokens and for real text in Chinese, English and mixed scripts."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer

from emojax import param, rewards, text
from emojax.config import BertConfig
from emojax.data.clips import Clip
from emojax.encoders import bert
from emojax.parallel import sharding
from emojax.rewards import RewardModel, RewardStatic, emotion
from emojax.rewards.sentence import Sentence, SentenceConfig
from emojax.text.check import Mismatch, compare, plain, random_ids
from emojax.text.pieces import Pieces
from emojax.text.policy import build_policy
from emojax.training.program import grpo_program
from support import made_up, policies
from support.sentencepieces import bge, xlm_r
from test_bpe import trained
from test_retokenize import SECAP, TEXTS, minilm, trained_pieces

POLICIES = {"gpt-2": policies.gpt2, "llama 2": policies.llama2, "bert": policies.bert}
REWARDS = {
    "minilm": minilm,
    "chinese bert": lambda: trained_pieces(lowercase=False, strip_accents=False),
    "xlm-r": xlm_r,
    "bge": bge,
    "roberta": lambda: trained(1500, prefix=True),
}
SEQUENCES, LONGEST, MAX_BYTES = 300, 48, 256
USUAL = [pytest.param(kind, marks=pytest.mark.slow if kind == "bge" else ()) for kind in REWARDS]  # xlm-r is its like
MIXED = [
    "他说 “I'm fine”，但语气 clearly 很失落 (voice: low & shaky)。",
    "She whispers “不要走…” and then 她哭了 — très ému, 슬프다, とても悲しい😢!",
    "生气、愤怒 angry!!! 100% 确定; don't 说 not 了 ,  .  ?  ' s",
]


@functools.cache
def tokenizer(kind: str) -> Tokenizer:
    return plain((POLICIES | REWARDS)[kind]())


@functools.cache
def tables(reward: str) -> text.Tables:
    return text.build(tokenizer("gpt-2"), tokenizer(reward), max_bytes=MAX_BYTES, max_tokens=MAX_BYTES)


def mismatches(policy: str, reward: str, sources: list[tuple[str, list[int]]]) -> list[Mismatch]:
    pair = dataclasses.replace(tables(reward), policy=build_policy(tokenizer(policy)))
    return list(compare(pair, tokenizer(policy), tokenizer(reward), sources))


def windows(policy: str, lines: list[str]) -> list[tuple[str, list[int]]]:
    ids = [encoding.ids for encoding in tokenizer(policy).encode_batch(lines, add_special_tokens=False)]
    return [("text", row[k : k + LONGEST]) for row in ids for k in range(0, len(row), LONGEST)]


def spoken() -> list[str]:
    if not SECAP.exists():
        pytest.skip(f"no {SECAP}: the captions and transcripts of SECap are not here")
    clips = [json.loads(line) for line in SECAP.read_text("utf-8").splitlines()]
    return [clip[field] for clip in clips for field in ("caption", "transcript")]


@pytest.mark.parametrize("reward", USUAL)
@pytest.mark.parametrize("policy", POLICIES)
def test_tokens_equal_the_reference_for_any_tokens_and_many_scripts(policy: str, reward: str) -> None:
    sources = windows(policy, TEXTS + MIXED)
    assert mismatches(policy, reward, sources + list(random_ids(tokenizer(policy), SEQUENCES, LONGEST, 0))) == []


@pytest.mark.slow
@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("policy", POLICIES)
def test_tokens_equal_the_reference_for_twenty_thousand_sequences_of_any_tokens(policy: str, reward: str) -> None:
    assert mismatches(policy, reward, list(random_ids(tokenizer(policy), 20_000, LONGEST, 1))) == []


@pytest.mark.parametrize("reward", USUAL)
@pytest.mark.parametrize("policy", ["gpt-2", pytest.param("llama 2", marks=pytest.mark.slow), "bert"])
def test_tokens_equal_the_reference_for_what_people_say(policy: str, reward: str) -> None:
    assert mismatches(policy, reward, windows(policy, spoken())) == []


@pytest.mark.parametrize("policy", ["llama 2", "bert"])
def test_a_wrong_table_is_found(policy: str) -> None:
    """Not the law but its judge: of each part of the policy's table, one wrong entry is noticed."""
    right = build_policy(tokenizer(policy))
    assert isinstance(right, Pieces)
    comma = tokenizer(policy).token_to_id(",")
    spelled, real = right.bytes.copy(), right.real.copy()
    spelled[right.start[comma + 1] - 1] ^= 1
    real[comma] = False
    wrong = [right.replace(bytes=spelled), right.replace(real=real)]
    if right.fallback is not None:
        wrong += [right.replace(fallback=None), right.replace(strip=False)]
    sources = windows(policy, TEXTS) + [("", row) for _, row in random_ids(tokenizer(policy), 64, LONGEST, 0)]
    for part in wrong:
        pair = dataclasses.replace(tables("chinese bert"), policy=part)
        assert list(compare(pair, tokenizer(policy), tokenizer("chinese bert"), sources))


@functools.cache
def small_reward(policy: str) -> tuple[RewardModel, RewardStatic]:
    """The shipped reward of a random sentence encoder that reads the Chinese BERT's tokens."""
    r, judge = np.random.default_rng(8), tokenizer("chinese bert")
    pair = text.build(tokenizer(policy), judge, max_bytes=128, max_tokens=28)
    sizes = BertConfig(vocab=judge.get_vocab_size(), width=made_up.REWARD_WIDTH, layers=1, heads=2, ff=24, positions=30)
    cls, sep = judge.token_to_id("[MASK]"), judge.token_to_id("[SEP]")
    weights = Sentence(jax.tree.map(np.asarray, param.init(bert.declare(sizes), jax.random.key(9))), ())
    space = emotion.build_space([r.normal(size=(3, made_up.REWARD_WIDTH)) for _ in range(7)], "cosine", True)
    sentence = SentenceConfig(sizes, ("mean",), ("normalize",), 30, cls=cls, sep=sep)
    return RewardModel(pair, weights, {"emotion": space}), made_up.mixed(made_up.config(), sentence, 128)


@pytest.mark.parametrize("policy", ["llama 2", pytest.param("bert", marks=pytest.mark.slow)])
def test_a_step_rewards_the_captions_that_its_tokens_spell(policy: str) -> None:
    """One compiled Emo-GRPO step of a policy with that tokenizer: its rewards are those of the decoded captions."""
    writer, judge = tokenizer(policy), tokenizer("chinese bert")
    cfg = made_up.config()
    lm = dataclasses.replace(
        cfg.model.decoder, vocab=writer.get_vocab_size(), end_token=writer.token_to_id("[SEP]") or 2
    )
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, audio=None, video=None, decoder=lm))
    model, static = small_reward(policy)
    captions = [[TEXTS[0], MIXED[0]], [TEXTS[1], MIXED[2]], ["伤心"], ["calm", "低沉"]] * 2
    static = dataclasses.replace(static, end=lm.end_token)
    reader = rewards.Reader(cfg.reward, static.parts, writer, lm.end_token, judge, static.sentence, model.sentence)
    clips = [Clip("", captions=tuple(each)) for each in captions]
    references = rewards.references(reader, clips, limit=2)
    program = grpo_program(cfg, sharding.make_mesh(cfg, jax.devices()[:1]), model, static)
    state, batch = made_up.state(program, cfg), made_up.batch(cfg).replace(references=references)
    _, metrics = made_up.run(program, state, made_up.frozen(program, cfg, model), batch)

    samples = metrics["samples"]
    rows = [
        ids[mask].tolist() for ids, mask in zip(samples.ids.reshape(32, -1), samples.mask.reshape(32, -1), strict=True)
    ]
    spelled = writer.decode_batch(rows)
    assert len(set(spelled)) > 16
    wanted = rewards.score_texts(model, static, reader, spelled, [clip for clip in clips for _ in range(4)])
    assert np.std(wanted["reward"]) > 0.01
    np.testing.assert_allclose(samples.reward.reshape(-1), wanted["reward"], atol=1e-5)
