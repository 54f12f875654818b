"""Where words begin for Qwen's tokenizers: the matches of `PATTERN` from left to right.

What stands to the right of a code point settles where a match that began there would end, for all at once; a scan then
goes from match to match.
"""

import jax
import jax.numpy as jnp

from emojax.text.expand import take
from emojax.types import Array

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ENDINGS = ("s", "t", "re", "ve", "m", "ll", "d")
_LONG_S = "\u017f"  # the one letter that is none of these but equal to one where case does not count
_UNROLL = 16  # turns of the scan that are one


def begins(point: Array, white: Array, letter: Array, number: Array, other: Array) -> Array:
    """bool[N Y]: where words begin.

    Args:
      point: i32[N Y] code points, side by side from the first place on; the last place is free.
      white, letter, number, other: bool[N Y] their kinds, all False past the end.
    """
    size = point.shape[1]
    place = jnp.arange(size, dtype=jnp.int32)[None]
    there = white | letter | number | other
    line = white & ((point == ord("\n")) | (point == ord("\r")))

    def ahead(x: Array, by: int = 1) -> Array:
        return jnp.pad(x, ((0, 0), (0, by)))[:, by:]

    def end(run: Array) -> Array:
        """The first place from each on that is outside."""
        return jax.lax.cummin(jnp.where(run, size - 1, place), axis=1, reverse=True)

    letters, others, whites = end(letter), end(other), end(white)
    into_letters = letter | (there & ~line & ~number & ahead(letter))
    into_others = other | ((point == ord(" ")) & ahead(other))
    last_line = take(jax.lax.cummax(jnp.where(line, place, -1), axis=1), jnp.maximum(whites - 1, 0))
    at_end = whites == there.sum(1, keepdims=True)
    until = jnp.select(
        [into_letters, number, into_others, white & (last_line >= place), white],
        [
            jnp.where(letter, letters, ahead(letters)),
            place + 1,
            take(end(line), jnp.where(other, others, ahead(others))),
            last_line + 1,
            jnp.where(at_end | (whites == place + 1), whites, whites - 1),
        ],
        place,
    )
    for ending in _ENDINGS:
        found = point == ord("'")
        for by, character in enumerate(ending, 1):
            likes = (character, character.upper(), *([_LONG_S] if character == "s" else []))
            found &= jnp.isin(ahead(point, by), jnp.array([ord(c) for c in likes]))
        until = jnp.where(found, place + 1 + len(ending), until)

    def step(following: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        place, until = at
        return jnp.where(following == place, until, following), following == place

    first = jnp.zeros(point.shape[0], jnp.int32)
    _, begin = jax.lax.scan(step, first, (place[0], until.T.astype(jnp.int32)), unroll=_UNROLL)
    return begin.T & there
