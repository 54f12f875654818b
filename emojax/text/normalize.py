"""Code points -> the reward tokenizer's symbols: its normaliser and its word breaks as tables.

The reward model's own normaliser is run on every code point on the host; nothing is assumed of its Unicode version or
options. It treats each code point by itself, with one exception: where it strips accents it decomposes first, and
canonical ordering sorts combining marks (those of the marks that it keeps are few, and a vocabulary seldom knows two
of them; only then is there something to sort in the graph).

A symbol is a character as far as the vocabulary can tell: 0 is any white space, 1 any punctuation mark that no piece
has, then the punctuation marks that pieces have; `letter` is any other character that no piece has, and from there on
come the characters of the pieces.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.text.bytes import REPLACEMENT
from emojax.text.expand import Table, expand, lookup, take
from emojax.types import Array

if TYPE_CHECKING:
    from tokenizers.normalizers import BertNormalizer, Normalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer, WhitespaceSplit

SPACE = 0
UNKNOWN_MARK = 1
_NOTHING = -1  # past the end of a normal form
_BAR = "|"  # stands between code points while the normaliser runs; no normaliser option touches it
UNICODE = 0x110000
PAGE = 256
_RANKS = 256  # Unicode's combining classes are bytes
# Two combining characters that stripping accents keeps, of canonical class 224 and 9: between them, every mark shows
# whether it is sorted.
_HIGH, _LOW = "\u302e", "\u1b44"


@struct.dataclass
class Normalization:
    page: Table  # i32[4352] the row of `row` for code points of this high part
    row: Table  # i32[pages 256] code point -> row of `symbols`
    symbols: Table  # i32[rows width] what a code point becomes, 0 past its count
    count: Table  # i32[rows]
    rank: Table | None  # i32[symbols] order among combining marks, 0: stays where it is; None: nothing to sort
    fence: Table | None  # i32[rows] 1: becomes nothing, but marks are not sorted across it
    letter: int = struct.field(pytree_node=False)  # the first symbol that is not white space or punctuation
    growth: float = struct.field(pytree_node=False)  # symbols per byte of text, at most


def text_of(points: np.ndarray) -> str:
    return points.astype(np.int32).tobytes().decode("utf-32-le")


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.int32)


def pages() -> Iterator[np.ndarray]:
    """All code points but the surrogates, which no text holds."""
    rows = np.arange(UNICODE).reshape(-1, PAGE)
    yield from (page for page in rows if not 0xD800 <= page[0] < 0xE000)


def characters(normalizer: "Normalizer") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All normal forms, one after the other, and where that of each code point begins and ends (i32[0x110000] each)."""
    form = np.arange(UNICODE, dtype=np.int32)
    start, end = form.copy(), form + 1
    mixed = [_points("")]
    for page in pages():
        text = text_of(page)
        normal = normalizer.normalize_str(text)
        if not normal:
            end[page] = start[page]
        elif normal != text:
            mixed.append(page)
    points = np.concatenate(mixed)
    points = points[points != ord(_BAR)]  # the normaliser leaves it alone
    fenced = np.full(2 * len(points) + 1, ord(_BAR))
    fenced[1::2] = points
    told = _points(normalizer.normalize_str(text_of(fenced)))
    bars = np.flatnonzero(told == ord(_BAR))
    if len(bars) != len(points) + 1:
        raise RuntimeError(f"the normaliser gave {len(bars) - 1} normal forms for {len(points)} code points")
    start[points], end[points] = len(form) + bars[:-1] + 1, len(form) + bars[1:]
    return np.concatenate([form, told]), start, end


def utf8_sizes() -> np.ndarray:
    """i32[0x110000]: the least bytes of a text that are read as this code point."""
    size = np.select([np.arange(UNICODE) < limit for limit in (0x80, 0x800, 0x10000)], [1, 2, 3], 4)
    size[REPLACEMENT] = 1  # it stands for a single broken byte
    return size


def classes(pre_tokenizer: "BertPreTokenizer | WhitespaceSplit") -> np.ndarray:
    """u8[0x110000]: 0 white space, 1 punctuation (a word of its own), 2 part of a word."""

    def classify(points: np.ndarray) -> np.ndarray:
        kind = np.zeros(len(points), np.uint8)
        for _, (start, end) in pre_tokenizer.pre_tokenize_str(text_of(points)):
            kind[start:end] = 1 if end - start == 1 else 2
        return kind

    kind = np.full(UNICODE, 2, np.uint8)
    for page in pages():
        kind[page] = classify(page)
    # A lone letter between two breaks looks like punctuation: ask again about those, between letters.
    lone = np.flatnonzero(kind == 1)
    between = np.full(2 * len(lone) + 1, ord("a"))
    between[1::2] = lone
    kind[lone] = classify(between)[1::2]
    return kind


def _sorts(normalizer: "BertNormalizer", pairs: list[str]) -> np.ndarray:
    """bool[pairs]: whether the normaliser swaps the ends of each string (and drops what is between)."""
    forms = normalizer.normalize_str(_BAR.join(pairs)).split(_BAR) if pairs else []
    return np.array([form == pair[-1] + pair[0] for form, pair in zip(forms, pairs, strict=True)], bool)


def _ranks(normalizer: "BertNormalizer", alphabet: list[str]) -> np.ndarray:
    """i32[alphabet]: 0 for a character that stays in its place, else its place in the order of marks, from 1."""
    rank = np.zeros(len(alphabet), np.int32)
    if normalizer.normalize_str("é") == "é":
        return rank  # accents stay, nothing is decomposed or sorted
    if not _sorts(normalizer, [_HIGH + _LOW])[0]:
        raise RuntimeError("the normaliser strips accents but does not sort U+302E and U+1B44: report this version")
    moves = _sorts(normalizer, [_HIGH + c for c in alphabet]) | _sorts(normalizer, [c + _LOW for c in alphabet])
    marks = np.flatnonzero(moves)
    above = _sorts(normalizer, [alphabet[i] + alphabet[j] for i in marks for j in marks])
    order = above.reshape(len(marks), len(marks)).sum(1)  # how many marks go before this one
    rank[marks] = 1 + np.unique(order, return_inverse=True)[1]
    return rank


def _number(kinds: np.ndarray, known: list[str]) -> tuple[dict[str, int], int]:
    """The symbol of each known character, punctuation marks first, and the symbol of an unknown letter."""
    marks = [c for c in known if kinds[ord(c)] == 1]
    letters = [c for c in known if kinds[ord(c)] == 2]
    letter = UNKNOWN_MARK + 1 + len(marks)
    numbers = {c: UNKNOWN_MARK + 1 + i for i, c in enumerate(marks)}
    return numbers | {c: letter + 1 + i for i, c in enumerate(letters)}, letter


def build_normalization(
    normalizer: "BertNormalizer", kinds: np.ndarray, alphabet: set[str]
) -> tuple[Normalization, dict[str, int]]:
    """The tables, and the symbol of every character of `alphabet` that the normaliser can give.

    Args:
      kinds: of every code point, from `classes`.
      alphabet: the characters of the vocabulary's pieces.
    """
    form, start, end = characters(normalizer)
    count = end - start
    place = np.arange(count.max())
    inside = place < count[:, None]
    forms = form[np.where(inside, start[:, None] + place, 0)]
    produced = np.zeros(UNICODE, bool)
    produced[forms[inside]] = True

    symbol, letter = _number(kinds, sorted(c for c in alphabet if produced[ord(c)]))
    symbol_of = np.array([SPACE, UNKNOWN_MARK, letter], np.int32)[kinds]
    symbol_of[[ord(c) for c in symbol]] = list(symbol.values())
    forms = np.where(inside, symbol_of[forms], _NOTHING)

    letters = [c for c in symbol if symbol[c] > letter]
    ranks = _ranks(normalizer, letters)
    fence = np.zeros(UNICODE, np.int32)
    sorts = ranks.max(initial=0) > 1
    if sorts:
        gone = [c for c in np.flatnonzero(count == 0) if not 0xD800 <= c < 0xE000]
        fence[gone] = ~_sorts(normalizer, [_HIGH + chr(c) + _LOW for c in gone])
    rows, first = forms[:, 0].astype(np.int64), count[:0]  # equal rows get one number: columns are folded in one by one
    for column in (*forms.T[1:], fence):
        _, first, rows = np.unique(rows * UNICODE + column, return_index=True, return_inverse=True)
    row, page = np.unique(rows.reshape(-1, PAGE).astype(np.int32), axis=0, return_inverse=True)
    tables = Normalization(
        page=page.reshape(-1).astype(np.int32),
        row=row,
        symbols=np.maximum(forms[first], 0),
        count=count[first],
        rank=np.pad(ranks, (letter + 1, 0)) if sorts else None,
        fence=fence[first] if sorts else None,
        letter=letter,
        growth=float((count / utf8_sizes()).max()),
    )
    return tables, symbol


def normalize(tables: Normalization, point: Array, begins: Array, size: int) -> Array:
    """Symbols of the normalised text, white space past its end.

    Args:
      point: i32[N Y] code points.
      begins: bool[N Y], False where there is none.
    Returns:
      i32[N size]
    """
    row = lookup(tables.row, (lookup(tables.page, point // PAGE), point % PAGE))
    source, copy, filled = expand(jnp.where(begins, lookup(tables.count, row), 0), size)
    symbol = jnp.where(filled, lookup(tables.symbols, (take(row, source), copy)), SPACE)
    if tables.rank is None or tables.fence is None:
        return symbol
    rank = lookup(tables.rank, symbol)
    fences = jnp.cumsum(jnp.where(begins, lookup(tables.fence, row), 0), -1, dtype=jnp.int32)
    run = jnp.cumsum(rank == 0, -1, dtype=jnp.int32) + take(fences, source)
    return jax.lax.sort((run * _RANKS + rank, symbol), dimension=1, is_stable=True, num_keys=1)[1]
