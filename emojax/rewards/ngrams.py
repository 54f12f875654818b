"""n-grams of texts by plain comparison of all their places, in the graph: no table of n-grams is made."""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp

from emojax.rewards.inputs import Captions
from emojax.types import Array, References, Text

Tokens = Literal["words", "reward", "policy"]
_FIELD = {"words": "words", "reward": "tokens", "policy": "policy"}


def needs(tokens: Tokens) -> tuple[str, ...]:
    return (_FIELD[tokens],)


def both(tokens: Tokens, captions: Captions, clips: References) -> tuple[Text, Text]:
    """The captions' tokens [B G S] and those of the references [B R T]."""
    return getattr(captions, _FIELD[tokens]), getattr(clips, _FIELD[tokens])


def places(text: Text, n: int) -> Array:
    """Where n-grams begin, bool[... S]."""
    size = text.mask.shape[-1]
    padded = jnp.pad(text.mask, [(0, 0)] * (text.mask.ndim - 1) + [(0, n - 1)])
    return padded[..., n - 1 : n - 1 + size]  # tokens stand side by side


def equal(a: Text, b: Text, n: int) -> Array:
    """Whether the n-gram at i of one is that at j of the other, bool[... S T]; False where either begins none."""
    same = a.ids[..., :, None] == b.ids[..., None, :]
    found = same
    for k in range(1, n):
        shifted = jnp.pad(same[..., k:, k:], [(0, 0)] * (same.ndim - 2) + [(0, k), (0, k)])
        found &= shifted
    return found & places(a, n)[..., :, None] & places(b, n)[..., None, :]


def earlier(text: Text, n: int) -> Array:
    """How often the n-gram at each place has stood before it, i32[... S]."""
    size = text.mask.shape[-1]
    before = jnp.tril(jnp.ones((size, size), bool), -1)
    same = equal(text, text, n)
    return (same & before.reshape((1,) * (same.ndim - 2) + before.shape)).sum(-1)


def lengths(text: Text) -> Array:
    return text.mask.sum(-1)


def sides(captions: Text, references: Text) -> tuple[Text, Text]:
    """[B G S], [B R T] -> [B G 1 S], [B 1 R T], to be compared each with each."""
    return (
        Text(captions.ids[:, :, None], captions.mask[:, :, None]),
        Text(references.ids[:, None], references.mask[:, None]),
    )


def sums(values: Sequence[Array]) -> Array:
    return jnp.stack(list(values), -1).sum(-1)
