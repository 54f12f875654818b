"""Conversions of tokens on other devices and in another mode."""

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from emojax import text


def same_in_64_bits_and_in_shards(tables: text.Tables, ids: np.ndarray) -> str:
    """Asserts that neither 64-bit mode nor eight devices change a token; gives the program of these as text."""
    expected = jax.tree.map(np.asarray, jax.jit(text.retokenize)(tables, ids))
    with jax.enable_x64(True):
        wide = jax.jit(text.retokenize)(tables, ids)
    for a, b in zip(expected, wide, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    shards, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    args = jax.device_put(tables, whole), jax.device_put(ids, shards)
    program = jax.jit(text.retokenize, out_shardings=shards).lower(*args).compile()
    for a, b in zip(expected, program(*args), strict=True):
        np.testing.assert_array_equal(a, b)
    return program.as_text()
