"""Policy tokens -> bytes, for tokenizers whose decoders treat tokens one by one: SentencePiece's and WordPiece.

What such a decoder of the `tokenizers` library makes of a token depends on the token and on whether it is the first of
the text: WordPiece puts a space before all but the first and those that continue a word, Metaspace takes "▁" off the
first. So two byte strings a token say all, and the library itself makes them. Two things remain for the graph:

- byte fallback (Llama 2): tokens "<0x00>" to "<0xFF>" in a row are text if all of them together are UTF-8; if not, each
  becomes one U+FFFD. Its byte is then FF here, which UTF-8 has not;
- a space at the beginning of the whole text is lost (Strip after Fuse).
"""

import itertools
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.text.bytes import sequences, side_by_side, text_tokens
from emojax.text.expand import Table, expand, lookup, take
from emojax.types import Array

if TYPE_CHECKING:
    import tokenizers

_ONE_BY_ONE = ("Replace", "Metaspace", "WordPiece")
_LEADING_SPACE = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
_BROKEN = 0xFF  # of a byte that is not text
_SPACE = ord(" ")


@struct.dataclass
class Pieces:
    """The bytes of every policy token, twice: after another token, and as the first of a text."""

    start: Table  # i32[2V + 1] token i has bytes[start[i] : start[i + 1]]; as the first, V + i instead of i
    bytes: Table  # u8[total]
    real: Table  # bool[V] False: a special token, or an id without a token; it is passed over and counts as no token
    fallback: Table | None  # bool[2V] the token is one byte of a run; None: the decoder has no byte fallback
    strip: bool = struct.field(pytree_node=False)  # a space at the beginning of the text is lost


def build_pieces(policy: "tokenizers.Tokenizer") -> Pieces:
    """The table of a tokenizer with one of these decoders, or with none, which joins tokens by spaces:

        any of Replace, Metaspace and WordPiece; then ByteFallback or not; then Fuse or not;
        after Fuse, Strip of one space on the left, or not

    Raises:
      ValueError: it has another decoder; says which, and what to use instead.
    """
    parts = decoder_parts(policy)
    each = list(itertools.takewhile(lambda part: part["type"] in _ONE_BY_ONE, parts))
    rest = [part["type"] for part in parts[len(each) :]]
    orderly = rest == [kind for kind in ("ByteFallback", "Fuse", "Strip") if kind in rest]
    if not orderly or ("Strip" in rest and ("Fuse" not in rest or parts[-1] != _LEADING_SPACE)):
        raise ValueError(
            f"the policy's tokenizer has the decoder {_named(parts)}; converted exactly inside the graph are ByteLevel"
            " (GPT-2, Qwen, Llama 3), that of SentencePiece models (Replace or Metaspace, ByteFallback, Fuse, Strip of"
            " one space on the left: Llama 2, Mistral) and WordPiece (BERT): use a policy with one of these"
        )
    decode = _decode(each)
    joint = "" if parts else " "
    tokens = text_tokens(policy)
    later = ["" if token is None else joint + decode(["", token]).removeprefix(decode([""])) for token in tokens]
    first = ["" if token is None else decode([token]) for token in tokens]
    spelled, fallback = [text.encode() for text in (*later, *first)], None
    if "ByteFallback" in rest:
        values = [_byte(text) for text in (*later, *first)]
        fallback = np.array([value is not None for value in values])
        spelled = [text if value is None else value for text, value in zip(spelled, values, strict=True)]
    real = np.array([token is not None for token in tokens])
    return Pieces(*side_by_side(spelled), real, fallback, "Strip" in rest)


def decoder_parts(policy: "tokenizers.Tokenizer") -> list[dict[str, Any]]:
    """The members of the decoder, were it a Sequence, as tokenizer.json has them."""

    def members(told: dict[str, Any]) -> list[dict[str, Any]]:
        return [part for member in told["decoders"] for part in members(member)] if "decoders" in told else [told]

    return members(json.loads(policy.decoder.__getstate__())) if policy.decoder else []


def _named(parts: list[dict[str, Any]]) -> str:
    """Kinds, in their order; of a Strip what it strips, too."""
    told = (str({k: v for k, v in part.items() if k != "type"}) if part["type"] == "Strip" else "" for part in parts)
    return ", ".join(part["type"] + options for part, options in zip(parts, told, strict=True))


def _decode(parts: list[dict[str, Any]]) -> Callable[[list[str]], str]:
    """Tokens -> text, with these parts of a decoder."""
    from tokenizers import Tokenizer, models

    if not parts:
        return "".join
    told = json.loads(Tokenizer(models.BPE()).to_str())
    told["decoder"] = {"type": "Sequence", "decoders": parts}
    return Tokenizer.from_str(json.dumps(told)).decoder.decode


def _byte(token: str) -> bytes | None:
    """The byte that ByteFallback takes a token for."""
    from tokenizers import decoders

    return None if decoders.ByteFallback().decode([token]) == token else bytes([int(token[3:5], 16)])


def join(tables: Pieces, ids: Iterable[int]) -> bytes:
    """On the host and plainly, what `piece_bytes` gives in the graph, without an end: of numpy tables."""
    size = len(tables.real)
    rows = [i for i in ids if 0 <= i < size and tables.real[i]]
    rows = [i + size if place == 0 else i for place, i in enumerate(rows)]
    text = b""
    for fallback, run in itertools.groupby(rows, lambda row: tables.fallback is not None and tables.fallback[row]):
        raw = b"".join(bytes(tables.bytes[tables.start[row] : tables.start[row + 1]]) for row in run)
        try:
            raw.decode()
        except UnicodeDecodeError:
            assert fallback, "the library's strings are UTF-8"
            raw = bytes([_BROKEN]) * len(raw)
        text += raw
    return text.removeprefix(b" ") if tables.strip else text


def piece_bytes(tables: Pieces, ids: Array, mask: Array, max_bytes: int) -> tuple[Array, Array]:
    """As `bytes.token_bytes`; the bytes of a run that is not UTF-8 are FF, each of which is one U+FFFD."""
    size = tables.real.shape[0]
    known = mask & (ids >= 0) & (ids < size)
    real = known & lookup(tables.real, jnp.where(known, ids, 0))
    source, _, there = expand(real.astype(jnp.int32), ids.shape[1])  # what is passed over parts no run
    row = jnp.where(there, take(ids, source), 0).at[:, 0].add(size)
    start = lookup(tables.start, row)
    token, offset, filled = expand(jnp.where(there, lookup(tables.start, row + 1) - start, 0), max_bytes + tables.strip)
    byte = jnp.where(filled, lookup(tables.bytes, jnp.where(filled, take(start, token) + offset, 0)), 0).astype(
        jnp.int32
    )
    if tables.fallback is not None:
        broken = _broken(there & lookup(tables.fallback, row), lookup(tables.bytes, start))
        byte = jnp.where(filled & take(broken, token), _BROKEN, byte)
    if not tables.strip:
        return byte, filled
    led = byte[:, :1] == _SPACE
    return jnp.where(led, byte[:, 1:], byte[:, :-1]), jnp.where(led, filled[:, 1:], filled[:, :-1])


def _broken(fallback: Array, byte: Array) -> Array:
    """bool[N T]: the token is in a run of `fallback` tokens whose bytes are not UTF-8."""
    need, taken, continues = sequences(jnp.where(fallback, byte, 0).astype(jnp.int32))
    wrong = jnp.cumsum(~continues & (taken != need), -1, dtype=jnp.int32)
    wrong = jnp.pad(wrong, ((0, 0), (1, 0)))  # [N T + 1] before each place
    place = jnp.arange(byte.shape[1], dtype=jnp.int32)
    begin = jax.lax.cummax(jnp.where(fallback, 0, place + 1), axis=1)  # after the last token that is no byte
    end = jax.lax.cummin(jnp.where(fallback, byte.shape[1], place), axis=1, reverse=True)
    return fallback & (take(wrong, end) > take(wrong, jnp.minimum(begin, end)))
