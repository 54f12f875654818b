"""Over-long captions, in the policy's tokens (DAPO's soft punishment, arXiv 2503.14476, eq. 13).

0 up to `limit - soft` tokens, from there falling to −1 at `limit`. The end token is not counted.
"""

from dataclasses import dataclass

import jax.numpy as jnp

from emojax.errors import require
from emojax.rewards.inputs import Captions
from emojax.types import Array, References

NEEDS = ("policy",)


@dataclass(frozen=True)
class Options:
    limit: int  # tokens
    soft: int

    def __post_init__(self) -> None:
        require(0 < self.soft <= self.limit, f"wants 0 < soft <= limit, got soft={self.soft}, limit={self.limit}")


def score(options: Options, arrays: None, captions: Captions, clips: References) -> Array:
    count = captions.policy.mask.sum(-1).astype(jnp.float32)
    return -jnp.clip((count - (options.limit - options.soft)) / options.soft, 0, 1)
