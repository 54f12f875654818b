"""Bytes -> byte-level BPE tokens: merges by rank (Sennrich et al. 2016), as the `tokenizers` library applies them.

The library takes, again and again, the pair of neighbours of lowest rank in a word, of equal ones the leftmost. Here
all words of all texts take, in each round, every pair that nothing which the library does before can touch:

A pair p of rank r stays as it is until its turn unless a neighbour takes one of its symbols first, and until then all
merges are of ranks below r (equal ones to the left of p). The left symbol x_i can be taken in two ways: at the rank of
the pair (x_{i-1}, x_i), or, if x_{i-1} has grown to the left before, at a rank not below `as_right[x_i]`, the lowest
of all rules with x_i on the right. So the least bound on ranks with which it can be taken is

    C_i = min(rank(x_{i-1}, x_i), max(as_right[x_i], C_{i-1})),        C = infinity where a word begins,

and mirrored, with `as_left`, D_i. If C_i > r and D_{i+1} >= r, the pair is merged in its turn. If moreover the merged
symbol is in no rule of rank r or below, it may be merged at once: what it makes possible comes after its turn anyway.
The pair whose turn it is always qualifies. Where the rules lack that last property, `as_right` and `as_left` are -1: C
and D are then the lowest ranks to the left and to the right, and each round merges the one pair whose turn it is.

C and D are compositions of clamps c -> min(a, max(b, c)), which are closed under composition: two scans.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.text import qwen_words
from emojax.text.bytes import byte_alphabet
from emojax.text.expand import Table, expand, lookup, take
from emojax.types import Array

if TYPE_CHECKING:
    import tokenizers

_NEVER = 1 << 30  # a rank: there is no rule
_FREE = -1
_QWEN = {"type": "Split", "pattern": {"Regex": qwen_words.PATTERN}, "behavior": "Isolated", "invert": False}
_ODD = 0x5E3779B1  # spreads numbers modulo a power of two
_WINDOW = 1024  # slots searched at once


@struct.dataclass
class Rules:
    """Which pairs merge. That of x and y lies in slot `offset[x] + _ODD * y`, if x owns the slot."""

    byte: Table  # i32[256] the token of each byte
    offset: Table  # i32[V + 1], the last of no token
    owner: Table  # i32[slots] the left token; a power of two above V of them
    rank: Table  # i32[slots]
    merged: Table  # i32[slots] the token that the pair becomes
    as_left: Table  # i32[V + 1] the lowest rank of the rules that have the token on the left; see above
    as_right: Table  # i32[V + 1]


@dataclass(frozen=True)
class Settings:
    composes: bool  # Unicode's normal form C comes first
    pattern: Literal["gpt2", "qwen"]  # of words
    prefix: bool  # a text that begins with no space is given one
    byte: np.ndarray  # i32[256] the token of each byte
    merges: np.ndarray  # i32[rules 3] left, right and merged token, by rank
    vocabulary: int  # ids


def read(reward: "tokenizers.Tokenizer") -> Settings:
    """A byte-level BPE tokenizer, as RoBERTa or Qwen has it. Raises ValueError that names what is not implemented."""

    def refuse(what: str, wanted: str) -> ValueError:
        return ValueError(
            f"the reward model's tokenizer has the model BPE and {what}; {wanted} is converted exactly inside the"
            " graph: use a reward model with the tokenizer of RoBERTa (all-distilroberta-v1), of Qwen3"
            " (Qwen3-Embedding), of BERT or of XLM-R"
        )

    told: dict[str, Any] = json.loads(reward.to_str())
    normalizer = told["normalizer"]
    if normalizer is not None and normalizer["type"] != "NFC":
        raise refuse(f"the normalizer {normalizer['type']}", "none, or NFC,")
    cut: dict[str, Any] = told["pre_tokenizer"] or {"type": "None"}
    pattern: Literal["gpt2", "qwen"] = "gpt2"
    if cut["type"] == "Sequence" and cut["pretokenizers"][:1] == [_QWEN] and len(cut["pretokenizers"]) == 2:
        pattern, cut = "qwen", cut["pretokenizers"][1]
    if cut["type"] != "ByteLevel" or cut.get("use_regex", True) == (pattern == "qwen"):
        raise refuse(f"the pre-tokenizer {cut}", "ByteLevel with use_regex, or after a Split by Qwen's pattern,")
    model = told["model"]
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"):
        if model.get(option):
            raise refuse(f"its option {option}={model[option]!r}", "merging by rank alone")
    ids = reward.get_vocab(with_added_tokens=False)
    if missing := [byte for byte in byte_alphabet() if byte not in ids]:
        raise refuse(f"no token for {len(missing)} of the 256 bytes ({' '.join(missing[:5])})", "a vocabulary with all")
    if len(set(ids.values())) < len(ids):
        raise refuse("tokens that share an id", "a vocabulary with an id for each token")
    merges = [(ids[left], ids[right], ids[left + right]) for left, right in model["merges"]]
    byte = [ids[token] for token, _ in sorted(byte_alphabet().items(), key=lambda item: item[1])]
    table = np.array(merges, np.int32).reshape(-1, 3)
    prefix = bool(cut["add_prefix_space"])
    if prefix and pattern == "qwen":
        raise refuse("add_prefix_space after Qwen's pattern", "no such option")
    return Settings(normalizer is not None, pattern, prefix, np.array(byte, np.int32), table, 1 + max(ids.values()))


def _place(left: np.ndarray, right: np.ndarray, vocabulary: int, slots: int) -> np.ndarray | None:
    """The offset of each token so that no two rules share a slot: first fit, large families first; None: no room."""
    order = np.argsort(left, kind="stable")
    owners, first, size = np.unique(left[order], return_index=True, return_counts=True)
    offset, used = np.zeros(vocabulary + 1, np.int64), np.zeros(slots, bool)
    for family in np.argsort(-size, kind="stable"):
        kin = right[order[first[family] : first[family] + size[family]]] * _ODD
        for at in range(0, slots, _WINDOW):
            free = at + np.flatnonzero(~used[at : at + _WINDOW])
            fits = free[~used[(free[:, None] + kin - kin[0]) % slots].any(1)]
            if len(fits):
                break
        else:
            return None
        offset[owners[family]] = (fits[0] - kin[0]) % slots
        used[(fits[0] + kin - kin[0]) % slots] = True
    return offset


def _lowest(token: np.ndarray, vocabulary: int) -> np.ndarray:
    """The first place of each token."""
    lowest = np.full(vocabulary + 1, _NEVER)
    np.minimum.at(lowest, token, np.arange(len(token)))
    return lowest


def build_rules(byte: np.ndarray, merges: np.ndarray, vocabulary: int) -> Rules:
    """
    Args:
      byte: i32[256] the token of each byte.
      merges: i32[rules 3] left, right and merged token, by rank, no two of the same pair.
      vocabulary: V, of ids.
    """
    left, right, merged = merges.astype(np.int64).T
    slots = 1 << max(int(2 * len(merges)).bit_length(), vocabulary.bit_length())
    while (offset := _place(left, right, vocabulary, slots)) is None:
        slots *= 2
    slot = (offset[left] + right * _ODD) % slots
    table = np.full((3, slots), _FREE, np.int32)
    table[:, slot] = left, np.arange(len(merges)), merged
    as_left, as_right = _lowest(left, vocabulary), _lowest(right, vocabulary)
    if (np.minimum(as_left, as_right)[merged] <= np.arange(len(merges))).any():
        as_left, as_right = np.full((2, vocabulary + 1), -1)
    ints = (x.astype(np.int32) for x in (byte, offset, *table, as_left, as_right))
    return Rules(*ints)


def _clamps(low: Array, high: Array, reverse: bool) -> Array:
    """Along a row, the clamps c -> min(high, max(low, c)) up to each place applied to infinity."""

    def after(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
        return jnp.maximum(first[0], then[0]), jnp.minimum(then[1], jnp.maximum(then[0], first[1]))

    return jax.lax.associative_scan(after, (low, high), reverse=reverse, axis=1)[1]


def merge(rules: Rules, byte: Array, filled: Array, begins: Array) -> tuple[Array, Array]:
    """The tokens of words, each at its first byte.

    Args:
      byte: i32[N L]
      filled: bool[N L], False past the end.
      begins: bool[N L] True where a word begins.
    Returns:
      i32[N L + 1] tokens and bool[N L + 1], False where there is none.
    """
    nothing = rules.offset.shape[0] - 1  # the symbol of a place that another one has swallowed, or past the end
    slots, end = rules.owner.shape[0], byte.shape[1]

    def pad(x: Array, value: int | bool) -> Array:
        return jnp.pad(x, ((0, 0), (0, 1)), constant_values=value)

    def pairs(symbol: Array, following: Array) -> tuple[Array, Array]:
        """The rank of each symbol with the one after it, and the slot of their rule."""
        slot = (lookup(rules.offset, symbol) + take(symbol, following) * _ODD) & (slots - 1)
        return jnp.where(lookup(rules.owner, slot) == symbol, lookup(rules.rank, slot), _NEVER), slot

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        symbol, following, previous, rank, slot = state
        there, right = symbol != nothing, take(symbol, following)
        from_left = _clamps(jnp.where(there, lookup(rules.as_right, right), -1), rank, reverse=False)
        ending = there & (right == nothing)
        low = jnp.where(there, jnp.where(ending, _NEVER, lookup(rules.as_left, symbol)), -1)
        from_right = _clamps(low, rank, reverse=True)
        safe_left = jnp.pad(from_left[:, :-1], ((0, 0), (1, 0)), constant_values=_NEVER) > rank
        safe_right = pad(from_right[:, 1:], _NEVER) >= rank
        chosen = (rank < _NEVER) & safe_left & safe_right

        gone = there & take(chosen, previous)
        symbol = jnp.where(chosen, lookup(rules.merged, slot), jnp.where(gone, nothing, symbol))
        following = jnp.where(chosen, take(following, following), following)
        previous = jnp.where(take(gone, previous), take(previous, previous), previous)
        return symbol, following, previous, *pairs(symbol, following)

    begins, filled = pad(begins, True), pad(filled, False)
    place = jnp.broadcast_to(jnp.arange(end + 1, dtype=jnp.int32), begins.shape)
    symbol = jnp.where(filled, lookup(rules.byte, pad(byte, 0)), nothing)
    last = pad(begins[:, 1:] | ~filled[:, 1:], True)
    following, previous = jnp.where(last, end, place + 1), jnp.where(begins, end, place - 1)
    state = symbol, following, previous, *pairs(symbol, following)
    symbol, *_ = jax.lax.while_loop(lambda state: (state[3] < _NEVER).any(), step, state)
    return symbol, symbol != nothing


def bpe(rules: Rules, byte: Array, filled: Array, begins: Array, size: int) -> tuple[Array, Array]:
    """The first `size` of the tokens of `merge`: i32[N size], 0 past the last one, and bool[N size], False there."""
    token, there = merge(rules, byte, filled, begins)
    source, _, filled = expand(there.astype(jnp.int32), size)
    return jnp.where(filled, take(token, source), 0), filled
