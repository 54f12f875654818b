"""Symbols -> WordPiece tokens: the greedy longest match of Schuster and Nakajima (2012), as BERT has it.

From every position at once: the longest piece there says where the next one starts. So each position points at
another, and pointer doubling tells in log2 steps whether the chain of pieces from the start of a word reaches its end,
how many pieces that takes, and where the r-th one starts.
"""

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from emojax.text.expand import expand, take
from emojax.text.normalize import SPACE
from emojax.text.trie import Trie, longest_match
from emojax.types import Array

if TYPE_CHECKING:
    import tokenizers


def usable_pieces(reward: "tokenizers.Tokenizer", kinds: np.ndarray) -> list[tuple[str, int, bool]]:
    """(characters, id, begins a word) of each vocabulary entry that some word can hold.

    White space is in no word, and a punctuation mark is a word of its own. An entry with the prefix of continuations
    is also an entry of its own spelling.
    """
    prefix = reward.model.continuing_subword_prefix
    pieces = []
    for entry, i in reward.get_vocab(with_added_tokens=False).items():
        for text, begins in ((entry, True), (entry.removeprefix(prefix), False)):
            if not begins and not entry.startswith(prefix):
                continue
            letters = all(kinds[ord(c)] == 2 for c in text)
            mark = begins and len(text) == 1 and kinds[ord(text)] == 1
            if text and (letters or mark):
                pieces.append((text, i, begins))
    return pieces


def wordpiece(
    trie: Trie, symbol: Array, *, letter: int, longest_word: int, unknown: int, size: int
) -> tuple[Array, Array]:
    """
    Args:
      symbol: i32[N L] from `normalize`: 0 white space, below `letter` a punctuation mark.
      longest_word: a word of more symbols is unknown.
      unknown: the id of an unknown word.
      size: tokens to keep.
    Returns:
      i32[N size] the first tokens, 0 past the last one, and bool[N size], False past the last one.
    """
    length = symbol.shape[1]
    space, mark = symbol == SPACE, (symbol > SPACE) & (symbol < letter)
    after_break = jnp.pad((space | mark)[:, :-1], ((0, 0), (1, 0)), constant_values=True)
    begins = ~space & (mark | after_break)
    matched, piece = longest_match(trie, symbol, begins)

    # next[i]: where the piece after the one at i starts; `end` if that one closes its word, `hole` if there is none.
    end, hole = length, length + 1
    position = jnp.arange(length, dtype=jnp.int32)[None]
    boundary = jnp.pad(begins | space, ((0, 0), (0, 1)), constant_values=True)
    following = position + matched
    following = jnp.where(matched == 0, hole, jnp.where(take(boundary, following), end, following))
    sinks = jnp.broadcast_to(jnp.array([end, hole], jnp.int32), (symbol.shape[0], 2))
    jumps = [jnp.concatenate([following, sinks], 1)]  # jumps[b]: 2^b pieces further
    pieces = jnp.broadcast_to(jnp.arange(length + 2) < length, jumps[0].shape).astype(jnp.int32)
    for _ in range(max(1, math.ceil(math.log2(max(1, min(longest_word, length)))))):
        pieces = pieces + take(pieces, jumps[-1])
        jumps.append(take(jumps[-1], jumps[-1]))

    stop = jax.lax.cummin(jnp.where(boundary, jnp.arange(length + 1, dtype=jnp.int32), length), 1, reverse=True)[:, 1:]
    whole = (jumps[-1][:, :length] == end) & (stop - position <= longest_word)
    emitted = jnp.where(begins, jnp.where(whole, pieces[:, :length], 1), 0)
    word, at, filled = expand(emitted, size)
    start = word
    for b, jump in enumerate(jumps[:-1]):
        start = jnp.where(at >> b & 1 == 1, take(jump, start), start)
    token = jnp.where(take(whole, word), take(piece, jnp.minimum(start, length - 1)), unknown)
    return jnp.where(filled, token, 0), filled
