"""The words of texts as numbers, from their bytes, in the graph: what n-grams are made of without any tokenizer.

A word is a run of letters, digits and `_`; ASCII letters are lower case. A character of Chinese or Japanese is a word
of its own. Everything else parts words: spaces, ASCII, Latin, general, Chinese and full-width punctuation. A word's
number is a polynomial of its code points modulo 2^32: two words of a caption have the same one in no more than a
millionth of captions.
"""

import jax
import jax.numpy as jnp
import numpy as np

from emojax.text.bytes import code_points
from emojax.types import Array, Text

_FACTOR = 0x01000193  # of FNV-1a
_ALONE = ((0x3041, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))  # code points, both ends included
_BETWEEN = (  # besides those of ASCII that are no letters
    *((0x80, 0xA9), (0xAB, 0xB4), (0xB6, 0xB9), (0xBB, 0xBF), (0x2000, 0x206F), (0x3000, 0x303F)),
    *((0xFF00, 0xFF0F), (0xFF1A, 0xFF20), (0xFF3B, 0xFF40), (0xFF5B, 0xFF65)),
)


def most(max_bytes: int) -> int:
    """Words that a text of so many bytes may have: letters with a space between them."""
    return (max_bytes + 1) // 2


def words(byte: Array, filled: Array) -> Text:
    """
    Args:
      byte, filled: i32, bool [N Y]
    Returns:
      [N (Y + 1) / 2]
    """
    point, begins = code_points(byte, filled)
    point = jnp.where((point >= ord("A")) & (point <= ord("Z")), point + 32, point)
    alone = begins & _within(point, _ALONE)
    small = (point >= ord("a")) & (point <= ord("z")) | (point >= ord("0")) & (point <= ord("9")) | (point == ord("_"))
    letter = begins & ~alone & (small | (point >= 0x80) & ~_within(point, _BETWEEN))
    # between the code points of a word lie the further bytes of each, which begin none
    place = jnp.arange(byte.shape[1])[None]
    last = jnp.maximum(_running(jnp.where(begins, place, -1)), -1)  # the place of the last code point up to here
    previous = jnp.pad(last, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    follows = (previous >= 0) & jnp.take_along_axis(letter, jnp.maximum(previous, 0), 1)
    first = alone | (letter & ~follows)
    number = jnp.cumsum(first, 1) - 1  # of the word that a code point is of
    # a word's own polynomial: the powers count from its first code point
    rank = jnp.cumsum(begins, 1)
    start = _running(jnp.where(first, rank, 0))
    powers = jnp.asarray(_powers(byte.shape[1] + 1))
    term = jnp.where(letter | alone, (point.astype(jnp.uint32) + 1) * powers[jnp.maximum(rank - start, 0)], 0)
    size = most(byte.shape[1])
    row = jnp.arange(byte.shape[0])[:, None]
    found = jnp.zeros((byte.shape[0], size), jnp.uint32)
    found = found.at[row, jnp.where(letter | alone, number, size)].add(term.astype(jnp.uint32), mode="drop")
    count = first.sum(1, keepdims=True)
    return Text(found.view(jnp.int32), jnp.arange(size)[None] < count)


def _within(point: Array, ranges: tuple[tuple[int, int], ...]) -> Array:
    inside = jnp.zeros(point.shape, bool)
    for low, high in ranges:
        inside |= (point >= low) & (point <= high)
    return inside


def _running(x: Array) -> Array:
    """The largest of each row up to here."""
    return jax.lax.cummax(x, 1)


def _powers(count: int) -> np.ndarray:
    return np.array([pow(_FACTOR, i, 2**32) for i in range(count)], np.uint32)
