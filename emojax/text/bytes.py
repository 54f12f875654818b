"""Policy tokens -> bytes -> code points, of byte-level BPE; `pieces.py` gives the bytes of the other kinds of tokens.

A byte-level BPE tokenizer spells every byte as one printable character (Radford et al. 2019, GPT-2). Its decoder joins
the bytes of all tokens and reads them as UTF-8; each maximal part of a sequence that cannot be completed becomes one
U+FFFD (Unicode 15, section 3.9, "substitution of maximal subparts": what Rust's `from_utf8_lossy` and Python's
`errors="replace"` do).
"""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.text.expand import Table, expand, lookup, take
from emojax.types import Array

if TYPE_CHECKING:
    import tokenizers

REPLACEMENT = 0xFFFD


@struct.dataclass
class TokenBytes:
    """The bytes of every policy token, one after the other."""

    start: Table  # i32[V+1] token i has bytes[start[i] : start[i + 1]]
    bytes: Table  # u8[total]


def byte_alphabet() -> dict[str, int]:
    """Character -> the byte it spells: printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    other = sorted(set(range(256)) - set(printable))
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(other)}


def text_tokens(policy: "tokenizers.Tokenizer") -> list[str | None]:
    """The token of each id; None: a special token, or an id without one, which decoding passes over."""
    added = policy.get_added_tokens_decoder()
    special = {token.content for token in added.values() if token.special}
    ids = {*policy.get_vocab(with_added_tokens=True).values(), *added}
    # not as it is written in the files: a normalizer may have changed an added token
    told = (policy.id_to_token(i) for i in range(max(ids, default=0) + 1))
    return [None if token in special else token for token in told]


def side_by_side(spelled: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Where each of them begins, i32[items + 1], and all their bytes, u8[total]."""
    start = np.cumsum([0, *map(len, spelled)]).astype(np.int32)
    return start, np.frombuffer(b"".join(spelled) or b"\0", np.uint8)


def build_token_bytes(policy: "tokenizers.Tokenizer") -> TokenBytes:
    """The table of a tokenizer with a ByteLevel decoder."""
    alphabet = byte_alphabet()

    def spell(token: str | None) -> bytes:
        known = all(c in alphabet for c in token or "")  # an added token may have characters outside the alphabet
        return bytes(map(alphabet.__getitem__, token or "")) if known else str(token).encode()

    return TokenBytes(*side_by_side(list(map(spell, text_tokens(policy)))))


def token_bytes(tables: TokenBytes, ids: Array, mask: Array, max_bytes: int) -> tuple[Array, Array]:
    """The first `max_bytes` bytes of the tokens where `mask` is True.

    Args:
      ids: i32[N T]; an id without a token adds nothing.
      mask: bool[N T]
    Returns:
      i32[N max_bytes], 0 past the end, and bool[N max_bytes], False past the end.
    """
    vocabulary = tables.start.shape[0] - 1
    real = mask & (ids >= 0) & (ids < vocabulary)
    ids = jnp.where(real, ids, 0)
    start = lookup(tables.start, ids)
    length = jnp.where(real, lookup(tables.start, ids + 1) - start, 0)
    source, offset, filled = expand(length, max_bytes)
    where = jnp.where(filled, take(start, source) + offset, 0)
    return jnp.where(filled, lookup(tables.bytes, where).astype(jnp.int32), 0), filled


def _ahead(byte: Array) -> tuple[Array, ...]:
    """The next three bytes of each; 0 past the end."""
    size = byte.shape[1]
    padded = jnp.pad(byte, ((0, 0), (0, 3)))
    return tuple(padded[:, k : k + size] for k in (1, 2, 3))


def _between(x: Array, low: Array | int, high: Array | int) -> Array:
    return (x >= low) & (x <= high)


def utf8_length(point: Array) -> Array:
    """Bytes of each code point in UTF-8, i32."""
    two, three, four = ((point >= first).astype(jnp.int32) for first in (0x80, 0x800, 0x10000))
    return 1 + two + three + four


def sequences(byte: Array) -> tuple[Array, Array, Array]:
    """UTF-8 sequences: every position is settled by its neighbours alone, without a scan.

    Only a byte 80..BF can belong to a sequence that began before it, and it does if a lead one to three bytes before
    reaches it.

    Args:
      byte: i32[N Y]; 0 and what lies past the end continue no sequence.
    Returns:
      need i32[N Y], bytes of the sequence that this one begins, 0 where it begins none; taken i32[N Y], how many of
      them are there (1 at least); continues bool[N Y], True where the byte belongs to a sequence begun before.
    """
    size = byte.shape[1]
    b1, b2, b3 = _ahead(byte)
    leads = [byte < 0x80, _between(byte, 0xC2, 0xDF), _between(byte, 0xE0, 0xEF), _between(byte, 0xF0, 0xF4)]
    need = jnp.select(leads, [1, 2, 3, 4], 0)
    # No overlong forms, no surrogates, nothing above U+10FFFF: all four are a matter of the second byte.
    low = jnp.where(byte == 0xE0, 0xA0, jnp.where(byte == 0xF0, 0x90, 0x80))
    high = jnp.where(byte == 0xED, 0x9F, jnp.where(byte == 0xF4, 0x8F, 0xBF))
    two = (need >= 2) & _between(b1, low, high)
    three = two & (need >= 3) & _between(b2, 0x80, 0xBF)
    four = three & (need == 4) & _between(b3, 0x80, 0xBF)
    taken = jnp.select([four, three, two], [4, 3, 2], 1)

    behind = jnp.pad(taken, ((0, 0), (3, 0)))
    continues = (behind[:, 2 : 2 + size] > 1) | (behind[:, 1 : 1 + size] > 2) | (behind[:, :size] > 3)
    return need, taken, continues


def code_points(byte: Array, filled: Array) -> tuple[Array, Array]:
    """UTF-8, lossy. A code point stands at its first byte.

    Args:
      byte: i32[N Y], 0 past the end.
      filled: bool[N Y]
    Returns:
      i32[N Y] code points and bool[N Y], True where one begins.
    """
    need, taken, continues = sequences(byte)
    c1, c2, c3 = (b & 0x3F for b in _ahead(byte))
    point = jnp.select(
        [need == 1, need == 2, need == 3],
        [byte, (byte & 0x1F) << 6 | c1, (byte & 0x0F) << 12 | c1 << 6 | c2],
        (byte & 0x07) << 18 | c1 << 12 | c2 << 6 | c3,
    )
    return jnp.where(taken == need, point, REPLACEMENT), filled & ~continues
