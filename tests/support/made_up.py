"""Made-up clips, weights and rewards for the laws: tiny, of random arrays, with numpy and the training core alone."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emojax import param
from emojax.config import (
    BertConfig,
    Config,
    Data,
    FrameEncoderConfig,
    Grpo,
    LlamaConfig,
    MelEncoderConfig,
    Model,
    Optimizer,
    Reward,
    Sft,
)
from emojax.config.concepts import Attribute, Concept
from emojax.decoder import captioner
from emojax.encoders import bert
from emojax.parallel import sharding
from emojax.rewards import RewardModel, RewardStatic, emotion
from emojax.rewards.part import scorer
from emojax.rewards.sentence import Sentence, SentenceConfig
from emojax.text import WordpieceTables
from emojax.text.bytes import TokenBytes
from emojax.text.normalize import Normalization
from emojax.text.trie import build_trie
from emojax.training import freeze
from emojax.training.grpo import Frozen
from emojax.training.program import (
    Program,
    custom_grpo_program,
    dpo_program,
    grpo_program,
    sft_program,
    stage_data,
)
from emojax.types import Array, Batch, Metrics, References, Text, TrainState, Tree

ATTRIBUTES = (  # two and three values
    Attribute("pace", (Concept("slow", ("slowly",)), Concept("fast", ("quickly",)))),
    Attribute(
        "age", (Concept("young", ("girlish",)), Concept("middle-aged", ("mature",)), Concept("elderly", ("old",)))
    ),
)
REWARD_TOKENS = 14  # T', of a reference
REWARD_WIDTH = 16  # E


def config(**fields) -> Config:
    """Odd sizes on purpose; `fields` replace those of Config. So small a vocabulary that some captions end early."""
    base = Config(
        name="made-up",
        caption_tokens=9,
        steps=20,
        data=Data(audio_seconds=(0.5,), frames=3, frame_size=16, transcript_tokens=5, targets=2, references=2),
        model=Model(
            audio=MelEncoderConfig(mels=20, width=24, layers=2, heads=3, ff=40, tokens=3),
            video=FrameEncoderConfig(width=24, heads=3, ff=40, tokens=2),
            decoder=LlamaConfig(vocab=46, width=40, layers=2, heads=6, kv_heads=2, head_width=8, ff=56),
        ),
        reward=Reward(attributes=ATTRIBUTES),
        # weights are compared across meshes and micro-batches: Adam must not make steps of rounding
        sft=Sft(batch=8, stream_dropout=0.5, optimizer=Optimizer(epsilon=1e-6)),
        grpo=Grpo(batch=8, group=4, optimizer=Optimizer(learning_rate=1e-4, weight_decay=0.0, epsilon=1e-6)),
    )
    return dataclasses.replace(base, **fields)


def with_grpo(cfg: Config, **fields) -> Config:
    return dataclasses.replace(cfg, grpo=dataclasses.replace(cfg.grpo, **fields))


def with_sft(cfg: Config, **fields) -> Config:
    return dataclasses.replace(cfg, sft=dataclasses.replace(cfg.sft, **fields))


def batch(cfg: Config, clips: int = 8, seed: int = 0) -> Batch:
    """Every third clip lacks audio, every third video, every third a transcript; lengths differ."""
    r = np.random.default_rng(seed)
    data, lm = cfg.data, cfg.model.decoder
    samples = int(data.audio_seconds[0] * 16_000)
    row = np.arange(clips)
    length = np.where(row % 3 == 0, 0, r.integers(samples // 2, samples + 1, clips))
    words = np.where(row % 3 == 2, 0, r.integers(1, data.transcript_tokens + 1, clips))
    tokens = r.integers(2, cfg.caption_tokens + 1, (clips, data.targets))
    tokens[3::4, 1:] = 0  # these clips have one caption only
    tokens[6::8] = 0  # and these none, but labels
    refs = References(
        tokens=Text(
            ids=r.integers(3, lm.vocab, (clips, 2, REWARD_TOKENS)).astype(np.int32),
            mask=np.arange(REWARD_TOKENS) < r.integers(1, REWARD_TOKENS + 1, (clips, 2, 1)),
        ),
        embedding=_unit(r.normal(size=(clips, 2, REWARD_WIDTH))),
        present=np.stack([np.ones(clips, bool), row % 2 == 0], 1),
    )
    return Batch(
        clip_id=r.integers(0, 2**32, clips, dtype=np.uint32),
        audio=r.normal(size=(clips, samples)).astype(np.float32) * 0.1,
        audio_length=length.astype(np.int32),
        video=r.integers(0, 256, (clips, data.frames, data.frame_size, data.frame_size, 3)).astype(np.uint8),
        video_mask=np.broadcast_to((row % 3 != 1)[:, None], (clips, data.frames)).copy(),
        transcript=r.integers(3, lm.vocab, (clips, data.transcript_tokens)).astype(np.int32),
        transcript_mask=np.arange(data.transcript_tokens) < words[:, None],
        caption=r.integers(3, lm.vocab, (clips, data.targets, cfg.caption_tokens)).astype(np.int32),
        caption_mask=np.arange(cfg.caption_tokens) < tokens[..., None],
        emotion=_emotions(cfg, clips),
        references=refs,
        attributes=_attributes(cfg, clips) if cfg.sft.attributes_weight and cfg.reward.attributes else None,
    )


def _emotions(cfg: Config, clips: int) -> np.ndarray:
    """Of every four clips one has a label, one none, one shares of all, one the votes of three annotators."""
    r, concepts = np.random.default_rng(4), len(cfg.reward.concepts)
    one, soft = np.eye(concepts)[r.integers(0, concepts, clips)], r.dirichlet(np.ones(concepts), clips)
    votes = np.eye(concepts)[r.integers(0, concepts, (clips, 3))].mean(1)
    kinds = np.stack([one, np.zeros_like(one), soft, votes])
    return kinds[np.arange(clips) % 4, np.arange(clips)].astype(np.float32)


def _attributes(cfg: Config, clips: int) -> np.ndarray:
    """Some are not known, and of the second clip none is."""
    r = np.random.default_rng(3)
    values = np.stack([r.integers(-1, len(a.values), clips) for a in cfg.reward.attributes], 1).astype(np.int32)
    values[1:2] = -1
    return values


def _unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


@functools.cache
def params(cfg: Config, seed: int = 0) -> captioner.Params:
    """Numpy weights: no bias is zero, no norm is one, and the distribution of a caption's tokens is far from flat."""
    tree = param.init(captioner.declare(cfg), jax.random.key(0))
    r = np.random.default_rng(seed)
    tree = jax.tree.map(lambda w: np.asarray(w) + r.normal(size=w.shape, scale=0.05).astype(np.float32), tree)
    return tree.replace(decoder=tree.decoder.replace(embed=6 * tree.decoder.embed))


def score(values: Array, ids: Array, mask: Array, refs: References) -> tuple[Array, dict[str, Array]]:
    """The mean of `values` (f32[V]) over a caption's tokens, and more for words of a reference."""
    length = jnp.maximum(mask.sum(-1), 1).astype(jnp.float32)
    worth = jnp.where(mask, values[ids], 0).sum(-1) / length
    common = (ids[..., None] == refs.tokens.ids[:, :1, None]) & refs.tokens.mask[:, :1, None]
    overlap = (common.any(-1) & mask).sum(-1).astype(jnp.float32) / length
    return worth + 0.5 * overlap, {"worth": worth, "overlap": overlap}


def values(cfg: Config) -> np.ndarray:
    return np.random.default_rng(7).normal(size=cfg.model.decoder.vocab).astype(np.float32)


def reward_model(cfg: Config) -> tuple[RewardModel, RewardStatic]:
    """The shipped reward with tables and a sentence encoder made here: letters and pairs of letters, no tokenizer."""
    r = np.random.default_rng(8)
    spelled = [b"", b"", b"", *(b" " * (i % 3 == 0) + bytes([97 + i % 26]) for i in range(3, cfg.model.decoder.vocab))]
    policy = TokenBytes(np.cumsum([0, *map(len, spelled)]).astype(np.int32), np.frombuffer(b"".join(spelled), np.uint8))
    letter = 2  # symbols: 0 white space, 1 a mark, 2 an unknown letter, 3 to 28 a to z
    row = np.ones((2, 256), np.int32)
    row[0, ord(" ")] = 0
    row[0, 97:123] = np.arange(2, 28)
    normalization = Normalization(
        page=np.minimum(np.arange(0x110000 // 256), 1).astype(np.int32),
        row=row,
        symbols=np.array([0, letter, *range(letter + 1, letter + 27)], np.int32)[:, None],
        count=np.ones(28, np.int32),
        rank=None,
        fence=None,
        letter=letter,
        growth=1.0,
    )
    pieces = [[letter + 1 + i] for i in range(24)] + [[letter + 1 + i, letter + 1 + 7 * i % 26] for i in range(12)]
    ids, begins = np.arange(5, 5 + 2 * len(pieces)), np.arange(2 * len(pieces)) < len(pieces)
    tables = WordpieceTables(
        policy=policy,
        normalization=normalization,
        trie=build_trie(2 * pieces, ids, begins, symbols=2048),
        unknown=1,
        longest_word=100,
        max_bytes=24,
        max_tokens=REWARD_TOKENS,
    )
    sizes = BertConfig(vocab=80, width=REWARD_WIDTH, layers=1, heads=2, ff=24, positions=REWARD_TOKENS + 2)
    sentence = SentenceConfig(sizes, ("mean",), ("normalize",), REWARD_TOKENS + 2, cls=78, sep=79)
    weights = Sentence(jax.tree.map(np.asarray, param.init(bert.declare(sizes), jax.random.key(9))), ())
    space = emotion.build_space([r.normal(size=(3, REWARD_WIDTH)) for _ in range(7)], "cosine", True)
    return RewardModel(tables, weights, {"emotion": space}), mixed(cfg, sentence, tables.max_bytes)


def mixed(cfg: Config, sentence: SentenceConfig, max_bytes: int) -> RewardStatic:
    """Half emotion, half sentence similarity."""
    parts = tuple(scorer(part, cfg.reward) for part in ("emotion*0.5", "sentence*0.5"))
    return RewardStatic(parts, sentence, max_bytes, cfg.model.decoder.end_token)


@functools.cache
def sft(cfg: Config, devices: int = 1) -> Program:
    """Compiled once, whichever test asks."""
    return sft_program(cfg, sharding.make_mesh(cfg, jax.devices()[:devices]))


@functools.cache
def grpo(cfg: Config, devices: int = 1, shipped_reward: bool = False) -> Program:
    mesh = sharding.make_mesh(cfg, jax.devices()[:devices])
    if shipped_reward:
        return grpo_program(cfg, mesh, *reward_model(cfg))
    refs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch(cfg, cfg.grpo.rolled).references)
    return custom_grpo_program(cfg, mesh, values(cfg), score, refs)


@functools.cache
def dpo(cfg: Config, devices: int = 1) -> Program:
    return dpo_program(cfg, sharding.make_mesh(cfg, jax.devices()[:devices], "dpo"))


def pairs(cfg: Config) -> Batch:
    """A batch of `dpo_program`: each clip has a chosen caption and a rejected one, some a second."""
    made = batch(dataclasses.replace(cfg, data=stage_data(cfg, "dpo")), cfg.dpo.batch)
    tokens = np.random.default_rng(5).integers(2, cfg.caption_tokens + 1, made.caption.shape[:2])
    tokens[::3, 2:] = 0
    mask = np.arange(cfg.caption_tokens) < tokens[..., None]
    return made.replace(caption_mask=mask, references=None, attributes=None)


def state(program: Program, cfg: Config, step: int = 0, weights: captioner.Params | None = None) -> TrainState:
    """A state at that step, on the host, so that no program's donation touches it. What it carries of the policy's
    reference is `params` of seed 1."""
    weights = weights or params(cfg)
    trained, _ = freeze.split(weights, cfg.sft.freeze)
    if isinstance(program.frozen, Frozen):
        trained, _ = freeze.split_policy(weights, cfg.grpo)
    made = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), program.state)
    if made.reference is not None:
        made = made.replace(reference=freeze.split_policy(params(cfg, 1), cfg.grpo)[0])
    controls = made.controls and {name: np.float32(getattr(cfg.grpo, name)) for name in made.controls}
    return made.replace(step=np.int32(step), params=trained, controls=controls)


def _as_asked(whole: Tree, asked: Tree) -> Tree:
    """As much of a tree as the other one has."""
    return jax.tree.map(lambda own, x: None if x is None else own, whole, asked, is_leaf=lambda x: x is None)


def frozen(program: Program, cfg: Config, reward: Tree = None) -> Tree:
    """The reference policy is another one than `params`, so that the divergence from it is not zero."""
    if not isinstance(program.frozen, Frozen):
        return freeze.kept(freeze.split(params(cfg), cfg.sft.freeze)[1], cfg)
    reward = values(cfg) if reward is None else reward
    reference = _as_asked(params(cfg, 1).decoder, program.frozen.reference)
    # what is not trained is the reference policy's own, and of both the same
    encoders = _as_asked(params(cfg).encoders, program.frozen.encoders)
    return Frozen(encoders=freeze.kept(encoders, cfg), reference=freeze.kept(reference, cfg), reward=reward)


def run(program: Program, state: TrainState, frozen: Any, batch: Batch, seed: int = 0) -> tuple[TrainState, Metrics]:
    """One step, everything fetched to the host."""
    left_out = {"attributes": None} if isinstance(frozen, Frozen) else {"references": None}
    batch = batch.replace(**left_out)  # no more than a run gives the stage
    with jax.set_mesh(program.mesh):
        out = program.step(state, frozen, batch, jax.random.key(seed))
    return jax.tree.map(np.array, out)


def distance(a: Tree, b: Tree) -> float:
    """The largest difference of two trees."""
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(np.abs(x - y).max(initial=0)), a, b)))
