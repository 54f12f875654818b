"""Where characters that one sees begin: extended grapheme clusters (Unicode Annex 29, section 3), in the graph.

SentencePiece's normaliser, as the `tokenizers` library has it, replaces clusters. To which class a code point belongs
depends on the library's Unicode version, so the library is asked: its normaliser, given a character map made for the
purpose, shows what it takes for one cluster (`classes`).
"""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from emojax.text.expand import take
from emojax.types import Array

if TYPE_CHECKING:
    from tokenizers import normalizers

_UNICODE = 0x110000
_PAGE = 256
# The classes of UAX 29 as far as rules GB3 to GB11 tell them apart. Regional indicators count as OTHER: a pair of them
# has eight bytes and a cluster of six is never replaced as a whole, so that it does not matter where pairs end.
OTHER, CONTROL, CR, LF, EXTEND, LINKER, CONJOINER, ZWJ, SPACING, PREPEND, L, V, T, LV, LVT, PICTURE, CONSONANT = range(
    17
)

# What a probe is made of; the character map replaces each of these letters by the one beside it.
_LETTERS = {"a": "b", "©": "c", "\u0915": "k", "\u1100": "l", "\u1161": "v", "\u11a8": "t", "\u0600": "p"}
_KA, _L, _V, _T, _NUMBER = "\u0915\u1100\u1161\u11a8\u0600"
_MARK, _JOINER, _VIRAMA = "\u0301\u200d\u094d"
_BAR = "\x01"  # between probes: a control character, which is a cluster of its own wherever it stands


def write_charsmap(forms: dict[str, str]) -> bytes:
    """A `precompiled_charsmap` (a double array of Darts-clone and the normal forms) that replaces keys by values."""
    nodes: list[dict[int, int]] = [{}]  # child by byte
    leaves: dict[int, int] = {}  # node -> where its normal form begins
    text = b""
    for key, form in forms.items():
        node = 0
        for byte in key.encode():
            if byte not in nodes[node]:
                nodes[node][byte] = len(nodes)
                nodes.append({})
            node = nodes[node][byte]
        leaves[node] = len(text)
        text += form.encode() + b"\0"
    unit = np.zeros(_PAGE * (len(nodes) + 1), np.uint32)  # node n has a page of its own, n + 1, for its children
    unit[0] = _PAGE << 10
    for node, children in enumerate(nodes):
        page = _PAGE * (node + 1)
        if node in leaves:
            unit[page] = 1 << 31 | leaves[node]
        for byte, child in children.items():
            at = page | byte
            unit[at] = (at ^ _PAGE * (child + 1)) << 10 | (child in leaves) << 8 | byte
    trie = unit.astype("<u4").tobytes()
    return len(trie).to_bytes(4, "little") + trie + text


@functools.cache
def _normalizer() -> "normalizers.Precompiled":
    from tokenizers import normalizers

    return normalizers.Precompiled(write_charsmap(_LETTERS))


def _become(template: str, points: Iterable[int]) -> dict[int, str]:
    """What the template becomes with each point in the place of X."""
    points = list(points)
    told = _normalizer().normalize_str(_BAR.join(template.replace("X", chr(c)) for c in points)).split(_BAR)
    return dict(zip(points, told, strict=True))


def _spared(template: str, points: Iterable[int]) -> set[int]:
    """Those with which the last letter of the template is in a cluster: a mark after it is not lost then."""
    lost = _LETTERS[template[-1]]
    return {c for c, told in _become(template + _MARK, points).items() if not told.endswith(lost)}


@functools.cache
def classes() -> np.ndarray:
    """u8[0x110000], the class of every code point.

    A cluster shorter than six bytes becomes the normal form of its beginning, and the rest is lost. So "a" with a mark
    becomes "b", but keeps the mark where a longer cluster spares it: each class shows in what it spares or loses.
    Where there is nothing but ideographs, private use and unassigned code points, one in 256 is asked for all of them.

    Raises:
      ValueError: the installed `tokenizers` does not treat clusters so.
    """
    if [*_become("aX", map(ord, _MARK + "z")).values()] != ["b", "bz"] or _become("a\rX", [ord("\n")]) != {10: "b\r\n"}:
        raise ValueError(
            "the installed `tokenizers` normalises SentencePiece text in a way that is not converted exactly inside the"
            " graph: use tokenizers 0.22 or 0.23"
        )
    every = np.arange(_UNICODE)
    alike = (every >= 0x20000) & ~((every >= 0xE0000) & (every < 0xE1000))
    left_out = alike & (every % _PAGE > 0) | (every >= 0xD800) & (every < 0xE000) | (every == ord(_BAR))
    points = every[~left_out].tolist()

    tied = {c for c, told in _become("aX", points).items() if told == "b"}  # to what stands before them
    free = [c for c in points if c not in tied]
    extend = _spared(f"©X{_JOINER}©", tied)
    prepend = _spared("Xa", free)
    two = _become(f"{_NUMBER}{_NUMBER}X", free)
    to_v, to_t = _spared(f"X{_V}", free) - prepend, _spared(f"X{_T}", free) - prepend
    after_v = {c for c, told in _become(f"{_NUMBER}{_V}X", to_v | to_t).items() if told[1:2] == "v"}
    found = {
        SPACING: tied,
        EXTEND: extend,
        CONJOINER: extend & _spared(f"{_KA}X{_VIRAMA}{_KA}", tied),
        LINKER: extend & _spared(f"{_KA}X{_KA}", tied),
        ZWJ: tied & {ord(_JOINER)},
        PREPEND: prepend,
        CONTROL: {c for c, told in two.items() if told[:1] == "p" and told[1:2] not in ("", "p")} | {ord(_BAR)},
        CR: {ord("\r")},
        LF: {ord("\n")},
        PICTURE: _spared(f"X{_JOINER}©", free) - prepend,
        CONSONANT: _spared(f"X{_VIRAMA}{_KA}", free) - prepend,
        L: to_v - to_t,
        V: to_v & to_t & after_v,
        LV: to_v & to_t - after_v,
        T: to_t - to_v & after_v,
        LVT: to_t - to_v - after_v,
    }
    kind = np.full(_UNICODE, OTHER, np.uint8)
    for number, which in found.items():  # later ones are the narrower ones
        kind[list(which)] = number
    kind[alike] = kind[every[alike] // _PAGE * _PAGE]
    return kind


def cluster_starts(kind: Array) -> Array:
    """True where a character begins a cluster.

    Args:
      kind: i32[N Y] classes of the characters; CONTROL past the end of a text.
    Returns:
      bool[N Y]
    """
    place = jnp.broadcast_to(jnp.arange(kind.shape[1], dtype=jnp.int32), kind.shape)

    def before(x: Array, steps: int = 1) -> Array:
        return jnp.pad(x, ((0, 0), (steps, 0)))[:, : kind.shape[1]]

    def one_of(x: Array, *kinds: int) -> Array:
        return functools.reduce(jnp.logical_or, [x == k for k in kinds])

    def last_but(*kinds: int) -> tuple[Array, Array]:
        """The last character of another class than these, and its class: OTHER where there is none."""
        last = jax.lax.cummax(jnp.where(one_of(kind, *kinds), -1, place), axis=1)
        return jnp.maximum(last, 0), jnp.where(last >= 0, take(kind, jnp.maximum(last, 0)), OTHER)

    previous = before(kind).at[:, 0].set(CONTROL)
    picture = last_but(EXTEND, LINKER, CONJOINER)[1] == PICTURE
    base, base_kind = last_but(LINKER, CONJOINER, ZWJ)
    links = jnp.cumsum(kind == LINKER, 1, dtype=jnp.int32)
    linked = (base_kind == CONSONANT) & (links > take(links, base))
    syllable = (previous == L) & one_of(kind, L, V, LV, LVT)
    syllable |= one_of(previous, V, LV) & one_of(kind, V, T)
    syllable |= one_of(previous, T, LVT) & (kind == T)
    tied = one_of(kind, EXTEND, LINKER, CONJOINER, ZWJ, SPACING) | (previous == PREPEND)
    pictures = (kind == PICTURE) & (previous == ZWJ) & before(picture, 2)
    conjunct = (kind == CONSONANT) & before(linked)
    parted = one_of(previous, CONTROL, CR, LF) | one_of(kind, CONTROL, CR, LF)
    return ~((previous == CR) & (kind == LF)) & (parted | ~(syllable | tied | pictures | conjunct))
