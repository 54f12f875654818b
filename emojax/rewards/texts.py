"""The reward of plain strings, on the host: references before training, captions when they are evaluated."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from emojax.rewards import emotion, lexicon, sentence
from emojax.rewards.score import RewardModel, RewardStatic, compare
from emojax.types import Array, References

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def references(
    static: RewardStatic,
    model: RewardModel,
    tokenizer: "Tokenizer",
    captions: Sequence[Sequence[str]],
    limit: int,
    known: dict[str, np.ndarray] | None = None,
    facts: np.ndarray | None = None,
) -> References:
    """The references of many clips, as numpy arrays with one row a clip; computed once, before training.

    Args:
      facts: i32[clips Q] of the clips (`facts.numbers`); None: nothing is known of them.
      tokenizer: the reward model's (`sentence.load_tokenizer`).
      captions: of each clip; the first `limit` are used, and one without a single token counts as absent.
      limit: R
      known: embeddings of texts that were met before; new ones are added.
    """
    rows = [[*clip[:limit], *[""] * (limit - len(clip))] for clip in captions]
    place = {text: i for i, text in enumerate(dict.fromkeys(text for row in rows for text in row))}
    texts = list(place)  # each once, however many clips share it
    index = np.array([[place[text] for text in row] for row in rows], int).reshape(-1, limit)
    tokens: Any = sentence.tokenize(tokenizer, texts, static.sentence.text_tokens)  # Any: numpy stands for jax.Array
    embedding: Any = _embed_texts(model, static, tokenizer, texts, known)
    ids, mask = (x[index] for x in tokens)
    known_facts: Any = np.full((len(rows), len(static.facts)), -1, np.int32) if facts is None else facts
    return References(ids, mask, embedding[index], mask.any(-1), known_facts)


_compare = jax.jit(compare, static_argnums=1)


def score_texts(
    model: RewardModel,
    static: RewardStatic,
    tokenizer: "Tokenizer",
    captions: Sequence[str],
    reference_captions: Sequence[Sequence[str]],
    facts: np.ndarray | None = None,
    *,
    known: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Rewards of one caption a clip, from strings: `reward` and its parts by name, f32[clips] each.

    Equal to those of `score` for captions that a policy sampled: truncated after as many bytes and tokens.

    Args:
      tokenizer: the reward model's.
      captions: of each clip, to be scored.
      reference_captions: of each clip.
      facts: i32[clips Q] of the clips (`facts.numbers`); None: nothing is known of them.
      known: embeddings of texts that were met before; new ones are added, so that no text is embedded twice.
    """
    limit = max(map(len, reference_captions), default=0)
    refs = references(static, model, tokenizer, reference_captions, limit, known, facts)
    captions = [text.encode()[: model.tables.max_bytes].decode(errors="replace") for text in captions]
    ids, mask = sentence.tokenize(tokenizer, captions, static.sentence.text_tokens)
    embedding = _embed_texts(model, static, tokenizer, captions, known)[:, None] if model.sentence else None
    with jax.default_matmul_precision("float32"):
        total, parts = _compare(model, static, ids[:, None], mask[:, None], embedding, refs, _named_by(model, captions))
    return {name: np.asarray(r)[:, 0] for name, r in ({"reward": total} | parts).items()}


def _named_by(model: RewardModel, captions: Sequence[str]) -> Array | None:
    """`_named` of one caption a clip, from strings."""
    if model.lexicon is None or not captions:
        return None
    spelled = [np.frombuffer(caption.encode(errors="replace"), np.uint8) for caption in captions]
    length = np.array([len(one) for one in spelled])
    byte = np.zeros((len(spelled), int(length.max())), np.int32)
    filled = np.arange(byte.shape[1]) < length[:, None]
    byte[filled] = np.concatenate(spelled)
    return lexicon.named(model.lexicon, jnp.asarray(byte), jnp.asarray(filled))[:, None]


def coordinates_of_texts(
    model: RewardModel, static: RewardStatic, tokenizer: "Tokenizer", captions: Sequence[str]
) -> np.ndarray:
    """Where captions lie among the emotions, f32[captions C]; a column a concept, unless `orthonormal`.

    Raises ValueError if the reward has no coordinates (ROUGE-L).
    """
    if model.space is None:
        raise ValueError(f"a reward of kind {static.kind!r} has no emotion coordinates; build one of kind 'emotion'")
    with jax.default_matmul_precision("float32"):
        return np.asarray(emotion.project(model.space, jnp.asarray(_embed_texts(model, static, tokenizer, captions))))


def _embed_texts(
    model: RewardModel,
    static: RewardStatic,
    tokenizer: "Tokenizer",
    texts: Sequence[str],
    known: dict[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Unit embeddings f32[texts E], each text embedded once; of width 0 where the reward has no sentence model."""
    if model.sentence is None or not texts:
        return np.zeros((len(texts), static.sentence.width if model.sentence else 0), np.float32)
    known = {} if known is None else known
    new = [text for text in dict.fromkeys(texts) if text not in known]
    if new:
        embedding = sentence.embed_texts(model.sentence, static.sentence, tokenizer, new)
        known |= zip(new, embedding / np.maximum(np.linalg.norm(embedding, axis=-1, keepdims=True), 1e-12), strict=True)
    return np.stack([known[text] for text in texts])
