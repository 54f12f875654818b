"""Which facts a caption states, by the words in it: on the host, and in the graph by one automaton over its bytes.

A text is read as its bytes: ASCII letters are lower case, and a run of anything but letters, digits, `_` and bytes
beyond ASCII is one space. A phrase counts where it stands between spaces; one that holds Chinese or Japanese letters,
wherever it stands. Negation is not understood: "not sad" states sad.

The automaton is Aho and Corasick's (1975, Comm. ACM 18): one table look-up a byte, whatever the number of phrases.
"""

import functools
import re
from collections import deque
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct

from emojax.config.concepts import Attribute
from emojax.parallel.sharding import constrain
from emojax.types import Array, Text

_GAP = re.compile(rb"[^a-z0-9_\x80-\xff]+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
_SPACE = 0x20


@struct.dataclass
class Lexicon:
    """The automaton: numpy arrays, to be passed to a program as an argument."""

    letter: Array  # i32[256] what a byte is read as: a column of `next`
    next: Array  # i32[states letters]
    ends: Array  # bool[states values] phrases of which values end here
    value: Array  # i32[values] the attribute that a value belongs to; ascending
    names: tuple[str, ...] = struct.field(pytree_node=False)  # of the attributes


def normal(text: str) -> bytes:
    """The bytes of a text as they are compared, a space at both ends.

    >>> normal("A dark, resonant Voice.")
    b' a dark resonant voice '
    """
    words = _GAP.sub(b" ", text.encode(errors="replace").lower()).strip()
    return b" " + words + b" " if words else b" "


@functools.lru_cache(maxsize=16)
def _patterns(attributes: tuple[Attribute, ...]) -> list[tuple[bytes, int]]:
    """Every phrase as it is looked for, and the number of its value, over all attributes."""
    values = [value for attribute in attributes for value in attribute.values]
    found = []
    for number, value in enumerate(values):
        for word in value.words:
            spelled = normal(word)
            found.append((spelled.strip() if _UNSPACED.search(word) else spelled, number))
    return [(pattern, number) for pattern, number in found if pattern.strip()]


def stated(text: str, attributes: Sequence[Attribute]) -> dict[str, frozenset[str]]:
    """The values of each attribute that a text names; an attribute that it does not speak of is absent.

    >>> from emojax.config.concepts import ATTRIBUTES
    >>> stated("An old lady speaks slowly.", ATTRIBUTES) == {
    ...     "gender": {"woman"}, "age": {"elderly"}, "style": {"slow"}}
    True
    """
    here = normal(text)
    names = [(attribute.name, value.name) for attribute in attributes for value in attribute.values]
    found: dict[str, set[str]] = {}
    for pattern, number in _patterns(tuple(attributes)):
        if pattern in here:
            name, value = names[number]
            found.setdefault(name, set()).add(value)
    return {name: frozenset(values) for name, values in found.items()}


def holds(texts: Sequence[str], attributes: Sequence[Attribute]) -> np.ndarray:
    """The values that any of some texts names, bool[values], in the order of `Lexicon.value`; on the host."""
    found = [stated(text, attributes) for text in texts]
    return np.array([any(v.name in f.get(a.name, ()) for f in found) for a in attributes for v in a.values], bool)


def build(attributes: Sequence[Attribute]) -> Lexicon:
    """The automaton of the attributes' words, on the host."""
    patterns = _patterns(tuple(attributes))
    alphabet = sorted({byte for pattern, _ in patterns for byte in pattern} | {_SPACE})
    column = {byte: n for n, byte in enumerate(alphabet, start=1)}  # 0: a letter of no phrase
    count = sum(len(attribute.values) for attribute in attributes)

    trie: list[dict[int, int]] = [{}]
    ends: list[set[int]] = [set()]
    last = [0]  # the byte that led here
    for pattern, number in patterns:
        state = 0
        for byte in pattern:
            if byte not in trie[state]:
                trie[state][byte] = len(trie)
                trie.append({})
                ends.append(set())
                last.append(byte)
            state = trie[state][byte]
        ends[state].add(number)

    table = np.zeros((len(trie), len(alphabet) + 1), np.int32)
    fallback = [0] * len(trie)
    queue = deque([0])
    while queue:  # breadth first: a state's fallback is done before it
        state = queue.popleft()
        ends[state] |= ends[fallback[state]]
        for byte in alphabet:
            elsewhere = int(table[fallback[state], column[byte]]) if state else 0
            if (child := trie[state].get(byte)) is None:
                table[state, column[byte]] = elsewhere
            else:
                table[state, column[byte]] = child
                fallback[child] = elsewhere
                queue.append(child)
    spaced = [state for state, byte in enumerate(last) if byte == _SPACE]
    table[spaced, column[_SPACE]] = spaced  # a run of spaces is one

    read = (_GAP.sub(b" ", bytes([byte]).lower())[0] for byte in range(256))  # what each byte is compared as
    letter = np.array([column.get(byte, 0) for byte in read], np.int32)
    sets = np.zeros((len(trie), count), bool)
    for state, numbers in enumerate(ends):
        sets[state, list(numbers)] = True
    owner = np.repeat(np.arange(len(attributes), dtype=np.int32), [len(a.values) for a in attributes])
    arrays = [_array(x) for x in (letter, table, sets, owner)]
    return Lexicon(arrays[0], arrays[1], arrays[2], arrays[3], tuple(a.name for a in attributes))


def _array(x: np.ndarray) -> Array:
    return x  # pyright: ignore[reportReturnType] numpy stands for an array of the program


def named(lexicon: Lexicon, byte: Array, filled: Array) -> Array:
    """The values that texts name, traceable: bool[N values], True as `stated` has it.

    Args:
      byte: i32[N Y] the texts' bytes. filled: bool[N Y], False past the end.
    """
    space = lexicon.letter[_SPACE]
    letters = jnp.where(filled, jnp.asarray(lexicon.letter)[byte], space)
    letters = jnp.pad(letters, ((0, 0), (1, 1)), constant_values=space)  # words at the ends stand between spaces, too
    flat = jnp.asarray(lexicon.next).ravel()
    columns = lexicon.next.shape[1]

    def step(carry: tuple[Array, Array], letter: Array) -> tuple[tuple[Array, Array], None]:
        state, found = carry
        state = flat[state * columns + letter]
        return (state, found | jnp.asarray(lexicon.ends)[state]), None

    n = byte.shape[0]
    begin = (jnp.zeros(n, jnp.int32), jnp.zeros((n, lexicon.ends.shape[1]), bool))
    (_, found), _ = jax.lax.scan(step, begin, letters.T)
    return found


def named_of(lexicon: Lexicon, spelled: Text) -> Array:
    """`named` of captions by their bytes [B G Y]: bool[B G values]."""
    flat = (rearrange(x, "b g y -> (b g) y") for x in (spelled.ids, spelled.mask))
    return rearrange(constrain(named(lexicon, *flat)), "(b g) v -> b g v", b=spelled.ids.shape[0])
