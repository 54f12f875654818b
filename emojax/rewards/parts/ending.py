"""Endings: −1 for a caption that does not end as a sentence does, 0 for one that does.

Its last character, spaces, quotes and brackets aside, is one of . ! ? … 。 ！ ？ । ۔ ؟
"""

import jax.numpy as jnp
from einops import rearrange

from emojax.rewards.inputs import Captions
from emojax.rewards.part import NoOptions
from emojax.text.bytes import code_points
from emojax.types import Array, References

NEEDS = ("bytes",)
_ENDS = tuple(map(ord, ".!?…。！？।۔؟"))
_AFTER = tuple(map(ord, " \t\n\r\"')]}»”’」』）】\u3000"))


def score(options: NoOptions, arrays: None, captions: Captions, clips: References) -> Array:
    flat = (rearrange(x, "b g y -> (b g) y") for x in (captions.bytes.ids, captions.bytes.mask))
    point, begins = code_points(*flat)
    counts = begins & ~_among(point, _AFTER)
    place = jnp.where(counts, jnp.arange(point.shape[1])[None], -1).max(-1, keepdims=True)
    last = jnp.take_along_axis(point, jnp.maximum(place, 0), 1)
    ended = ((place >= 0) & _among(last, _ENDS))[:, 0]
    return rearrange(ended.astype(jnp.float32) - 1, "(b g) -> b g", b=captions.bytes.ids.shape[0])


def _among(point: Array, wanted: tuple[int, ...]) -> Array:
    return (point[..., None] == jnp.array(wanted).reshape((1,) * point.ndim + (-1,))).any(-1)
