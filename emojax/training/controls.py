"""What a step of Emo-GRPO carries besides weights and optimizer: weights of the loss that follow a target, and a
reference policy that follows the policy."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emojax.config import Grpo
from emojax.types import Array, Metrics, TrainState, Tree

GAIN, MOST = 0.1, 0.2  # of the controller (arXiv 1909.08593, §2.2): at most 2 % a step


@struct.dataclass
class Weights:
    """Of the divergence, and of the entropy, f32[]."""

    beta: Array
    entropy: Array


def begin(params: Tree, optimizer: optax.GradientTransformation, grpo: Grpo | None = None) -> TrainState:
    """The state before the first step.

    Args:
      params: what is trained.
      grpo: of Emo-GRPO.
    """
    zero = jnp.zeros((), jnp.int32)
    state = TrainState(step=zero, params=params, opt_state=optimizer.init(params), skipped=zero)
    if grpo is None:
        return state
    held = {"beta": grpo.beta} if grpo.kl_target else {}
    held |= {"entropy_weight": grpo.entropy_weight} if grpo.entropy_target else {}
    return dataclasses.replace(
        state,
        reference=params if grpo.reference_every else None,
        controls={name: jnp.float32(value) for name, value in held.items()} or None,
    )


def weights(state: TrainState, grpo: Grpo) -> Weights:
    there = state.controls or {}
    beta, entropy = there.get("beta", grpo.beta), there.get("entropy_weight", grpo.entropy_weight)
    return Weights(jnp.float32(beta), jnp.float32(entropy))


def carried(state: TrainState, metrics: Metrics, grpo: Grpo) -> tuple[TrainState, Metrics]:
    """The state after a step, whose metrics have `kl` and `entropy`; and the controlled weights that it had."""
    controls = dict(state.controls or {})
    if grpo.kl_target:
        controls["beta"] = steered(controls["beta"], metrics["kl"] / grpo.kl_target - 1)
    if grpo.entropy_target:
        controls["entropy_weight"] = steered(controls["entropy_weight"], 1 - metrics["entropy"] / grpo.entropy_target)
    reference = state.reference
    if grpo.reference_every:
        due, share = (state.step + 1) % grpo.reference_every == 0, grpo.reference_share

        def move(then: Array, now: Array) -> Array:
            return jnp.where(due, (1 - share) * then + share * now, then)

        reference = jax.tree.map(move, reference, state.params)
    return dataclasses.replace(state, reference=reference, controls=controls or None), state.controls or {}


def steered(weight: Array, error: Array) -> Array:
    """A weight that grows while what it holds back is too large, by a relative error (arXiv 1909.08593, §2.2).

    >>> [round(float(steered(jnp.float32(1), jnp.float32(error))), 3) for error in (-9, 0, 0.1, 9)]
    [0.98, 1.0, 1.01, 1.02]
    """
    error = jnp.where(jnp.isfinite(error), error, 0)
    return weight * (1 + GAIN * jnp.clip(error, -MOST, MOST))
