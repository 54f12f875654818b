"""From the parts of a reward to one number: a weighted sum, with gates, of what is scorable."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp

from emojax.config import ConfigError
from emojax.config.parts import Part
from emojax.types import Array


def combine(parts: Mapping[str, Array], about: Sequence[Part], progress: Array | float = 1.0) -> Array:
    """The reward f32[B G] of its parts, f32[B G] each, by name.

    A part that is NaN for all captions of a clip does not apply to it, and counts 0; one that is NaN for some of them
    makes these NaN, "not scorable", and so is a clip to which no part with a weight applies. A part with a gate counts
    0 in captions whose other part is not above its bound.

    Args:
      progress: how much of the run is over, 0 to 1, for weights that move; without it they are the last ones.

    >>> from emojax.config.parts import read
    >>> parts = {"facts": jnp.array([[1.0, 0.0]]), "sentence": jnp.array([[0.5, 0.5]])}
    >>> combine(parts, [read("facts*1"), read("sentence(if=facts>0)*0.5")]).tolist()
    [[1.25, 0.0]]
    """
    total, applies = 0.0, False
    for weight, score in paid(parts, about, progress):
        here = ~jnp.isnan(score).all(-1, keepdims=True)
        total += weight * jnp.where(here, score, 0)
        applies |= here
    return jnp.where(applies, total, jnp.nan)


def standardized(
    parts: Mapping[str, Array], about: Sequence[Part], sample: bool = False, progress: Array | float = 1.0
) -> Array:
    """`combine` with each part centred and divided by its deviation within the clip's captions first, so that no part
    drowns another by its scale (GDPO, arXiv 2601.05242): f32[B G], to be compared and not to be logged.

    A caption that a part cannot score has 0.

    Args:
      sample: deviations as `centred` has them.
      progress: as of `combine`.
    """
    total, applies = 0.0, False
    for weight, score in paid(parts, about, progress):
        apart, deviation = centred(score, sample)
        total += weight * jnp.where(deviation < SAME, 0, apart / (deviation + DELTA))
        applies |= jnp.isfinite(score)
    return jnp.where(applies, total, jnp.nan)


SAME = 1e-6  # rewards whose deviation is less do not differ
DELTA = 1e-4  # added to a deviation that is divided by, as in TRL (verl: 1e-6)


def centred(score: Array, sample: bool) -> tuple[Array, Array]:
    """Scores less their mean along the last axis, 0 where they are not finite, and their deviation, [... 1]. What is
    not finite counts in neither.

    Args:
      sample: the deviation is divided by n - 1, as in TRL, verl and Tunix, not by n, as in the paper of GRPO.
    """
    known = jnp.isfinite(score)
    n = jnp.maximum(known.sum(-1, keepdims=True), 1).astype(score.dtype)
    apart = jnp.where(known, score - jnp.where(known, score, 0).sum(-1, keepdims=True) / n, 0)
    return apart, jnp.sqrt(jnp.square(apart).sum(-1, keepdims=True) / jnp.maximum(n - int(sample), 1))


def weight_of(part: Part, progress: Array | float) -> Array | float:
    """Its weight when so much of the run is over, 0 to 1.

    >>> from emojax.config.parts import read
    >>> [weight_of(read(written), 0.25) for written in ("facts*0.5", "facts*0.5..1.5")]
    [0.5, 0.75]
    """
    return part.weight if part.last is None else part.weight + (part.last - part.weight) * progress


def paid(
    parts: Mapping[str, Array], about: Sequence[Part], progress: Array | float
) -> list[tuple[Array | float, Array]]:
    """Weights of the parts that have one, and their scores, gates applied."""
    if absent := [part.name for part in about if part.name not in parts]:
        raise ConfigError(f"reward.parts: {', '.join(absent)} are no parts of this reward, which has {sorted(parts)}")
    found = []
    for part in about:
        score = parts[part.name]
        if part.gate is not None:
            score = jnp.where(parts[part.gate.other] > part.gate.above, score, jnp.where(jnp.isnan(score), score, 0))
        if part.paid:
            found.append((weight_of(part, progress), score))
    return found
