"""Unicode's normal form C in the graph: what accents of their own and their letters become (Unicode 15, annex 15).

Text that has it already, nearly all, is told by its code points one by one and passes through. Any other is decomposed
by a table, its combining marks are sorted, and a scan over the code points composes them. All tables come from the
library's own normalisers, so that its Unicode version counts.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.text.expand import Table, expand, lookup, take
from emojax.text.normalize import PAGE, UNICODE, characters, text_of, utf8_sizes
from emojax.types import Array

_BAR = "|"  # composes with nothing
_RANKS = 256  # Unicode's combining classes are bytes
_HIGH, _LOW = 0x0345, 0x0334  # marks of the highest class and of the lowest: between them every mark is sorted


@struct.dataclass
class Composition:
    """Tables by entry: the number of a code point that is decomposed, sorted or composed; 0: any other."""

    page: Table  # i32[4352] the row of `entry` for code points of this high part
    entry: Table  # i32[pages 256]
    form: Table  # i32[entries width] its decomposition
    count: Table  # i32[entries] of it
    rank: Table  # i32[entries] order among marks; 0: no mark
    first: Table  # i32[entries] row of `pair`
    second: Table  # i32[entries] column of `pair`
    pair: Table  # i32[firsts seconds] the entry that both become, 0: none
    point: Table  # i32[entries] code point
    changes: Table  # bool[entries] what is to be done may depend on it
    growth: float = struct.field(pytree_node=False)  # code points of a decomposition per byte of text, at most


def _swapped(pairs: np.ndarray) -> np.ndarray:
    """bool[pairs]: whether sorting swaps the two code points i32[pairs 2], neither of which is decomposed."""
    from tokenizers import normalizers

    fenced = np.column_stack([pairs, np.full(len(pairs), ord(_BAR))])
    told = normalizers.NFD().normalize_str(text_of(fenced.reshape(-1)))
    told = np.frombuffer(told.encode("utf-32-le"), np.int32).reshape(-1, 3)
    return (told[:, :2] == pairs[:, ::-1]).all(1) & (pairs[:, 0] != pairs[:, 1])


def _ranks(plain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The marks among code points that are not decomposed, and their places in the order of marks, from 1."""
    high, low = _swapped(np.column_stack([np.full_like(plain, _HIGH), plain])), np.full_like(plain, _LOW)
    marks = plain[high | _swapped(np.column_stack([plain, low]))]
    left, right = np.repeat(marks, len(marks)), np.tile(marks, len(marks))
    below = _swapped(np.column_stack([left, right])).reshape(len(marks), -1).sum(1)
    return marks, 1 + np.unique(below, return_inverse=True)[1]


def _pairs(composites: np.ndarray, forms: list[str]) -> np.ndarray:
    """i32[composites 3]: the two code points that become each of them, and itself."""
    from tokenizers import normalizers

    without_last = normalizers.NFC().normalize_str(_BAR.join(form[:-1] for form in forms)).split(_BAR)
    pairs = [(ord(a), ord(form[-1]), c) for a, form, c in zip(without_last, forms, composites.tolist(), strict=True)]
    return np.array(pairs, np.int32).reshape(-1, 3)


@functools.cache
def build_composition() -> Composition:
    from tokenizers import normalizers

    form, start, end = characters(normalizers.NFD())
    again, start_again, end_again = characters(normalizers.NFC())
    every, count = np.arange(UNICODE), end - start
    kept = (end_again - start_again == 1) & (again[start_again] == every)  # by composition as well
    whole = (count == 1) & (form[start] == every)
    composites = np.flatnonzero(kept & ~whole)
    pairs = _pairs(composites, [text_of(form[start[c] : end[c]]) for c in composites])
    surrogate = (every >= 0xD800) & (every < 0xE000)
    marks, ranks = _ranks(every[whole & ~surrogate & (every != ord(_BAR))].astype(np.int32))

    points = np.unique(np.concatenate([[0], np.flatnonzero(~whole), marks, pairs[:, 0], pairs[:, 1]])).astype(np.int32)
    number = np.zeros(UNICODE, np.int32)
    number[points] = np.arange(len(points))  # U+0000 is no mark and no letter: its number is that of any other
    (firsts, first), (seconds, second) = (np.unique(pairs[:, side], return_inverse=True) for side in (0, 1))
    pair = np.zeros((len(firsts) + 1, len(seconds) + 1), np.int32)
    pair[first + 1, second + 1] = number[pairs[:, 2]]

    def by_entry(points: np.ndarray, values: np.ndarray) -> np.ndarray:
        table = np.zeros(number.max() + 1, np.int32)
        table[number[points]] = values
        return table

    place = np.arange(count.max())
    inside = place < count[points, None]
    forms = np.where(inside, form[np.where(inside, start[points, None] + place, 0)], 0)
    row, page = np.unique(number.reshape(-1, PAGE), axis=0, return_inverse=True)
    rank, column = by_entry(marks, ranks), by_entry(seconds, 1 + np.arange(len(seconds)))
    return Composition(
        page=page.reshape(-1).astype(np.int32),
        entry=row,
        form=forms.astype(np.int32),
        count=count[points].astype(np.int32),
        rank=rank,
        first=by_entry(firsts, 1 + np.arange(len(firsts))),
        second=column,
        pair=pair,
        point=points,
        changes=(rank > 0) | (column > 0) | ~kept[points],
        growth=float((count / utf8_sizes()).max()),
    )


def compose(tables: Composition, point: Array, begins: Array) -> tuple[Array, Array]:
    """
    Args:
      point: i32[N Y] code points; Y bytes were read.
      begins: bool[N Y], False where there is none.
    Returns:
      The same of the composed text; it has no more code points than bytes were read.
    """
    entry = _entries(tables, point)
    changes = (lookup(tables.changes, entry) & begins).any()
    return jax.lax.cond(changes, lambda: _composed(tables, point, begins, entry), lambda: (point, begins))


def _entries(tables: Composition, point: Array) -> Array:
    return lookup(tables.entry, (lookup(tables.page, point // PAGE), point % PAGE))


def _composed(tables: Composition, point: Array, begins: Array, entry: Array) -> tuple[Array, Array]:
    size = math.ceil(point.shape[1] * tables.growth)
    source, copy, filled = expand(jnp.where(begins, lookup(tables.count, entry), 0), size)
    entry = take(entry, source)
    point = jnp.where(entry == 0, take(point, source), lookup(tables.form, (entry, copy)))
    entry = jnp.where(filled, _entries(tables, point), 0)
    rank = lookup(tables.rank, entry)
    run = jnp.cumsum(rank == 0, -1, dtype=jnp.int32)
    order = run * _RANKS + rank
    _, point, entry, rank = jax.lax.sort((order, point, entry, rank), dimension=1, is_stable=True, num_keys=1)

    def step(state: tuple[Array, ...], at: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, Array]]:
        """State: of the last letter the row of `pair` and the entry that it has become, and the last mark's rank since
        then; -1: none was left between."""
        row, becomes, between = state
        entry, rank, there = at
        made = lookup(tables.pair, (row, lookup(tables.second, entry)))
        joins = (made > 0) & (between < rank) & there
        letter = (rank == 0) & ~joins
        row = jnp.where(joins | letter, lookup(tables.first, jnp.where(joins, made, entry)), row)
        becomes = jnp.where(joins, made, jnp.where(letter, 0, becomes))
        between = jnp.where(joins, between, jnp.where(letter, -1, rank))
        return (row, becomes, between), (joins, becomes)

    none = jnp.zeros(point.shape[0], jnp.int32)
    _, (joins, becomes) = jax.lax.scan(step, (none, none, none - 1), (entry.T, rank.T, filled.T))
    joins, becomes = joins.T, becomes.T
    letter = (rank == 0) & ~joins
    place = jnp.arange(size, dtype=jnp.int32)
    next_letter = jax.lax.cummin(jnp.where(letter, place, size), axis=1, reverse=True)
    until = jnp.pad(next_letter, ((0, 0), (0, 1)), constant_values=size)[:, 1:] - 1
    final = jnp.where(letter, take(becomes, until), 0)
    point = jnp.where(final > 0, lookup(tables.point, final), point)
    source, _, filled = expand((filled & ~joins).astype(jnp.int32), begins.shape[1])
    return jnp.where(filled, take(point, source), 0), filled
