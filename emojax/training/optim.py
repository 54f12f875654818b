"""Optimizers and learning rates, as optax has them; updates that are not finite are skipped."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from emojax.config import Optimizer
from emojax.param import Param
from emojax.types import Array, TrainState, Tree


def make_optimizer(optimizer: Optimizer, updates: int, trained: Tree) -> optax.GradientTransformation:
    """
    Args:
      updates: optimizer updates of the whole run, over which the learning rate rises and falls.
      trained: the declaration of what is trained.
    """
    return optax.chain(optax.clip_by_global_norm(optimizer.clip), _made_of(optimizer, updates, trained))


def _made_of(of: Optimizer, updates: int, trained: Tree) -> optax.GradientTransformation:
    """Weight decay is multiplied with the learning rate, and leaves norms and biases alone."""
    rate, decayed = schedule(of, updates), jax.tree.map(_is_matrix, trained)
    match of.kind:
        case "adamw":
            return optax.adamw(rate, of.b1, of.b2, eps=of.epsilon, weight_decay=of.weight_decay, mask=decayed)
        case "lion":
            return optax.lion(rate, of.b1, of.b2, weight_decay=of.weight_decay, mask=decayed)
        case "adafactor":  # its steps are relative to the size of a weight
            decay = optax.add_decayed_weights(of.weight_decay, decayed)
            return optax.chain(optax.adafactor(1.0), optax.scale(-1), decay, optax.scale_by_learning_rate(rate))
        case "muon":  # of matrices that are no tables; Adam with the same momentum for the rest
            axes = optax.contrib.MuonDimensionNumbers(-2, -1)
            return optax.contrib.muon(
                rate,
                beta=of.b1,
                eps=of.epsilon,
                weight_decay=of.weight_decay,
                adam_b1=of.b1,
                adam_b2=of.b2,
                muon_weight_dimension_numbers=jax.tree.map(
                    lambda p: axes if _is_matrix(p) and "V" not in p.axes else None, trained
                ),
                consistent_rms=0.2,  # steps as long as Adam's, at the same learning rate (arXiv 2502.16982)
            )


def _is_matrix(p: Param) -> bool:
    """Also where layers are stacked along L."""
    return len(p.axes) - p.axes.count("L") > 1


def schedule(optimizer: Optimizer, updates: int) -> optax.Schedule:
    """Learning rate by the number of updates before."""
    rate, last = optimizer.learning_rate, optimizer.learning_rate * optimizer.final
    warmup = max(1, round(optimizer.warmup * updates))
    left = max(updates - warmup, 1)
    match optimizer.schedule:
        case "cosine":
            after = optax.cosine_decay_schedule(rate, left, optimizer.final)
        case "linear":
            after = optax.linear_schedule(rate, last, left)
        case "constant":
            after = optax.constant_schedule(rate)
        case "wsd":
            fall = min(max(1, round(optimizer.decay * updates)), left)
            after = optax.linear_schedule(rate, last, fall, left - fall)
    return optax.join_schedules([optax.linear_schedule(rate / warmup, rate, warmup), after], [warmup])


@functools.lru_cache(maxsize=8)
def learning_rates(optimizer: Optimizer, updates: int) -> np.ndarray:
    """f32[updates] of all of a run, for its log."""
    rates = jax.jit(lambda: jax.vmap(schedule(optimizer, updates))(jnp.arange(updates)))
    with jax.numpy_dtype_promotion("standard"):
        return np.asarray(jax.device_get(rates()))


def update(
    state: TrainState, grads: Tree, loss: Array, optimizer: optax.GradientTransformation
) -> tuple[TrainState, dict[str, Array]]:
    """One optimizer update, or none where the loss or a gradient is not finite."""
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # optax is written so
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
