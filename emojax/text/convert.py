"""The tables of a pair of tokenizers, and the conversion they serve."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.text.bytes import TokenBytes, build_token_bytes, code_points, token_bytes
from emojax.text.normalize import Normalization, build_normalization, classes, normalize
from emojax.text.trie import Trie, build_trie
from emojax.text.wordpiece import usable_pieces, wordpiece
from emojax.types import Array

if TYPE_CHECKING:
    import tokenizers


@struct.dataclass
class Tables:
    """All that `retokenize` reads: numpy arrays, to be passed to the program as an argument."""

    policy: TokenBytes
    normalization: Normalization
    trie: Trie
    unknown: int = struct.field(pytree_node=False)  # id of a word that the vocabulary cannot spell
    longest_word: int = struct.field(pytree_node=False)  # symbols; a longer word is unknown
    max_bytes: int = struct.field(pytree_node=False)
    max_tokens: int = struct.field(pytree_node=False)


def _unknown(reward: "tokenizers.Tokenizer") -> int:
    """The id of an unknown word, of a tokenizer that is of the right kind."""
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
                " exactly inside the graph: use a reward model with a BERT tokenizer, such as all-MiniLM-L6-v2"
            )
    plain = [t.content for t in reward.get_added_tokens_decoder().values() if not t.special]
    if plain:
        raise ValueError(
            f"the reward model's tokenizer cuts the added tokens {plain[:5]} out of the text before its WordPiece model"
            " sees it, which is not done inside the graph: remove them from `added_tokens` in its tokenizer.json"
        )
    unknown, vocabulary = reward.model.unk_token, reward.get_vocab(with_added_tokens=False)
    if unknown not in vocabulary:
        raise ValueError(f"the reward model's vocabulary has no entry {unknown!r}, its token for unknown words")
    return vocabulary[unknown]


def build(policy: "tokenizers.Tokenizer", reward: "tokenizers.Tokenizer", *, max_bytes: int, max_tokens: int) -> Tables:
    """The tables that turn `policy`'s tokens into `reward`'s, on the host.

    Args:
      policy: a tokenizer with a ByteLevel decoder.
      reward: a BERT tokenizer: BertNormalizer and BertPreTokenizer with any options, WordPiece.
      max_bytes: of a text that are read; the rest is cut.
      max_tokens: of a text that are kept; the rest is cut.
    Raises:
      ValueError: a tokenizer of another kind, or a size below 1.
    """
    for name, size in (("max_bytes", max_bytes), ("max_tokens", max_tokens)):
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")
    unknown = _unknown(reward)
    token_table = build_token_bytes(policy)
    kinds = classes(reward.pre_tokenizer)
    pieces = usable_pieces(reward, kinds)
    normalization, symbol = build_normalization(reward.normalizer, kinds, {c for text, _, _ in pieces for c in text})
    # A piece with a character that the normaliser never gives (a capital, where it lowers case) matches nothing.
    spelled = [([symbol[c] for c in text], i, begins) for text, i, begins in pieces if all(c in symbol for c in text)]
    if not spelled:
        raise ValueError("the reward model's vocabulary has no piece that text can match")
    letters, ids, begins = zip(*spelled, strict=True)
    symbols = 1 + max(normalization.letter, *symbol.values())
    return Tables(
        policy=token_table,
        normalization=normalization,
        trie=build_trie(list(letters), np.array(ids), np.array(begins), symbols),
        unknown=unknown,
        longest_word=reward.model.max_input_chars_per_word,
        max_bytes=max_bytes,
        max_tokens=max_tokens,
    )


def retokenize(tables: Tables, ids: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """The reward model's tokens, without its special tokens, for the text that the policy's tokens spell. Traceable.

    With `text = policy.decode(ids)` the result is `reward.encode(text, add_special_tokens=False).ids`, no truncation,
    `reward.encode_special_tokens = True`: text that spells a special token is text. Where the tokens spell more than
    `max_bytes` bytes, `text` is the lossy UTF-8 of the first `max_bytes` of them; of the result, the first `max_tokens`
    tokens are kept.

    Args:
      ids: i32[N T] policy tokens. Special tokens and ids outside the vocabulary spell nothing.
      mask: bool[N T] False: the token spells nothing. None: all True.
    Returns:
      i32[N max_tokens], 0 past the last token, and bool[N max_tokens], False past the last token.
    """
    if mask is None:
        mask = jnp.ones(ids.shape, bool)
    byte, filled = token_bytes(tables.policy, ids.astype(jnp.int32), mask, tables.max_bytes)
    point, begins = code_points(byte, filled)
    size = int(np.ceil(tables.max_bytes * tables.normalization.growth))
    symbol = normalize(tables.normalization, point, begins, size)
    return wordpiece(
        tables.trie,
        symbol,
        letter=tables.normalization.letter,
        longest_word=tables.longest_word,
        unknown=tables.unknown,
        size=tables.max_tokens,
    )
