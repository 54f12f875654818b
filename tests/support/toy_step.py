"""A step of some lines that has all that a real one's program is made of, and variants of it by one operation."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emojax.param import dotted
from emojax.reproduce.operations import Writer

PLANTED = ("reversed", "epsilon", "bias", "mask")


@jax.custom_vjp
def _doubled(x: jax.Array) -> jax.Array:
    return x + x


_doubled.defvjp(lambda x: (x + x, None), lambda _, g: (g + g,))


def step(
    key: jax.Array, mask: jax.Array, p: dict[str, jax.Array], x: jax.Array, how: str = ""
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """A gradient, a loss and drawn numbers: two layers, remat, a custom gradient, a while loop, a branch, noise."""

    @jax.checkpoint
    def layer(h: jax.Array, w: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        variance = jnp.square(h).mean(-1, keepdims=True)
        h *= jax.lax.rsqrt(variance + (2e-5 if how == "epsilon" else 1e-5))  # planted: epsilon
        h = jnp.tanh(h @ w["w"] + w["other" if how == "bias" else "b"])  # planted: bias
        return h, h[0, 0]

    def loss(p: dict[str, jax.Array]) -> jax.Array:
        h, firsts = jax.lax.scan(layer, x, p)
        pooled = (h if how == "mask" else jnp.where(mask[:, None], h, 0)) * 2  # planted: mask
        total = (_doubled(pooled)[::-1] if how == "reversed" else _doubled(pooled)).sum(0)  # planted: reversed
        return jnp.square(total).sum() + firsts.sum()

    value, gradient = jax.value_and_grad(loss)(p)
    _, drawn = jax.lax.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] + jax.random.uniform(jax.random.fold_in(key, c[0]))), (0, value)
    )
    drawn = jax.lax.cond(drawn > 0, jnp.exp, jnp.sin, drawn * 0.01)
    return gradient, value, drawn


def arguments(seed: int = 0) -> tuple[Any, ...]:
    r = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return r.normal(size=shape).astype(np.float32)

    p = {"w": normal(2, 6, 6), "b": normal(2, 1, 6), "other": normal(2, 1, 6)}
    return jax.random.key(seed), np.arange(304) % 3 > 0, p, normal(304, 6)


def evaluated(args: tuple[Any, ...], how: str = "", **writer: Any) -> Writer:
    """The step, written down operation by operation."""
    args = jax.tree.map(jnp.asarray, args)
    closed, shape = jax.make_jaxpr(functools.partial(step, how=how), return_shape=True)(*args)
    names = [dotted(path) for path, _ in jax.tree_util.tree_leaves_with_path(dict(zip("kmpx", args, strict=True)))]
    results = [dotted(path) for path, _ in jax.tree_util.tree_leaves_with_path(shape)]
    made = Writer(**writer)
    made.returned = made.step(closed, names, jax.tree.leaves(args), results)  # pyright: ignore[reportAttributeAccessIssue]
    return made


def line(how: str) -> str:
    """Where a variant differs, as records name it."""
    file = Path(__file__)
    text = file.read_text().splitlines()
    (number,) = (n for n, each in enumerate(text, 1) if each.endswith(f"# planted: {how}"))
    return f"tests/support/{file.name}:{number}"
