"""Symbols -> unigram tokens: the best path of Kudo (2018, arXiv 1804.10959), as the `tokenizers` library finds it.

The path with the highest sum of scores: a scan over the places where a piece may end, over a window as long as the
longest piece, with all texts side by side.

The library sums in float64, left to right from each word's beginning, and rounding decides many a tie: of published
scores, float32 numbers written as decimals, its parser reads every eighth one unit off, so that sums which were equal
no longer are. There is no float64 in the graph. A total is kept as an integer in three limbs, in units of a power of
two that every score is a multiple of, and after each addition rounded to 53 significant bits, half to even, as float64
is. So comparisons, ties included, come out as in the library. A vocabulary whose totals may have more than 75 bits is
refused: one with a score of all 53 bits that is not zero and nearer to it than 2^-8, say.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from emojax.text.charsmap import META, NOTHING, SPACE
from emojax.text.expand import Table, expand, lookup, take
from emojax.text.trie import NO_PIECE, Trie, all_matches
from emojax.types import Array

_LIMB = 24  # bits of the lower two limbs
_SIGNIFICANT = 53  # bits of a float64
_BITS = 76  # of a total; more, and rounding would reach into the second limb
_NEVER = 1 << 30  # upper limb of what is not a candidate: more than any total has


@dataclass(frozen=True)
class Strip:
    """The normaliser Strip: white space at the ends of a text is lost."""

    left: bool
    right: bool


@dataclass(frozen=True)
class Join:
    """The normaliser Replace of " {2,}": several spaces in a row become one symbol."""

    into: int  # META or SPACE


def fixed_point(scores: np.ndarray, longest: int) -> np.ndarray:
    """Costs, the negatives of float64 scores, as integers: i32[pieces 3], the upper limb first.

    Args:
      longest: symbols of the longest word, so pieces of the longest path.
    Raises:
      ValueError: a score is above zero or not finite, or totals do not fit.
    """
    if not np.isfinite(scores).all() or (scores > 0).any():
        raise ValueError("the reward model's vocabulary has scores above zero, or not finite; wanted log-probabilities")
    ratios = [(-score).as_integer_ratio() for score in scores.tolist()]
    scale = max(denominator for _, denominator in ratios)  # powers of two
    whole = [numerator * (scale // denominator) for numerator, denominator in ratios]
    bits = (max(whole) * longest).bit_length() + 1
    if bits > _BITS:
        raise ValueError(
            f"the scores of the reward model's vocabulary, down to {scores.min():.6g} in steps of {1 / scale:.3g}, add"
            f" up to numbers of {bits} bits over {longest} characters; {_BITS} are exact inside the graph: read fewer"
            " bytes of a caption, or round the scores in tokenizer.json"
        )
    low = (1 << _LIMB) - 1
    return np.array([(n >> 2 * _LIMB, n >> _LIMB & low, n & low) for n in whole], np.int32)


def add(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, Array, Array]:
    """The sum of two numbers in limbs, rounded as float64 is."""
    low = (1 << _LIMB) - 1

    def carry(high: Array, middle: Array, bottom: Array) -> tuple[Array, Array, Array]:
        middle = middle + (bottom >> _LIMB)
        return high + (middle >> _LIMB), middle & low, bottom & low

    high, middle, bottom = carry(a[0] + b[0], a[1] + b[1], a[2] + b[2])
    surplus = jnp.clip(32 - jax.lax.clz(high) + 2 * _LIMB - _SIGNIFICANT, 0, _LIMB - 1)  # bits to be rounded off
    unit = jnp.left_shift(1, surplus)
    rest = bottom & (unit - 1)
    odd = bottom >> surplus & 1
    up = 2 * rest + odd > unit  # above the half, or the half and the number before it odd
    return carry(high, middle, bottom - rest + jnp.where(up, unit, 0))


def words(symbol: Array, steps: tuple[Strip | Join, ...], letter: int, split: bool) -> Array:
    """Text as words, each of which begins with META: the normalisers after the character map, and the pre-tokenizer.

    Args:
      symbol: i32[N L] of the text, from SPACE to below `letter` white space.
      steps: the normalisers, in their order.
      split: white space parts words and is lost (WhitespaceSplit, Metaspace); else a space is META (Metaspace alone).
    Returns:
      i32[N L + 1], NOTHING past the end.
    """
    place = jnp.broadcast_to(jnp.arange(symbol.shape[1], dtype=jnp.int32), symbol.shape)

    def so_far(x: Array, reverse: bool = False) -> Array:
        return jax.lax.cummax(x.astype(jnp.int32), axis=1, reverse=reverse) > 0

    def before(x: Array) -> Array:
        return jnp.pad(x, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]

    for step in steps:
        solid = (symbol != NOTHING) & ((symbol < SPACE) | (symbol >= letter))
        match step:
            case Strip(left, right):
                kept = (so_far(solid) | (not left)) & (so_far(solid, reverse=True) | (not right))
                symbol = jnp.where(kept, symbol, NOTHING)
            case Join(into):
                space = symbol == SPACE
                again = space & (before(symbol) == SPACE)
                more = space & (jnp.pad(symbol, ((0, 0), (0, 1)))[:, 1:] == SPACE)
                symbol = jnp.where(again, NOTHING, jnp.where(more, into, symbol))
    white = (symbol >= SPACE) & (symbol < letter) & split
    symbol = jnp.where((symbol == SPACE) & ~white, META, symbol)
    solid = (symbol != NOTHING) & ~white
    last_solid, last_white = (jax.lax.cummax(jnp.where(x, place, -1), axis=1) for x in (solid, white))
    begins = solid & (before(last_solid) <= before(last_white)) & (symbol != META)
    source, copy, filled = expand(jnp.where(solid, jnp.where(begins, 2, 1), 0), symbol.shape[1] + 1)
    first = take(begins, source) & (copy == 0)
    return jnp.where(filled, jnp.where(first, META, take(symbol, source)), NOTHING)


def _least(candidates: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
    """The place of the least number along the first axis, of equal ones the last, and the number."""
    best = jnp.ones(candidates[0].shape, bool)
    least = []
    for limb in candidates:
        least.append(jnp.where(best, limb, jnp.iinfo(jnp.int32).max).min(0))
        best &= limb == least[-1][None]
    place = jnp.arange(len(best), dtype=jnp.int32)[:, None]
    return jnp.where(best, place, -1).max(0), tuple(least)


def unigram(trie: Trie, cost: Table, symbol: Array, *, unknown: int, size: int) -> tuple[Array, Array]:
    """The tokens of the best path.

    Args:
      trie: of the vocabulary's pieces.
      cost: i32[V + 1 3], from `fixed_point`, that of an unknown character last.
      symbol: i32[N L] from `words`.
      unknown: the id of unknown characters; several in a row are one token.
      size: tokens to keep.
    Returns:
      i32[N size] the first tokens, 0 past the last one, and bool[N size], False past the last one.
    """
    length, depth = symbol.shape[1], trie.depth
    piece = all_matches(trie, symbol)  # [depth N L] by where it begins
    stranger = cost.shape[0] - 1
    piece = piece.at[0].set(jnp.where(piece[0] == NO_PIECE, stranger, piece[0]))
    # By its last symbol instead, [L depth N]: each row moves right by its number.
    wide = jnp.pad(piece, ((0, 0), (0, 0), (depth - 1, 0)), constant_values=NO_PIECE)
    move = jax.vmap(lambda k, row: jax.lax.dynamic_slice_in_dim(row, depth - 1 - k, length, 1))
    piece = move(jnp.arange(depth), wide).transpose(2, 0, 1)
    reset = jnp.pad(symbol[:, 1:] == META, ((0, 0), (0, 1))).T  # [L N] a word begins after this symbol

    def step(window: tuple[Array, ...], at: tuple[Array, Array]) -> tuple[tuple[Array, ...], tuple[Array, Array]]:
        """`window`: the best totals up to each of the last `depth` places, the nearest first: i32[depth N] a limb."""
        pieces, word_ends = at
        limbs = lookup(cost, jnp.maximum(pieces, 0))
        high = jnp.where(pieces == NO_PIECE, _NEVER, limbs[..., 0])
        total = add(window, (high, limbs[..., 1], limbs[..., 2]))
        k, best = _least(total)
        best = (jnp.where(word_ends, 0, x)[None] for x in best)
        chosen = jnp.take_along_axis(pieces, k[None], 0)[0]
        return tuple(jnp.concatenate([new, old[:-1]]) for new, old in zip(best, window, strict=True)), (k, chosen)

    start = tuple(jnp.zeros(piece.shape[1:], jnp.int32) for _ in range(3))
    _, (back, chosen) = jax.lax.scan(step, start, (piece, reset))

    ends = (symbol != NOTHING).sum(1)

    def trace(next_end: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        place, k = at
        here = next_end == place
        return jnp.where(here, place - k - 1, next_end), here

    order = jnp.arange(length, dtype=jnp.int32)
    _, on_path = jax.lax.scan(trace, ends.astype(jnp.int32) - 1, (order, back), reverse=True)

    on_path, back, chosen = on_path.T, back.T, chosen.T
    token = jnp.where(chosen == stranger, unknown, chosen)
    first = order[None] - back  # of the token's symbols
    previous = take(token, jnp.maximum(first - 1, 0))
    same_word = take(symbol, jnp.maximum(first, 0)) != META
    fused = (token == unknown) & (previous == unknown) & same_word
    source, _, filled = expand((on_path & ~fused).astype(jnp.int32), size)
    return jnp.where(filled, take(token, source), 0), filled
