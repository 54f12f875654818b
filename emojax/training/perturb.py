"""One weight moved by so little that only rounding can tell: how far do two runs part that begin so?"""

import jax
import jax.numpy as jnp
import numpy as np

from emojax.param import dotted
from emojax.types import Array, Tree


def perturbed(params: Tree, ulps: int) -> Tree:
    """The middle number of the largest leaf moved by so many ulps, towards plus infinity; 0: the same tree.

    >>> moved = perturbed({"w": jnp.float32([[1, -2, 3]]), "b": jnp.zeros(2)}, 2)
    >>> float((moved["w"][0, 1] + 2) / np.spacing(np.float32(1.9)))
    2.0
    """
    if not ulps:
        return params
    path, _ = max(jax.tree_util.tree_leaves_with_path(params), key=lambda at: (at[1].size, dotted(at[0])))
    return jax.tree_util.tree_map_with_path(lambda at, x: _moved(x, ulps) if at == path else x, params)


def _moved(x: Array, ulps: int) -> Array:
    middle = tuple(int(i) for i in np.unravel_index(x.size // 2, x.shape))

    def one(x: Array) -> Array:
        raw = jax.lax.bitcast_convert_type(x[middle], jnp.uint32)
        raw = jnp.where(raw >> 31 > 0, raw - ulps, raw + ulps)
        return x.at[middle].set(jax.lax.bitcast_convert_type(raw, jnp.float32))

    return jax.jit(one, out_shardings=x.sharding)(x)
