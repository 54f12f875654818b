"""Weight decay pulls at matrices alone: not at norms and biases, whether their layers are stacked or not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from emojax.config import Optimizer
from emojax.decoder import captioner
from emojax.nn.layers import Linear, Norm
from emojax.training.optim import make_optimizer
from emojax.types import Tree
from support import made_up

CFG = made_up.config()


def nodes(tree: Tree) -> list[Any]:
    found = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, Linear | Norm))
    return [x for x in found if isinstance(x, Linear | Norm)]


def test_without_a_gradient_matrices_shrink_and_nothing_else_moves() -> None:
    params = jax.tree.map(lambda p: np.ones(p.shape, np.float32), captioner.declare(CFG))
    optimizer = make_optimizer(Optimizer(learning_rate=0.1, weight_decay=0.5, warmup=0), 100, captioner.declare(CFG))

    @jax.jit
    def updated(params: Tree) -> Tree:
        with jax.numpy_dtype_promotion("standard"):  # as in `optim.update`
            step, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
        return optax.apply_updates(params, step)

    after = nodes(updated(params))
    stacked = [x for x in after if isinstance(x, Norm) and x.scale.ndim == 2]
    assert stacked, "no norm of stacked layers was looked at"
    for node in after:
        matrix, rest = (node.w, [node.b]) if isinstance(node, Linear) else (None, [node.scale, node.bias])
        if matrix is not None:
            np.testing.assert_allclose(matrix, 1 - 0.1 * 0.5, rtol=1e-6)
        assert all((x == 1).all() for x in rest if x is not None), node
