"""Code points -> bytes and the words among them: what a byte-level BPE tokenizer does before it merges.

Its words are those of Qwen's pattern (`qwen_words.py`), or the matches, from left to right, of GPT-2's (Radford et al.
2019)

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

Its neighbours settle whether a word begins at a code point: letters, numbers and other characters go in runs of their
kind; a space (U+0020) before such a run belongs to it; of more white space before it, the last code point is split off,
and is a word if it is no space. An apostrophe begins one of the seven contractions unless it belongs to a run already,
which it does after another character of its kind and after a space.
"""

import functools
from typing import Literal

import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.text import qwen_words
from emojax.text.bytes import utf8_length
from emojax.text.expand import Table, expand, lookup, take
from emojax.text.normalize import PAGE, UNICODE, pages, text_of
from emojax.types import Array

_WHITE, _LETTER, _NUMBER, _OTHER, _END = range(5)  # kinds of code points; _END: past the text
_PROBES = {"a": _LETTER, "1": _NUMBER, "!": _OTHER}
_SPACE, _APOSTROPHE = ord(" "), ord("'")
_UTF8_BYTES = 3  # for a byte of lossy UTF-8 at most: U+FFFD may stand for a single one


@struct.dataclass
class ByteLevel:
    page: Table  # i32[4352] the row of `kind` for code points of this high part
    kind: Table  # u8[pages 256]
    prefix: bool = struct.field(pytree_node=False)  # a text that begins with no space is given one
    pattern: Literal["gpt2", "qwen"] = struct.field(pytree_node=False)


@functools.cache
def kinds() -> np.ndarray:
    """The kind of every code point, u8[0x110000], as the library's own pattern has it."""
    from tokenizers import pre_tokenizers

    cut = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    kind = np.full(UNICODE, _WHITE, np.uint8)
    runs = [np.array([_SPACE]), np.array([_APOSTROPHE])]  # code points of one kind; these two have rules of their own
    for page in pages():
        plain = page[(page != _SPACE) & (page != _APOSTROPHE)]
        runs += [plain[start:end] for _, (start, end) in cut(text_of(plain))]
    for probe, name in _PROBES.items():
        trials = np.array([(ord(probe), run[0], ord("\n")) for run in runs])
        for _, (start, end) in cut(text_of(trials.reshape(-1))):
            if start % 3 == 0 and end - start == 2:
                kind[runs[start // 3]] = name
    return kind


def build_byte_level(prefix: bool, pattern: Literal["gpt2", "qwen"]) -> ByteLevel:
    row, page = np.unique(kinds().reshape(-1, PAGE), axis=0, return_inverse=True)
    return ByteLevel(page.reshape(-1).astype(np.int32), row, prefix, pattern)


def longest(max_bytes: int) -> int:
    """Bytes of `words` for a text of `max_bytes` bytes, at most."""
    return _UTF8_BYTES * max_bytes + 1


def _ahead(x: Array, by: int, fill: int | bool) -> Array:
    """What stands `by` places further (before, if negative) in a row."""
    behind, front = max(by, 0), max(-by, 0)
    return jnp.pad(x, ((0, 0), (front, behind)), constant_values=fill)[:, behind : behind + x.shape[1]]


def words(tables: ByteLevel, point: Array, begins: Array) -> tuple[Array, Array, Array]:
    """Code points side by side, and where words begin.

    Args:
      point: i32[N Y] code points.
      begins: bool[N Y], False where there is none.
    Returns:
      code points i32[N Y + 1]; their UTF-8 bytes i32[N Y + 1], 0 past the end; bool[N Y + 1], True where a word begins.
    """
    number = jnp.cumsum(begins, 1, dtype=jnp.int32)
    starts_with = jnp.where(begins & (number == 1), point, 0).sum(1, keepdims=True)
    prefix = (number[:, -1:] > 0) & (starts_with != _SPACE) & tables.prefix
    there = jnp.concatenate([prefix, begins], 1).astype(jnp.int32)
    source, _, filled = expand(there, there.shape[1])
    spaced = jnp.pad(point, ((0, 0), (1, 0)), constant_values=_SPACE)
    point = jnp.where(filled, take(spaced, source), 0)

    kind = lookup(tables.kind, (lookup(tables.page, point // PAGE), point % PAGE)).astype(jnp.int32)
    kind = jnp.where(filled, kind, _END)
    if tables.pattern == "qwen":
        new = qwen_words.begins(point, *(kind == each for each in (_WHITE, _LETTER, _NUMBER, _OTHER)))
    else:
        new = _gpt2_begins(point, kind) & filled
    return point, jnp.where(filled, utf8_length(point), 0), new


def _gpt2_begins(point: Array, kind: Array) -> Array:
    before, after, point_before = _ahead(kind, -1, _END), _ahead(kind, 1, _END), _ahead(point, -1, 0)
    white, after_space = kind == _WHITE, point_before == _SPACE
    split_off = white & (before == _WHITE) & (after != _WHITE) & (after != _END)
    new = jnp.where(white, (before != _WHITE) | split_off, (kind != before) & ~after_space)

    one, two = _ahead(point, 1, 0), _ahead(point, 2, 0)

    def either(*endings: str) -> Array:
        found = jnp.zeros_like(white)
        for ending in endings:
            found |= (one == ord(ending[0])) & ((two == ord(ending[1])) if len(ending) == 2 else True)
        return found

    apostrophe = (point == _APOSTROPHE) & (before != _OTHER) & ~after_space
    short, long = apostrophe & either(*"stmd"), apostrophe & either("re", "ve", "ll")
    new &= ~_ahead(short | long, -1, False)
    return new | _ahead(short, -2, False) | _ahead(long, -3, False)


def utf8(point: Array, count: Array, begins: Array, size: int) -> tuple[Array, Array, Array]:
    """The bytes of code points.

    Args:
      point, count, begins: from `words`.
    Returns:
      bytes i32[N size]; filled bool[N size], False past the end; bool[N size], True where a word begins.
    """
    source, copy, filled = expand(count, size)
    point, count, begins = (take(x, source) for x in (point, count, begins))
    bits = point >> 6 * jnp.maximum(count - 1 - copy, 0)
    lead = jnp.select([count == 1, count == 2, count == 3], [0, 0xC0, 0xE0], 0xF0)
    byte = jnp.where(copy == 0, lead | bits, 0x80 | bits & 0x3F)
    return jnp.where(filled, byte, 0), filled, filled & begins & (copy == 0)
