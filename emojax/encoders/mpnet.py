"""MPNet (Song et al. 2020, arXiv 2004.09297): BERT's layers, and what a position thinks of another by their distance.

That bias of the attention's scores is of buckets of distances (Raffel et al. 2019, arXiv 1910.10683, section 2.1),
one table for all layers.
"""

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct

from emojax.config import MpnetConfig
from emojax.encoders.bert import Layer, counted, declare_layers, run
from emojax.encoders.mpnet_files import BUCKETS
from emojax.encoders.mpnet_files import config as config
from emojax.encoders.mpnet_files import names as names
from emojax.nn.layers import Norm, beside, declare_norm, layer_norm
from emojax.param import Param, normal
from emojax.types import Array, Weight

# the smallest distance of each bucket but the first: one by one up to 8, then eight to each factor of 16, up to 128
_NEAREST = np.array([*range(1, 8), *np.ceil(8 * 16 ** (np.arange(8) / 8))], np.int32)


@struct.dataclass
class Mpnet:
    tokens: Weight  # [V D]
    positions: Weight  # [positions D]
    norm: Norm
    distance: Weight  # [buckets N]
    layers: Layer  # stacked on L


def declare(sizes: MpnetConfig) -> Mpnet:
    d, table = sizes.width, normal(0.02)
    return Mpnet(
        tokens=Param((sizes.vocab, d), ("V", "D"), table),
        positions=Param((sizes.positions, d), (None, "D"), table),
        norm=declare_norm(d),
        distance=Param((BUCKETS, sizes.heads), (None, "N"), table),
        layers=declare_layers(sizes),
    )


def encode(params: Mpnet, ids: Array, mask: Array, sizes: MpnetConfig) -> Array:
    """Hidden states of the last layer.

    Args:
      ids: i32[N T], special tokens included; T + 2 rows of positions at most.
      mask: bool[N T], True on tokens; no position attends to the others, whose own result means nothing.
    Returns:
      [N T D]
    """
    x = params.tokens[ids] + params.positions[counted(ids, mask, sizes.first_position)]
    place = jnp.arange(ids.shape[1])
    bias = rearrange(params.distance[bucket(place[None] - place[:, None])], "t s n -> n t s")
    return run(params.layers, layer_norm(params.norm, x, sizes.norm_eps), mask, sizes, bias)


def bucket(ahead: Array) -> Array:
    """The bucket of each distance i32[...] from a query to a key, negative where the key is before it."""
    away = jnp.abs(ahead)[..., None]
    return jnp.where(ahead > 0, BUCKETS // 2, 0) + (away >= beside(away, _NEAREST)).sum(-1)
