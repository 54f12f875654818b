"""Code points -> the symbols of a SentencePiece vocabulary: the normaliser `Precompiled` of `tokenizers` as tables.

Its character map (`precompiled_charsmap`; nmt_nfkc in XLM-R) replaces keys, each of one or a few characters, by normal
forms. How the library applies it is not how SentencePiece does:

- a cluster (`graphemes.py`) shorter than six bytes becomes the normal form of its shortest beginning that is a key, and
  the rest of the cluster is lost: with nmt_nfkc "e" and an acute become "é", and so do "e", an acute and a circumflex;
- where it has no such beginning, or is longer, each of its characters is replaced by itself.

So a key of several characters is met in clusters of two or three characters only.

A symbol is a character as far as the vocabulary can tell: NOTHING past the end, META "▁", SPACE, WHITE any other white
space that no piece has, then the white space that pieces have; `letter` is any other character that no piece has, and
from there on come the other characters of the pieces.
"""

import base64

import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.text.bytes import REPLACEMENT, utf8_length
from emojax.text.expand import Table, expand, lookup, take
from emojax.text.graphemes import CONTROL, classes, cluster_starts
from emojax.text.trie import NO_PIECE, Trie, all_matches, build_trie
from emojax.types import Array

NOTHING, META, SPACE, WHITE = range(4)
UNDERLINE = "▁"  # U+2581, a space in the vocabulary
_UNICODE = 0x110000
_PAGE = 256
_SHORT = 6  # bytes; a cluster of fewer is replaced as a whole


@struct.dataclass
class Charsmap:
    page: Table  # i32[4352] the row of `row` for code points of this high part
    row: Table  # i32[pages 256] code point -> row of the next four
    form: Table  # i32[rows] row of `symbols`
    key: Table  # bool[rows] the character itself is a key
    kind: Table  # u8[rows] class in clusters
    link: Table  # i32[rows] its number in `keys`, 0: it is in no key of several characters
    keys: Trie | None  # keys of several characters -> row of `symbols`
    symbols: Table  # i32[forms width] normal forms, NOTHING past their count
    count: Table  # i32[forms]
    letter: int = struct.field(pytree_node=False)  # the first symbol that is not white space or "▁"
    growth: float = struct.field(pytree_node=False)  # symbols per byte of text, at most


def read_charsmap(encoded: str) -> dict[str, str]:
    """The keys of a character map (base64, as in tokenizer.json) that a cluster can meet, and their normal forms.

    Raises:
      ValueError: it is not one.
    """
    raw = base64.b64decode(encoded)
    size = int.from_bytes(raw[:4], "little")
    unit, text = np.frombuffer(raw[4 : 4 + size], "<u4").astype(np.int64), raw[4 + size :]
    if not len(unit) or size % 4 or len(raw) < 4 + size:
        raise ValueError("the character map of the reward model's normaliser is cut short")
    offset = unit >> 10 << ((unit & 1 << 9) >> 6)
    label, byte = unit & (1 << 31 | 0xFF), np.arange(1, 256)
    node, spelled, forms = np.array([offset[0]]), [b""], {}
    try:
        for _ in range(_SHORT - 1):
            at = node[:, None] ^ byte
            parent, which = np.nonzero(label[at] == byte)
            at = at[parent, which]
            spelled = [spelled[p] + bytes([b]) for p, b in zip(parent, byte[which], strict=True)]
            node = at ^ offset[at]
            for i in np.flatnonzero(unit[at] >> 8 & 1):
                begin = unit[node[i]] & ~(1 << 31)
                forms[spelled[i].decode()] = text[begin : text.index(0, begin)].decode()
    except (IndexError, ValueError) as error:  # a decoding error is a ValueError
        raise ValueError(f"the character map of the reward model's normaliser is not of UTF-8 text: {error}") from None
    return forms


def _reachable(forms: dict[str, str]) -> dict[str, str]:
    """Keys of several characters that are the shortest key of a cluster, which has three characters at most."""
    several = [key for key in forms if len(key) in (2, 3)]
    return {key: forms[key] for key in several if key[:1] not in forms and (len(key) == 2 or key[:2] not in forms)}


def build_charsmap(forms: dict[str, str], white: np.ndarray, alphabet: set[str]) -> tuple[Charsmap, dict[str, int]]:
    """The tables, and the symbol of "▁" and of every character of `alphabet` that the normaliser can give.

    Args:
      forms: from `read_charsmap`.
      white: bool[0x110000] white space.
      alphabet: the characters of the vocabulary's pieces.
    """
    several = _reachable(forms)
    single = {key: form for key, form in forms.items() if len(key) == 1}
    given = set("".join([*single.values(), *several.values()]))
    known = sorted(c for c in alphabet if c in given or c not in single)
    spaces = [c for c in known if white[ord(c)] and c != " "]
    letters = [c for c in known if not white[ord(c)] and c != UNDERLINE]
    letter = WHITE + 1 + len(spaces)
    symbol = {UNDERLINE: META, " ": SPACE} | {c: WHITE + 1 + i for i, c in enumerate(spaces)}
    symbol |= {c: letter + 1 + i for i, c in enumerate(letters)}
    symbol_of = np.where(white, WHITE, letter)
    symbol_of[[ord(c) for c in symbol]] = list(symbol.values())

    # Normal forms by number, first those of one symbol, by the symbol.
    rows: dict[tuple[int, ...], int] = {(i,): i for i in range(letter + 1 + len(letters))}

    def row(form: str) -> int:
        return rows.setdefault(tuple(int(symbol_of[ord(c)]) for c in form), len(rows))

    form_of, key_of, link_of = symbol_of.copy(), np.zeros(_UNICODE, bool), np.zeros(_UNICODE, np.int64)
    form_of[[ord(key) for key in single]] = [row(form) for form in single.values()]
    key_of[[ord(key) for key in single]] = True
    links = {c: 1 + i for i, c in enumerate(sorted(set("".join(several))))}
    link_of[[ord(c) for c in links]] = list(links.values())
    spelled, ends = [[links[c] for c in key] for key in several], np.array([row(form) for form in several.values()])
    keys = build_trie(spelled, ends, np.zeros(len(ends), bool), 1 + len(links)) if several else None

    number, attributes = np.zeros(_UNICODE, np.int64), (form_of, key_of, classes(), link_of)
    for attribute in attributes:  # equal rows get one number
        number = number * (int(attribute.max()) + 1) + attribute
    _, first, number = np.unique(number, return_index=True, return_inverse=True)
    pages, page = np.unique(number.reshape(-1, _PAGE).astype(np.int32), axis=0, return_inverse=True)
    count = np.array([len(form) for form in rows], np.int32)
    symbols = np.zeros((len(rows), max(1, count.max())), np.int32)
    symbols[np.arange(symbols.shape[1]) < count[:, None]] = np.concatenate([np.array(form, int) for form in rows])
    size = {key: 1 if key == chr(REPLACEMENT) else len(key.encode()) for key in forms}  # it stands for a broken byte
    tables = Charsmap(
        page.reshape(-1).astype(np.int32),
        pages,
        form_of[first].astype(np.int32),
        key_of[first],
        classes()[first],
        link_of[first].astype(np.int32),
        keys,
        symbols,
        count,
        letter=letter,
        growth=float(max(1, *(len(form) / size[key] for key, form in (single | several).items()))),
    )
    return tables, {UNDERLINE: META} | {c: symbol[c] for c in known}


def forms(tables: Charsmap, point: Array, begins: Array) -> tuple[Array, Array]:
    """The normal form of each character or, where a cluster is replaced as a whole, of the cluster.

    Args:
      point: i32[N Y] code points.
      begins: bool[N Y], False where there is none.
    Returns:
      i32[N Y] rows of `tables.symbols` and i32[N Y] their counts, in the order of the text.
    """
    length = point.shape[1]
    source, _, filled = expand(begins.astype(jnp.int32), length)
    point = jnp.where(filled, take(point, source), 0)
    row = lookup(tables.row, (lookup(tables.page, point // _PAGE), point % _PAGE))
    kind = jnp.where(filled, lookup(tables.kind, row).astype(jnp.int32), CONTROL)
    size = utf8_length(point)

    def after(x: Array, steps: int) -> Array:
        return jnp.pad(x, ((0, 0), (0, steps)))[:, steps:]

    def before(x: Array, steps: int) -> Array:
        return jnp.pad(x, ((0, 0), (steps, 0)))[:, :length]

    starts = jnp.pad(cluster_starts(kind), ((0, 0), (0, 2)), constant_values=True)
    start, second, third = starts[:, :length], starts[:, 1 : length + 1], starts[:, 2:]
    last = jnp.pad(starts[:, 3:], ((0, 0), (0, 1)), constant_values=True)
    two = start & ~second & third & (size + after(size, 1) < _SHORT)
    three = start & ~second & ~third & last & (size + after(size, 1) + after(size, 2) < _SHORT)
    whole = lookup(tables.key, row)  # the first character is a key
    form = lookup(tables.form, row)
    if tables.keys is not None:
        match = all_matches(tables.keys, lookup(tables.link, row))
        found = jnp.where(three & (match[-1] != NO_PIECE), match[-1], match[1])  # keys have two or three characters
        found = jnp.where((two | three) & ~whole, found, NO_PIECE)
        form, whole = jnp.where(found != NO_PIECE, found, form), whole | (found != NO_PIECE)
    lost = jnp.where(whole, jnp.select([two, three], [1, 2], 0), 0)  # characters after this one
    lost = (before(lost, 1) > 0) | (before(lost, 2) > 1)
    return form, jnp.where(filled & ~lost, lookup(tables.count, form), 0)


def symbols(tables: Charsmap, form: Array, count: Array, size: int) -> Array:
    """i32[N size]: the normal forms one after the other, NOTHING past their end."""
    source, copy, filled = expand(count, size)
    return jnp.where(filled, lookup(tables.symbols, (take(form, source), copy)), NOTHING)
