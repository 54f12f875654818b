"""The policy's tokens -> the bytes of their text, whatever kind of tokenizer it has."""

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from emojax.text.bytes import TokenBytes, build_token_bytes, token_bytes
from emojax.text.pieces import Pieces, build_pieces, decoder_parts, join, piece_bytes
from emojax.types import Array

if TYPE_CHECKING:
    import tokenizers

Policy = TokenBytes | Pieces


def build_policy(policy: "tokenizers.Tokenizer") -> Policy:
    """Raises ValueError where the text of tokens cannot be had exactly inside the graph (see `build_pieces`)."""
    byte_level = [part["type"] for part in decoder_parts(policy)] == ["ByteLevel"]
    return build_token_bytes(policy) if byte_level else build_pieces(policy)


def policy_bytes(tables: Policy, ids: Array, mask: Array, max_bytes: int) -> tuple[Array, Array]:
    """The first `max_bytes` bytes that tokens spell; a broken sequence of UTF-8 stands for U+FFFD.

    Args:
      ids: i32[N T]; special tokens and ids outside the vocabulary spell nothing.
      mask: bool[N T] False: the token spells nothing.
    Returns:
      i32[N max_bytes], 0 past the end, and bool[N max_bytes], False past the end.
    """
    match tables:
        case TokenBytes():
            return token_bytes(tables, ids, mask, max_bytes)
        case Pieces():
            return piece_bytes(tables, ids, mask, max_bytes)


def spell(tables: Policy, ids: Iterable[int]) -> bytes:
    """All bytes that the tokens of one text spell, on the host: their lossy UTF-8 is what `policy.decode` gives."""
    match tables:
        case TokenBytes():
            known = (i for i in ids if 0 <= i < len(tables.start) - 1)
            return b"".join(bytes(tables.bytes[tables.start[i] : tables.start[i + 1]]) for i in known)
        case Pieces():
            return join(tables, ids)


def added_bytes(tables: Policy) -> list[bytes]:
    """What each id adds to a text that another token has begun."""
    start = tables.start[: 1 + (len(tables.real) if isinstance(tables, Pieces) else len(tables.start))]
    return [bytes(tables.bytes[a:b]) for a, b in itertools.pairwise(start.tolist())]
