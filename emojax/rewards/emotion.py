"""Emotion coordinates: where a caption lies among the emotions, read off its sentence embedding (method.md, ours).

Anchors b_k are mean embeddings of an emotion's words in short templates, mu their mean. A caption's coordinates are
z = M norm(E(Y) - mu), with M made once on the host in float64 from the centred anchors; r_emo is the cosine of two z.
Centring is not cosmetic: without it all captions lie close together.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.config.concepts import Concept
from emojax.nn.layers import beside
from emojax.rewards.sentence import unit
from emojax.types import Array

_RANK = 1e-6  # singular values below this share of the largest are zero: centring takes one from the rank


@struct.dataclass
class Coordinates:
    mean: Array  # f32[E] mu; 0 without centring
    basis: Array  # f32[C E] M; for `orthonormal` as many rows as the anchors have rank


def phrases(concepts: Sequence[Concept], templates: Sequence[str]) -> list[list[str]]:
    """The texts whose embeddings make each concept's anchor: its words in every template."""
    return [[template.format(word) for word in concept.words for template in templates] for concept in concepts]


def build_space(embeddings: Sequence[np.ndarray], kind: str, center: bool) -> Coordinates:
    """The coordinate space, on the host, in float64.

    Args:
      embeddings: one array [phrases E] a concept.
      kind: `cosine`: z_k = <e, b_k>; `least_squares`: z = pinv(B^T) e; `orthonormal`: z = Q^T e with Q a basis of the
        anchors' span.
      center: take the mean anchor off anchors and captions.
    """
    anchors = np.stack([_unit(_unit(np.asarray(e, np.float64)).mean(0)) for e in embeddings])
    mean = anchors.mean(0) if center else np.zeros(anchors.shape[1])
    anchors = _unit(anchors - mean)
    if kind == "cosine":
        basis = anchors
    elif kind == "least_squares":
        basis = np.linalg.pinv(anchors.T, rcond=_RANK)
    elif kind == "orthonormal":
        _, size, rows = np.linalg.svd(anchors, full_matrices=False)
        basis = rows[size > _RANK * size[0]]
    else:
        raise ValueError(f"coordinates {kind!r}: wanted cosine, least_squares or orthonormal")
    return Coordinates(jnp.asarray(mean, jnp.float32), jnp.asarray(basis, jnp.float32))


def project(space: Coordinates, embedding: Array) -> Array:
    """Unit embeddings [... E] -> coordinates [... C].

    >>> joy, anger = np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]])  # a phrase each, width 3
    >>> space = build_space([joy, anger], kind="cosine", center=True)
    >>> project(space, jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])).round(3).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    return jnp.einsum("...e,ce->...c", unit(embedding - beside(embedding, space.mean)), space.basis)


def cosine(a: Array, b: Array) -> Array:
    """[... E], [... E] -> [...]"""
    return (unit(a) * unit(b)).sum(-1)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
