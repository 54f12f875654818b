"""The tables of a pair of tokenizers, and the conversion they serve."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.text import bpe, byte_level, charsmap, settings
from emojax.text.bpe import Rules
from emojax.text.byte_level import ByteLevel
from emojax.text.bytes import code_points
from emojax.text.charsmap import Charsmap, build_charsmap
from emojax.text.compose import Composition, build_composition, compose
from emojax.text.expand import Table
from emojax.text.normalize import Normalization, build_normalization, classes, normalize
from emojax.text.policy import Policy, build_policy, policy_bytes
from emojax.text.trie import Trie, build_trie
from emojax.text.unigram import Join, Strip, fixed_point, unigram, words
from emojax.text.wordpiece import usable_pieces, wordpiece
from emojax.types import Array

if TYPE_CHECKING:
    import tokenizers


@struct.dataclass
class WordpieceTables:
    """All that `retokenize` reads: numpy arrays, to be passed to the program as an argument. For a BERT tokenizer."""

    policy: Policy
    normalization: Normalization
    trie: Trie
    unknown: int = struct.field(pytree_node=False)  # id of a word that the vocabulary cannot spell
    longest_word: int = struct.field(pytree_node=False)  # symbols; a longer word is unknown
    max_bytes: int = struct.field(pytree_node=False)
    max_tokens: int = struct.field(pytree_node=False)


@struct.dataclass
class UnigramTables:
    """Tables for a SentencePiece tokenizer as XLM-R has it."""

    policy: Policy
    charsmap: Charsmap
    trie: Trie
    cost: Table  # i32[V + 1 3] of each piece by id, and of an unknown character
    unknown: int = struct.field(pytree_node=False)  # id of characters that the vocabulary cannot spell
    steps: tuple[Strip | Join, ...] = struct.field(pytree_node=False)  # normalisers after the character map
    split: bool = struct.field(pytree_node=False)  # white space parts words and is lost; else a space is "▁"
    max_bytes: int = struct.field(pytree_node=False)
    max_tokens: int = struct.field(pytree_node=False)


@struct.dataclass
class BpeTables:
    """Tables for a byte-level BPE tokenizer as RoBERTa or Qwen has it."""

    policy: Policy
    composition: Composition | None  # None: the tokenizer takes text as it is
    words: ByteLevel
    rules: Rules
    max_bytes: int = struct.field(pytree_node=False)
    max_tokens: int = struct.field(pytree_node=False)


Tables = WordpieceTables | UnigramTables | BpeTables


def build(policy: "tokenizers.Tokenizer", reward: "tokenizers.Tokenizer", *, max_bytes: int, max_tokens: int) -> Tables:
    """The tables that turn `policy`'s tokens into `reward`'s, on the host.

    Args:
      policy: a byte-level BPE tokenizer, or one of SentencePiece's kind or of BERT's (see `pieces.build_pieces`).
      reward: a BERT tokenizer (BertNormalizer and BertPreTokenizer with any options, WordPiece), a SentencePiece
        tokenizer as XLM-R has it (see `settings`) or a byte-level BPE tokenizer as RoBERTa or Qwen has it (see
        `bpe.read`).
      max_bytes: of a text that are read; the rest is cut.
      max_tokens: of a text that are kept; the rest is cut.
    Raises:
      ValueError: a tokenizer of another kind, or a size below 1.
    """
    for name, size in (("max_bytes", max_bytes), ("max_tokens", max_tokens)):
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")
    return _of_reward(_Told(reward.to_str(), reward), max_bytes, max_tokens)(build_policy(policy))


@dataclass(frozen=True)
class _Told:
    """A tokenizer, equal to every other that its JSON tells."""

    json: str
    tokenizer: "tokenizers.Tokenizer" = field(compare=False)


@functools.lru_cache(maxsize=4)
def _of_reward(reward: _Told, max_bytes: int, max_tokens: int) -> Callable[[Policy], Tables]:
    """All tables but the policy's, which they wait for: seconds of work, which a run asks for at each of its stages."""
    from tokenizers import models

    match reward.tokenizer.model:
        case models.Unigram():
            return _build_unigram(reward.tokenizer, max_bytes, max_tokens)
        case models.BPE():
            return _build_bpe(reward.tokenizer, max_bytes, max_tokens)
        case _:
            return _build_wordpiece(reward.tokenizer, max_bytes, max_tokens)


def _no_added_tokens(reward: "tokenizers.Tokenizer", model: str) -> None:
    plain = [t.content for t in reward.get_added_tokens_decoder().values() if not t.special]
    if plain:
        raise ValueError(
            f"the reward model's tokenizer cuts the added tokens {plain[:5]} out of the text before its {model} model"
            " sees it, which is not done inside the graph: remove them from `added_tokens` in its tokenizer.json"
        )


def _unknown(reward: "tokenizers.Tokenizer") -> int:
    """The id of an unknown word, of a BERT tokenizer."""
    from tokenizers import models, normalizers, pre_tokenizers

    wanted = {
        "normalizer": (reward.normalizer, normalizers.BertNormalizer),
        "pre-tokenizer": (reward.pre_tokenizer, pre_tokenizers.BertPreTokenizer),
        "model": (reward.model, models.WordPiece),
    }
    for part, (got, kind) in wanted.items():
        if not isinstance(got, kind):
            raise ValueError(
                f"the reward model's tokenizer has the {part} {type(got).__name__}; only {kind.__name__} is converted"
                " exactly inside the graph: use a reward model with a BERT tokenizer, such as all-MiniLM-L6-v2, or with"
                " that of XLM-R or of RoBERTa"
            )
    _no_added_tokens(reward, "WordPiece")
    unknown, vocabulary = reward.model.unk_token, reward.get_vocab(with_added_tokens=False)
    if unknown not in vocabulary:
        raise ValueError(f"the reward model's vocabulary has no entry {unknown!r}, its token for unknown words")
    return vocabulary[unknown]


def _build_wordpiece(reward: "tokenizers.Tokenizer", max_bytes: int, max_tokens: int) -> Callable[[Policy], Tables]:
    unknown = _unknown(reward)
    kinds = classes(reward.pre_tokenizer)
    pieces = usable_pieces(reward, kinds)
    normalization, symbol = build_normalization(reward.normalizer, kinds, {c for text, _, _ in pieces for c in text})
    # A piece with a character that the normaliser never gives (a capital, where it lowers case) matches nothing.
    spelled = [([symbol[c] for c in text], i, begins) for text, i, begins in pieces if all(c in symbol for c in text)]
    if not spelled:
        raise ValueError("the reward model's vocabulary has no piece that text can match")
    letters, ids, begins = zip(*spelled, strict=True)
    symbols = 1 + max(normalization.letter, *symbol.values())
    return functools.partial(
        WordpieceTables,
        normalization=normalization,
        trie=build_trie(list(letters), np.array(ids), np.array(begins), symbols),
        unknown=unknown,
        longest_word=reward.model.max_input_chars_per_word,
        max_bytes=max_bytes,
        max_tokens=max_tokens,
    )


def _build_unigram(reward: "tokenizers.Tokenizer", max_bytes: int, max_tokens: int) -> Callable[[Policy], Tables]:
    from tokenizers import pre_tokenizers

    told = settings.read(reward)
    _no_added_tokens(reward, "Unigram")
    white = classes(pre_tokenizers.WhitespaceSplit()) == 0
    table, symbol = build_charsmap(told.forms, white, set("".join(told.pieces)))
    # As above: an ideograph that the character map replaces matches nothing.
    spelled = [([symbol[c] for c in text], i) for text, i in told.pieces.items() if all(c in symbol for c in text)]
    if not spelled:
        raise ValueError("the reward model's vocabulary has no piece that text can match")
    letters, ids = zip(*spelled, strict=True)
    longest = math.ceil(max_bytes * table.growth) + 1
    return functools.partial(
        UnigramTables,
        charsmap=table,
        trie=build_trie(
            list(letters), np.array(ids), np.zeros(len(ids), bool), 1 + max(table.letter, *symbol.values())
        ),
        cost=fixed_point(told.scores, longest),
        unknown=told.unknown,
        steps=told.steps,
        split=told.split,
        max_bytes=max_bytes,
        max_tokens=max_tokens,
    )


def _build_bpe(reward: "tokenizers.Tokenizer", max_bytes: int, max_tokens: int) -> Callable[[Policy], Tables]:
    told = bpe.read(reward)
    _no_added_tokens(reward, "BPE")
    return functools.partial(
        BpeTables,
        composition=build_composition() if told.composes else None,
        words=byte_level.build_byte_level(told.prefix, told.pattern),
        rules=bpe.build_rules(told.byte, told.merges, told.vocabulary),
        max_bytes=max_bytes,
        max_tokens=max_tokens,
    )


def retokenize(tables: Tables, ids: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """The reward model's tokens, without its special tokens, for the text that the policy's tokens spell. Traceable.

    With `text = policy.decode(ids)` the result is `reward.encode(text, add_special_tokens=False).ids`, no truncation,
    `reward.encode_special_tokens = True`: text that spells a special token is text. (To the library it then is what the
    vocabulary makes of it, and that of XLM-R has "</s>" as a piece like any other.) Where the tokens spell more than
    `max_bytes` bytes, `text` is the lossy UTF-8 of the first `max_bytes` of them; of the result, the first `max_tokens`
    tokens are kept. A byte that is not UTF-8, and so is read as U+FFFD or as a part of it, counts as one.

    Args:
      ids: i32[N T] policy tokens. Special tokens and ids outside the vocabulary spell nothing.
      mask: bool[N T] False: the token spells nothing. None: all True.
    Returns:
      i32[N max_tokens], 0 past the last token, and bool[N max_tokens], False past the last token.

    >>> from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    >>> policy = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    >>> policy.pre_tokenizer, policy.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    >>> reward = Tokenizer(models.WordPiece({"[UNK]": 0, "sad": 1, "##ly": 2, "!": 3}, unk_token="[UNK]"))
    >>> reward.normalizer, reward.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    >>> tables = build(policy, reward, max_bytes=32, max_tokens=6)
    >>> ids, mask = retokenize(tables, jnp.array([policy.encode("Sadly, SAD!").ids]))
    >>> ids.tolist(), mask.tolist()
    ([[1, 2, 0, 1, 3, 0]], [[True, True, True, True, True, False]])
    """
    return retokenize_bytes(tables, *spelled(tables, ids, mask))


def spelled(tables: Tables, ids: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """The bytes that `retokenize` reads, i32[N max_bytes], and which of them there are, bool[N max_bytes]; see
    `policy_bytes`."""
    if mask is None:
        mask = jnp.ones(ids.shape, bool)
    return policy_bytes(tables.policy, ids.astype(jnp.int32), mask, tables.max_bytes)


def retokenize_bytes(tables: Tables, byte: Array, filled: Array) -> tuple[Array, Array]:
    """`retokenize` of the bytes that `spelled` gives."""
    point, begins = code_points(byte, filled)
    match tables:
        case WordpieceTables():
            return _wordpiece(tables, point, begins)
        case UnigramTables():
            return _unigram(tables, point, begins)
        case BpeTables():
            return _bpe(tables, point, begins)


def _wordpiece(tables: WordpieceTables, point: Array, begins: Array) -> tuple[Array, Array]:
    size = math.ceil(tables.max_bytes * tables.normalization.growth)
    return wordpiece(
        tables.trie,
        normalize(tables.normalization, point, begins, size),
        letter=tables.normalization.letter,
        longest_word=tables.longest_word,
        unknown=tables.unknown,
        size=tables.max_tokens,
    )


def _unigram(tables: UnigramTables, point: Array, begins: Array) -> tuple[Array, Array]:
    """At one of two sizes: a few code points become many (U+FDFA eighteen), of which few texts have more than one."""
    form, count = charsmap.forms(tables.charsmap, point, begins)

    def at(size: int) -> tuple[Array, Array]:
        symbol = charsmap.symbols(tables.charsmap, form, count, size)
        symbol = words(symbol, tables.steps, tables.charsmap.letter, tables.split)
        return unigram(tables.trie, tables.cost, symbol, unknown=tables.unknown, size=tables.max_tokens)

    longest = math.ceil(tables.max_bytes * tables.charsmap.growth)
    if longest == tables.max_bytes:
        return at(longest)
    fits = count.sum(1).max(initial=0) <= tables.max_bytes
    return jax.lax.cond(fits, lambda: at(tables.max_bytes), lambda: at(longest))


def _bpe(tables: BpeTables, point: Array, begins: Array) -> tuple[Array, Array]:
    """At one of two sizes: only broken and decomposed text has more bytes than were read (U+FFFD has three)."""
    if tables.composition is not None:
        point, begins = compose(tables.composition, point, begins)
    point, count, begins = byte_level.words(tables.words, point, begins)

    def at(size: int) -> tuple[Array, Array]:
        return bpe.bpe(tables.rules, *byte_level.utf8(point, count, begins, size), tables.max_tokens)

    usual, longest = tables.max_bytes + 1, byte_level.longest(tables.max_bytes)
    fits = count.sum(1).max(initial=0) <= usual
    return jax.lax.cond(fits, lambda: at(usual), lambda: at(longest))
