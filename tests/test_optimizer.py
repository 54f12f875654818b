"""Optimizers and learning rates: weight decay pulls at matrices alone, not at norms and biases, whether their layers
are stacked or not; every kind steps against its gradient; rates rise and fall as their schedule says."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emojax import param
from emojax.config import Mesh, Optimizer
from emojax.decoder import captioner
from emojax.nn.layers import Linear, Norm
from emojax.param import Param
from emojax.training import optim
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


DECLARED = {
    "layers": Param((2, 3, 4), ("L", "D", "F"), param.normal(1.0)),
    "scales": Param((2, 3), ("L", "D"), param.ones),
    "table": Param((5, 3), ("V", "D"), param.normal(1.0)),
    "frozen": None,
}
WEIGHTS = {name: p and np.asarray(param.init({name: p}, jax.random.key(0))[name]) for name, p in DECLARED.items()}
KINDS = ("adamw", "lion", "adafactor", "muon")


def stepped(kind: str, gradient: float, weight_decay: float = 0.0) -> Tree:
    """What one update of the first step adds to the weights."""
    about = Optimizer(kind=kind, learning_rate=0.1, weight_decay=weight_decay, warmup=0, schedule="constant")  # pyright: ignore[reportArgumentType]
    optimizer = make_optimizer(about, 10, DECLARED)
    grads = jax.tree.map(lambda x: gradient * x, WEIGHTS)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return optimizer.update(grads, optimizer.init(WEIGHTS), WEIGHTS)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimizer_steps_against_the_gradient_and_decays_matrices_at_its_learning_rate(kind: str) -> None:
    plain, decayed = stepped(kind, 1.0), stepped(kind, 1.0, weight_decay=0.5)
    for name in ("layers", "scales", "table"):
        assert (plain[name] * WEIGHTS[name]).sum() < 0, name
        decays = name == "layers" or (name == "table" and kind != "muon")  # tables are Adam's there, without decay
        pulled = -0.1 * 0.5 * WEIGHTS[name] if decays else 0
        np.testing.assert_allclose(decayed[name] - plain[name], pulled + 0 * WEIGHTS[name], atol=1e-6)


def test_muon_orthogonalizes_each_matrix_of_the_layers() -> None:
    step = stepped("muon", 1.0)["layers"]
    singular = np.linalg.svd(step, compute_uv=False)
    assert singular.shape == (2, 3)
    assert (singular / singular.mean(-1, keepdims=True)).std() < 0.25, (
        "one length in every direction, but for five rounds"
    )
    np.testing.assert_allclose(np.sqrt(np.square(step).mean((1, 2))), 0.1 * 0.2, rtol=0.3)


@pytest.mark.parametrize(
    ("schedule", "after"),
    [("cosine", (0.55, 0.186, 0.1)), ("linear", (0.55, 0.28, 0.1)), ("constant", (1, 1, 1)), ("wsd", (1, 0.55, 0.1))],
)
def test_learning_rates(schedule: str, after: tuple[float, ...]) -> None:
    """Of 100 updates that warm up, and at 50, 80 and 100 of the 100 after them."""
    about = Optimizer(learning_rate=1.0, schedule=schedule, warmup=0.5, decay=0.2)  # pyright: ignore[reportArgumentType]
    rates = [float(optim.schedule(about, 200)(n)) for n in (0, 50, 100, 150, 180, 200)]
    np.testing.assert_allclose(rates, [0.01, 0.505, 1, *after], rtol=1e-3)


@pytest.mark.parametrize("kind", ["adamw", "lion", "adafactor", "muon"])
def test_a_moment_as_large_as_its_weight_lies_where_that_lies(kind: str) -> None:
    sft = dataclasses.replace(CFG.sft, optimizer=Optimizer(kind=kind))  # pyright: ignore[reportArgumentType]
    cfg = dataclasses.replace(CFG, sft=sft, mesh=Mesh(data=2, fsdp=2, model=2))
    state = made_up.sft(cfg, 8).state
    whole = {path[-3:]: w for path, w in jax.tree.leaves_with_path(state.params)}
    alike = [(whole[path[-3:]], m) for path, m in jax.tree.leaves_with_path(state.opt_state) if path[-3:] in whole]
    alike = [(w, m) for w, m in alike if w.shape == m.shape and not w.sharding.is_fully_replicated]
    assert len(alike) > 50
    for weight, moment in alike:
        assert moment.sharding == weight.sharding
