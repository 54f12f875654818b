"""A linear map of [B G T D] is one product of two matrices on one device, and never merges axes that are sharded."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from emojax.nn.layers import Linear, linear

SHAPE = (4, 2, 3, 8)  # B G T D
WEIGHT = jax.ShapeDtypeStruct((8, 5), "float32")


def gradient(p: Linear, x: jax.Array) -> Linear:
    return jax.grad(lambda p: jnp.sin(linear(p, x)).sum())(p)


@pytest.mark.parametrize("devices", [0, 1, 4])
def test_the_gradient_sums_over_one_axis_where_no_axis_is_sharded(devices: int) -> None:
    """0: no mesh."""
    args = Linear(WEIGHT, jax.ShapeDtypeStruct((5,), "float32")), jax.ShapeDtypeStruct(SHAPE, "float32")
    if devices:
        mesh = Mesh(
            np.array(jax.devices()[:devices]).reshape(-1, 1, 1), ("data", "fsdp", "model"), (AxisType.Auto,) * 3
        )
        with jax.set_mesh(mesh):
            told = str(jax.make_jaxpr(gradient)(*args))
    else:
        told = str(jax.make_jaxpr(gradient)(*args))
    summed = {found.count(",") for found in re.findall(r"dimension_numbers=\(\(\[([\d, ]*)\]", told)}
    assert summed == ({0, 2} if devices > 1 else {0})


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_product_of_each_row(bias: bool) -> None:
    r = np.random.default_rng(0)
    x, w, b = (r.normal(size=shape).astype(np.float32) for shape in (SHAPE, WEIGHT.shape, WEIGHT.shape[1:]))
    p = Linear(w, b if bias else None)
    np.testing.assert_allclose(linear(p, x), x.astype(np.float64) @ w + (b if bias else 0), rtol=1e-5, atol=1e-6)
    found = gradient(p, x)
    each = np.cos(x.astype(np.float64) @ w + (b if bias else 0)).reshape(-1, 5)
    np.testing.assert_allclose(found.w, x.reshape(-1, 8).T @ each, rtol=1e-5, atol=1e-5)
