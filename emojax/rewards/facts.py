"""What a caption states of its clip, and how much of it holds.

A fact is the emotion or an attribute of `reward.attributes`. Of each that is known of the clip a caption earns 1 if it
names the clip's value and no other, and is fined if it names another; what it does not speak of counts 0. The mean over
the known facts is the reward's part `facts`, at most 1. Ours: what a reward does not pay for, its policy invents.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import jax.numpy as jnp
import numpy as np

from emojax.config import ConfigError, Reward
from emojax.config.concepts import Attribute, with_forms
from emojax.types import Array

EMOTION = "emotion"


def known_facts(reward: Reward) -> tuple[Attribute, ...]:
    """The emotion first, then the attributes of the configuration.

    Raises:
      ConfigError: two have one name.
    """
    found = (Attribute(EMOTION, tuple(map(with_forms, reward.concepts))), *reward.attributes)
    names = [attribute.name for attribute in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"reward.attributes: {twice} are named twice (emotion is `reward.concepts`): rename them")
    return found


class Known(Protocol):
    """What is read of a clip (emojax.data.clips.Clip has it)."""

    @property
    def emotion(self) -> str | None: ...
    @property
    def attributes(self) -> Mapping[str, str]: ...


def values_of(clip: Known) -> dict[str, str | None]:
    """What is known of a clip, by the names of facts."""
    return {**clip.attributes, EMOTION: clip.emotion}


def numbers(facts: Sequence[Attribute], clips: Sequence[Mapping[str, str | None]]) -> np.ndarray:
    """The place of each clip's value among those of each fact, i32[clips Q]; -1 where it is not known.

    Raises:
      ConfigError: a value that the fact does not have, so that no caption could state it.
    """
    out = np.full((len(clips), len(facts)), -1, np.int32)
    for q, fact in enumerate(facts):
        place = {value.name: n for n, value in enumerate(fact.values)}
        unknown = sorted({value for clip in clips if (value := clip.get(fact.name)) is not None and value not in place})
        if unknown:
            wanted = "reward.concepts" if fact.name == EMOTION else f"reward.attributes ({fact.name})"
            raise ConfigError(
                f'values {unknown} of "{fact.name}" in the manifest are not among {sorted(place)}: rename them there, '
                f"or give their words in {wanted}"
            )
        out[:, q] = [place.get(clip.get(fact.name) or "", -1) for clip in clips]
    return out


def holds(named: Array, owner: Array, facts: Array) -> tuple[Array, Array]:
    """Of each fact, whether a caption states it and whether that is right, traceable.

    Args:
      named: bool[B G values] what captions name (`lexicon.named`).
      owner: i32[values] the fact that each value belongs to, ascending (`Lexicon.value`).
      facts: i32[B Q] of the clips, as `numbers` has them.
    Returns:
      bool[B G Q] each: stated, and right: the clip's value is named and no other.
    """
    member = owner[:, None] == jnp.arange(facts.shape[1])[None]  # [values Q]
    place = jnp.arange(len(owner)) - jnp.searchsorted(owner, owner)  # of a value among those of its fact
    true = (facts[:, owner] == place[None])[:, None]  # [B 1 values]

    def any_of(values: Array) -> Array:
        return (values[..., None] & member[None, None]).any(-2)

    return any_of(named), any_of(named & true) & ~any_of(named & ~true)


def pay(stated: Array, right: Array, facts: Array, fine: float) -> Array:
    """The reward of stated facts, f32[B G], -fine to 1; NaN where nothing is known of the clip."""
    known = (facts >= 0)[:, None]
    earned = right.astype(jnp.float32) - fine * (stated & ~right).astype(jnp.float32)
    return jnp.where(known, earned, 0).sum(-1) / known.sum(-1).astype(jnp.float32)  # 0 / 0 where nothing is known
