"""Label accuracy: 1 for a caption that names its clip's emotion and no other, 0 for any other; NaN without a label."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from emojax.config.concepts import Attribute, with_forms
from emojax.data.clips import label_numbers
from emojax.rewards import lexicon
from emojax.rewards.inputs import Captions
from emojax.rewards.lexicon import Lexicon
from emojax.rewards.part import NoOptions
from emojax.rewards.reader import Reader, Scored
from emojax.types import Array, References

NEEDS = ("bytes",)


def arrays(options: NoOptions, reader: Reader) -> Lexicon:
    return lexicon.build((Attribute("emotion", tuple(map(with_forms, reader.reward.concepts))),))


def of_clips(options: NoOptions, reader: Reader, clips: Sequence[Scored]) -> np.ndarray:
    """i32[clips]; -1: no label"""
    return np.array(label_numbers([clip.emotion for clip in clips], reader.reward.concepts), np.int32)


def score(options: NoOptions, arrays: Lexicon, captions: Captions, clips: References) -> Array:
    named = lexicon.named_of(arrays, captions.bytes)  # [B G values]
    own = (clips.own[:, None] == jnp.arange(named.shape[-1])[None])[:, None]
    right = (named == own).all(-1).astype(jnp.float32)
    return jnp.where(clips.own[:, None] >= 0, right, jnp.nan)
