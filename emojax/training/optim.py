"""AdamW with warm-up and cosine decay; updates that are not finite are skipped."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from emojax.config import Optimizer
from emojax.types import Array, TrainState, Tree


def make_optimizer(optimizer: Optimizer, updates: int, trained: Tree) -> optax.GradientTransformation:
    """
    Args:
      updates: optimizer updates of the whole run, over which the learning rate rises and falls.
      trained: the declaration of what is trained.
    """
    adamw = optax.adamw(
        schedule(optimizer, updates),
        optimizer.b1,
        optimizer.b2,
        eps=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
        mask=_matrices(trained),
    )
    return optax.chain(optax.clip_by_global_norm(optimizer.clip), adamw)


def schedule(optimizer: Optimizer, updates: int) -> optax.Schedule:
    """Learning rate by the number of updates before."""
    warmup = max(1, round(optimizer.warmup * updates))
    return optax.warmup_cosine_decay_schedule(
        optimizer.learning_rate / warmup,
        optimizer.learning_rate,
        warmup,
        max(updates, warmup + 1),
        optimizer.learning_rate / 10,
    )


@functools.lru_cache(maxsize=8)
def learning_rates(optimizer: Optimizer, updates: int) -> np.ndarray:
    """f32[updates] of all of a run, for its log."""
    rates = jax.jit(lambda: jax.vmap(schedule(optimizer, updates))(jnp.arange(updates)))
    with jax.numpy_dtype_promotion("standard"):
        return np.asarray(jax.device_get(rates()))


def _matrices(declared: Tree) -> Tree:
    """Weight decay leaves norms and biases alone, also those of layers that are stacked along L."""
    return jax.tree.map(lambda p: len(p.axes) - p.axes.count("L") > 1, declared)


def update(
    state: TrainState, grads: Tree, loss: Array, optimizer: optax.GradientTransformation
) -> tuple[TrainState, dict[str, Array]]:
    """One optimizer update, or none where the loss or a gradient is not finite."""
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    with jax.numpy_dtype_promotion("standard"):  # optax raises float32 decays to the power of an int32 count
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)

    def keep(new: Tree, old: Tree) -> Tree:
        return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

    state = dataclasses.replace(
        state,
        params=keep(params, state.params),
        opt_state=keep(opt_state, state.opt_state),
        skipped=jnp.where(finite, 0, state.skipped + 1),
    )
    return state, {"grad_norm": norm, "skipped": state.skipped, "updates": _made(state.opt_state)}


def _made(opt_state: Tree) -> Array:
    """i32[] updates until now, those that were skipped not counted."""
    counts = optax.tree_utils.tree_get_all_with_path(opt_state, "count")
    return counts[0][1] if counts else jnp.zeros((), jnp.int32)  # an optimizer that does not count
