"""The longest vocabulary piece, or every one, from every position at once: a walk down a double-array trie (Aoe 1989).

The child of a node along a symbol lies in slot `base[node] + symbol`, and it is a child if `parent` there names the
node: two gathers a step, for any vocabulary. There are two roots: pieces that begin a word and pieces that continue it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.text.expand import Table, lookup
from emojax.types import Array

NO_PIECE = -1
_NOWHERE = -1
_FREE = -2
_WINDOW = 1024  # slots searched at once


@struct.dataclass
class Trie:
    parent: Table  # i32[slots] the slot of the parent; the roots have the two numbers after the last slot
    base: Table  # i32[slots] 2 * base + (a piece ends here)
    piece: Table  # i32[slots] the id of the piece that ends here
    root: Table  # i32[2] base of the root of continuations and of the root of word beginnings
    depth: int = struct.field(pytree_node=False)  # symbols of the longest piece


def _nodes(pieces: list[list[int]], begins: np.ndarray, symbols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parent and incoming symbol of each node, the roots 0 and 1 first; and the node where each piece ends."""
    length = np.array([len(p) for p in pieces])
    table = np.zeros((len(pieces), length.max()), np.int64)
    table[np.arange(table.shape[1]) < length[:, None]] = np.concatenate(pieces)
    node, end = begins.astype(np.int64), np.zeros(len(pieces), np.int64)
    parents, incoming, count = [np.array([_NOWHERE, _NOWHERE])], [np.array([0, 0])], 2
    for depth in range(table.shape[1]):
        alive = length > depth
        edge, which = np.unique(node[alive] * symbols + table[alive, depth], return_inverse=True)
        node[alive] = count + which
        parents.append(edge // symbols)
        incoming.append(edge % symbols)
        count += len(edge)
        end[length == depth + 1] = node[length == depth + 1]
    return np.concatenate(parents), np.concatenate(incoming), end


def _place(parent: np.ndarray, symbol: np.ndarray, symbols: int) -> tuple[np.ndarray, int]:
    """A base for every node so that no two nodes share a slot, and the number of slots: first fit, large ones first."""
    order = np.argsort(parent, kind="stable")[2:]  # the roots are nobody's children
    owners, first, children = np.unique(parent[order], return_index=True, return_counts=True)
    families = np.argsort(-children, kind="stable")
    only = np.searchsorted(-children[families], -1)  # from here on, an only child
    base = np.zeros(len(parent), np.int64)
    used = np.zeros(2 * (len(parent) + symbols), bool)
    used[:symbols] = True  # so that a base, a slot less a symbol, is never negative
    low = symbols  # where the search begins: below, next to nothing is free
    for family in families[:only]:
        kin = symbol[order[first[family] : first[family] + children[family]]]
        at, fits = low - _WINDOW, np.zeros(0, np.int64)
        while not len(fits):
            at += _WINDOW
            while at + 2 * _WINDOW + symbols > len(used):
                used = np.concatenate([used, np.zeros_like(used)])
            free = at + np.flatnonzero(~used[at : at + _WINDOW])
            fits = free[~used[free[:, None] + (kin - kin[0])].any(1)]
        low = max(low, at - 2 * _WINDOW)
        base[owners[family]] = fits[0] - kin[0]
        used[fits[0] + kin - kin[0]] = True
    alone = families[only:]
    free = np.flatnonzero(~np.concatenate([used, np.zeros(len(alone), bool)]))[: len(alone)]
    base[owners[alone]] = free - symbol[order[first[alone]]]
    return base, int(base.max()) + symbols


def build_trie(pieces: list[list[int]], ids: np.ndarray, begins: np.ndarray, symbols: int) -> Trie:
    """
    Args:
      pieces: the symbols of each piece, none empty.
      ids: i32[pieces]
      begins: bool[pieces] True: at the beginning of a word only; False: inside a word only.
      symbols: how many symbols there are.
    """
    parent, symbol, end = _nodes(pieces, begins, symbols)
    base, slots = _place(parent, symbol, symbols)
    slot = base[parent] + symbol
    slot[:2] = slots, slots + 1
    table = np.full((3, slots), _FREE, np.int32)
    table[0, slot[2:]] = slot[parent[2:]]
    table[1, slot[2:]] = 2 * base[2:]
    table[1, slot[end]] += 1
    table[2, slot[end]] = ids
    return Trie(table[0], table[1], table[2], base[:2].astype(np.int32), int(max(map(len, pieces))))


def _descend(tables: Trie, node: Array, base: Array, symbol: Array) -> tuple[Array, Array, Array, Array]:
    """One step down: the child and its base (nowhere and 0 if there is none), whether a piece ends there, its slot."""
    slot = base + symbol
    child = lookup(tables.parent, slot) == node
    entry = lookup(tables.base, slot)
    return jnp.where(child, slot, _NOWHERE), jnp.where(child, entry // 2, 0), child & (entry % 2 == 1), slot


def longest_match(tables: Trie, symbol: Array, begins: Array) -> tuple[Array, Array]:
    """The longest piece from every position.

    Args:
      symbol: i32[N L], 0 between words.
      begins: bool[N L] True where a word begins.
    Returns:
      i32[N L] symbols of the piece, 0 where there is none, and i32[N L] its id, which means nothing there.
    """
    size = symbol.shape[1]
    ahead = jnp.pad(symbol, ((0, 0), (0, tables.depth)))

    def step(k: Array, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        node, base, length, last = carry
        ahead_by_k = jax.lax.dynamic_slice_in_dim(ahead, k, size, 1)
        node, base, ends, slot = _descend(tables, node, base, ahead_by_k)
        return node, base, jnp.where(ends, k + 1, length), jnp.where(ends, slot, last)

    root = begins.astype(jnp.int32)
    start = tables.parent.shape[0] + root, lookup(tables.root, root), jnp.zeros_like(symbol), jnp.zeros_like(symbol)
    _, _, length, last = jax.lax.fori_loop(0, min(tables.depth, size), step, start)
    return length, lookup(tables.piece, last)


def all_matches(tables: Trie, symbol: Array) -> Array:
    """The pieces from every position, of a trie without word beginnings.

    Args:
      symbol: i32[N L], 0 where no piece goes on.
    Returns:
      i32[depth N L]: at k the id of the piece of k + 1 symbols that begins here, NO_PIECE where there is none.
    """
    size = symbol.shape[1]
    ahead = jnp.pad(symbol, ((0, 0), (0, tables.depth)))

    def step(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Array]:
        ahead_by_k = jax.lax.dynamic_slice_in_dim(ahead, k, size, 1)
        node, base, ends, slot = _descend(tables, *carry, ahead_by_k)
        return (node, base), jnp.where(ends, lookup(tables.piece, jnp.where(ends, slot, 0)), NO_PIECE)

    root = jnp.full_like(symbol, tables.parent.shape[0]), lookup(tables.root, jnp.zeros_like(symbol))
    return jax.lax.scan(step, root, jnp.arange(tables.depth, dtype=jnp.int32))[1]
