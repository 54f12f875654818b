"""The reward of a caption, from the policy's token ids to a number, in the graph; `texts.py` has it for plain strings.

    ids [B G T] -> emojax.text -> reward tokens [B G S] -> Sentence-BERT -> r_emo, r_sem -> R [B G]

R = lambda r_emo + (1 - lambda) r_sem against each reference of the clip, then their mean or maximum; to it are added
`facts_weight` of the facts that a caption states, where any is known of the clip (`facts.py`). An empty caption scores
-1. NaN means "not scorable": a clip without a reference, and whatever the model itself makes NaN.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct

from emojax import text
from emojax.config import ConfigError, Reward
from emojax.parallel.sharding import constrain
from emojax.rewards import emotion, facts, lexicon, rouge, sentence
from emojax.rewards.emotion import Coordinates
from emojax.rewards.lexicon import Lexicon
from emojax.rewards.sentence import Sentence, SentenceConfig
from emojax.types import Array, References

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@struct.dataclass
class RewardModel:
    """The arrays of the reward: arguments of the program, never constants in it."""

    tables: text.Tables  # the policy's tokens -> the reward model's
    sentence: Sentence | None  # None: ROUGE-L needs no model
    space: Coordinates | None
    lexicon: Lexicon | None = None  # the words that state a fact


@dataclass(frozen=True)
class RewardStatic:
    kind: str
    emotion_weight: float  # lambda
    pool: str
    sentence: SentenceConfig  # its `max_tokens` is the length that captions and references are truncated to
    facts_weight: float = 0.0
    facts: tuple[str, ...] = ()  # their names


def build(reward: Reward, policy: "Tokenizer") -> tuple[RewardModel, RewardStatic]:
    """The reward of a configuration, for the captions of a policy with that tokenizer; on the host.

    Raises:
      FileNotFoundError, ValueError: see `sentence.load`.
      ConfigError: `max_tokens` is more than the sentence model reads.
    """
    params, settings, tokenizer = _load(reward)
    tables = text.build(policy, tokenizer, max_bytes=reward.max_bytes, max_tokens=settings.text_tokens)
    static, words = _static(reward, settings)
    if reward.kind == "rouge_l":
        return RewardModel(tables, None, None, words), static
    if reward not in _spaces:
        _spaces[reward] = _space(reward, params, settings, tokenizer)
    return RewardModel(tables, params, _spaces[reward], words), static


def _load(reward: Reward) -> "tuple[Sentence, SentenceConfig, Tokenizer]":
    params, settings, tokenizer = sentence.load(reward.model)
    if not settings.special < reward.max_tokens <= settings.max_tokens:
        raise ConfigError(
            f"reward.max_tokens={reward.max_tokens}: wanted {settings.special + 1} to {settings.max_tokens}, "
            f"the special tokens included: {reward.model} reads no more"
        )
    return params, dataclasses.replace(settings, max_tokens=reward.max_tokens), tokenizer


_spaces: dict[Reward, Coordinates] = {}  # some hundred texts, embedded once, though a run asks at each of its stages


def _space(reward: Reward, params: Sentence, settings: SentenceConfig, tokenizer: "Tokenizer") -> Coordinates:
    """The emotions of a configuration."""
    phrases = emotion.phrases(reward.concepts, reward.templates)
    embedded = sentence.embed_texts(params, settings, tokenizer, [p for concept in phrases for p in concept])
    parts = np.split(embedded, np.cumsum([len(concept) for concept in phrases])[:-1])
    return emotion.build_space(parts, reward.coordinates, reward.center)


def abstract(reward: Reward, vocab: int) -> tuple[RewardModel, RewardStatic]:
    """The shapes of the reward where its files are not at hand, `reward.sizes` given; `vocab` of the policy."""
    assert reward.sizes is not None, "the caller asks for shapes only where there are sizes"
    params, sentence_cfg = sentence.abstract(reward.sizes, reward.max_tokens)
    tables = text.abstract(vocab, reward.sizes, max_bytes=reward.max_bytes, max_tokens=sentence_cfg.text_tokens)
    static, words = _static(reward, sentence_cfg)
    if reward.kind == "rouge_l":
        return RewardModel(tables, None, None, words), static
    anchors = np.random.default_rng(0).normal(size=(len(reward.concepts), 1, sentence_cfg.width))
    space = emotion.build_space(list(anchors), reward.coordinates, reward.center)
    return RewardModel(tables, params, space, words), static


def _static(reward: Reward, sentence_cfg: SentenceConfig) -> tuple[RewardStatic, Lexicon]:
    known = facts.known_facts(reward)
    names = tuple(fact.name for fact in known)
    static = RewardStatic(reward.kind, reward.emotion_weight, reward.pool, sentence_cfg, reward.facts_weight, names)
    return static, lexicon.build(known)


def score(
    model: RewardModel, static: RewardStatic, ids: Array, mask: Array, refs: References
) -> tuple[Array, dict[str, Array]]:
    """Rewards of sampled captions, traceable.

    Args:
      ids, mask: i32, bool [B G T] the policy's tokens; what stands after the end token is not read.
      refs: of the same clips.
    Returns:
      The reward f32[B G], and its parts by name, f32[B G] each: r_emo and r_sem, or rouge_l; `facts` and, of each fact,
      `NAME_stated` and `NAME_right`, 0 or 1, the latter of captions that state it. NaN where a part does not apply.
    """
    ids, mask, embedding, named = _read(model, static, ids, mask)
    return compare(model, static, ids, mask, embedding, refs, named)


def coordinates(model: RewardModel, static: RewardStatic, ids: Array, mask: Array) -> Array | None:
    """Where sampled captions lie among the emotions, f32[B G C], traceable; None: the reward has no coordinates.

    Args:
      ids, mask: as of `score`.
    """
    _, _, embedding, _ = _read(model, static, ids, mask)
    return None if embedding is None or model.space is None else emotion.project(model.space, embedding)


def _read(
    model: RewardModel, static: RewardStatic, ids: Array, mask: Array
) -> tuple[Array, Array, Array | None, Array | None]:
    """Captions as the reward has them: the sentence model's tokens i32, bool [B G S], unit embeddings f32[B G E], and
    which values of facts they name, bool[B G values]."""
    clips = ids.shape[0]
    flat = constrain(tuple(rearrange(x, "b g t -> (b g) t") for x in (ids, mask)))  # each a share of the captions
    spelled = text.spelled(model.tables, *flat)
    ids, mask = text.retokenize_bytes(model.tables, *spelled)
    embedding = sentence.unit(sentence.embed(model.sentence, static.sentence, ids, mask)) if model.sentence else None
    named = None if model.lexicon is None else lexicon.named(model.lexicon, *spelled)
    found = constrain((ids, mask, embedding, named))
    return jax.tree.map(lambda x: rearrange(x, "(b g) s -> b g s", b=clips), found)


def compare(
    model: RewardModel,
    static: RewardStatic,
    ids: Array,
    mask: Array,
    embedding: Array | None,
    refs: References,
    named: Array | None = None,
) -> tuple[Array, dict[str, Array]]:
    """`score` from the reward model's tokens i32, bool [B G S], unit embeddings f32[B G E] and what captions name."""
    if embedding is None or model.space is None:
        total = rouge.rouge_l(ids, mask, refs.ids, refs.mask, refs.present)
        parts = {"rouge_l": total}
    else:
        z, z_refs = emotion.project(model.space, embedding), emotion.project(model.space, refs.embedding)
        r_emo = emotion.cosine(z[:, :, None], z_refs[:, None])  # [B G R]
        r_sem = jnp.einsum("bge,bre->bgr", embedding, refs.embedding)
        both = static.emotion_weight * r_emo + (1 - static.emotion_weight) * r_sem
        total, *pooled = _pool([both, r_emo, r_sem], refs.present, static.pool)
        parts = dict(zip(("r_emo", "r_sem"), pooled, strict=True))
    stated: dict[str, Array] = {}
    if named is not None and model.lexicon is not None and refs.facts is not None:
        stated = _facts(static, named, model.lexicon.value, refs.facts)
        total = total + static.facts_weight * jnp.nan_to_num(stated["facts"])  # clips without facts earn the rest
    empty, scorable = ~mask.any(-1), refs.present.any(-1)[:, None]
    total, parts = jax.tree.map(lambda r: jnp.where(scorable, jnp.where(empty, -1.0, r), jnp.nan), (total, parts))
    return total, parts | stated


def _facts(static: RewardStatic, named: Array, owner: Array, known: Array) -> dict[str, Array]:
    """The parts of `score` that tell of facts."""
    stated, right = facts.holds(named, jnp.asarray(owner), known)
    parts = {"facts": facts.pay(stated, right, known)}
    there = (known >= 0)[:, None]
    for q, name in enumerate(static.facts):
        told, true = stated[..., q], right[..., q].astype(jnp.float32)
        parts[f"{name}_stated"] = jnp.where(there[..., q], told.astype(jnp.float32), jnp.nan)
        parts[f"{name}_right"] = jnp.where(there[..., q] & told, true, jnp.nan)
    return parts


def _pool(rewards: list[Array], present: Array, pool: str) -> list[Array]:
    """[B G R] each -> [B G] over the references that are present; "max": all of the one whose first is the largest."""
    present = present[:, None]
    if pool == "max":
        best = jnp.where(present, rewards[0], -jnp.inf).argmax(-1, keepdims=True)
        return [jnp.take_along_axis(r, best, -1)[..., 0] for r in rewards]
    count = jnp.maximum(present.sum(-1), 1).astype(jnp.float32)
    return [jnp.where(present, r, 0).sum(-1) / count for r in rewards]
