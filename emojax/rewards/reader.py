"""The host's side of a reward: what is loaded for its parts, and plain strings made into what they read."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import jax
import numpy as np

from emojax.config import ConfigError, Reward
from emojax.data.text import END
from emojax.rewards import sentence
from emojax.rewards.part import Scorer, scorer
from emojax.rewards.sentence import Sentence, SentenceConfig
from emojax.rewards.words import words
from emojax.types import Array, Text

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Scored(Protocol):
    """What parts may read of a clip (emojax.data.clips.Clip has it)."""

    @property
    def captions(self) -> Sequence[str]: ...
    @property
    def transcript(self) -> str | None: ...
    @property
    def emotion(self) -> str | None: ...
    @property
    def attributes(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Reader:
    """What is at hand of a reward; None where no part asks for it, or where there are only shapes."""

    reward: Reward
    parts: tuple[Scorer, ...]
    policy: "Tokenizer | None"
    end: int  # the policy's end token
    tokenizer: "Tokenizer | None" = None  # the reward model's
    sentence: SentenceConfig | None = None
    weights: Sentence | None = None
    training: Sequence[Scored] = ()  # clips that document frequencies are counted on
    known: dict[str, np.ndarray] = field(default_factory=dict)  # embeddings of texts that were met before

    @property
    def needs(self) -> frozenset[str]:
        return frozenset().union(*(part.needs for part in self.parts))

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit embeddings f32[texts E], each text embedded once in the reader's life."""
        if not texts:
            return np.zeros((0, self.sentence.width if self.sentence else 0), np.float32)
        assert self.weights, "a part that asks for embeddings says so"
        assert self.sentence, "whatever has weights has sizes"
        assert self.tokenizer, "whatever has weights has a tokenizer"
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            found = sentence.embed_texts(self.weights, self.sentence, self.tokenizer, new)
            found = found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-12)
            self.known.update(zip(new, found, strict=True))
        return np.stack([self.known[text] for text in texts])

    def token_vectors(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Of the encoder, f32[tokens D] of unit length each, its special tokens included."""
        assert self.weights, "a reader of embeddings has weights"
        assert self.sentence, "whatever has weights has sizes"
        assert self.tokenizer, "whatever has weights has a tokenizer"
        return sentence.token_vectors(self.weights, self.sentence, self.tokenizer, texts)

    def phrases(self, texts: Sequence[str]) -> np.ndarray:
        """`embed` of a configuration's own few texts, kept as long as the process lives: a run asks at each stage."""
        kept = _phrases_of(self.reward.model, self.reward.max_tokens)
        new = [text for text in dict.fromkeys(texts) if text not in kept]
        kept.update(zip(new, self.embed(new), strict=True))
        return np.stack([kept[text] for text in texts])

    def tokens(self, texts: Sequence[str]) -> Text:
        """The reward model's, [texts S]."""
        assert self.sentence is not None, "a part that asks for tokens says so"
        if self.tokenizer is None:  # shapes alone, of no text
            return _text([], self.sentence.text_tokens)
        return Text(*map(_array, sentence.tokenize(self.tokenizer, texts, self.sentence.text_tokens)))

    def written(self, texts: Sequence[str], width: int) -> Text:
        """The policy's tokens of texts, [texts width]; what is longer is cut."""
        rows = self.policy.encode_batch(list(texts), add_special_tokens=False) if texts and self.policy else []
        return _text([row.ids for row in rows], width)

    def spelled(self, texts: Sequence[str]) -> Text:
        """Bytes of texts, [texts Y]; what is longer is cut."""
        return _text([list(text.encode(errors="replace")) for text in texts], self.reward.max_bytes)

    def words(self, texts: Sequence[str]) -> Text:
        """Words of texts, [texts W]."""
        spelled = self.spelled(texts)
        rows = 64 * -(-len(texts) // 64)  # few shapes for XLA to compile
        found = _words(*(np.pad(x, ((0, rows - len(texts)), (0, 0))) for x in (spelled.ids, spelled.mask)))
        return Text(*(_array(np.asarray(x)[: len(texts)]) for x in (found.ids, found.mask)))


@functools.lru_cache(maxsize=4)
def _phrases_of(model: str, max_tokens: int) -> dict[str, np.ndarray]:
    return {}


_words = jax.jit(words)


def _array(x: np.ndarray) -> Array:
    return x  # pyright: ignore[reportReturnType] numpy on the host stands for an array of the program


def _text(rows: Sequence[Sequence[int]], width: int) -> Text:
    ids, mask = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), width), bool)
    for n, row in enumerate(rows):
        kept = row[:width]
        ids[n, : len(kept)], mask[n, : len(kept)] = kept, True
    return Text(_array(ids), _array(mask))


def make_reader(
    reward: Reward, policy: "Tokenizer | None", *, end: int = END, training: Sequence[Scored] = ()
) -> Reader:
    """Loads what the parts of a reward ask for, and no more.

    Args:
      policy: the tokenizer of the captions. end: its end token.
      training: the clips of the training split.
    Raises:
      FileNotFoundError, ValueError: see `sentence.load`.
      ConfigError: a part that there is not; `max_tokens` is more than the sentence model reads.
    """
    found = Reader(reward, _scorers(reward), policy, end, training=training)
    if not found.needs & {"tokens", "embedding"}:
        return found
    settings, tokenizer = sentence.settings(reward.model)
    weights = sentence.weights(reward.model) if "embedding" in found.needs else None
    return dataclasses.replace(found, tokenizer=tokenizer, sentence=_cut(reward, settings), weights=weights)


def _scorers(reward: Reward) -> tuple[Scorer, ...]:
    return tuple(scorer(written, reward) for written in reward.parts)


def _cut(reward: Reward, settings: SentenceConfig) -> SentenceConfig:
    if not settings.special < reward.max_tokens <= settings.max_tokens:
        raise ConfigError(
            f"reward.max_tokens={reward.max_tokens}: wanted {settings.special + 1} to {settings.max_tokens}, "
            f"the special tokens included: {reward.model} reads no more"
        )
    return dataclasses.replace(settings, max_tokens=reward.max_tokens)


def sentence_of(reward: Reward) -> SentenceConfig:
    """What is known of the sentence model without its weights; of shapes alone, where its files are not at hand."""
    if reward.sizes is not None and not sentence.at_hand(reward.model):
        return sentence.abstract(reward.sizes, reward.max_tokens)[1]
    return _cut(reward, sentence.settings(reward.model)[0])


def unloaded(reward: Reward, end: int = END) -> Reader:
    """A reader that has loaded nothing: what is asked for, and the sizes of the sentence model."""
    found = Reader(reward, _scorers(reward), None, end)
    return dataclasses.replace(found, sentence=sentence_of(reward)) if found.needs & {"tokens", "embedding"} else found


def abstract_reader(reward: Reward, end: int = END) -> Reader:
    """A reader of shapes, where files are not at hand: `reward.sizes` is given."""
    assert reward.sizes is not None, "the caller asks for shapes only where there are sizes"
    found = Reader(reward, _scorers(reward), None, end)
    weights, settings = sentence.abstract(reward.sizes, reward.max_tokens)
    weights = weights if "embedding" in found.needs else None
    return dataclasses.replace(found, sentence=settings, weights=weights)
