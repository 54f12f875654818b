"""What a step of Emo-GRPO carries besides weights and optimizer: weights of the loss that follow a target, and a
reference policy that follows the policy; and what moves with the steps: the temperature, weights of the reward."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emojax.config import Config, Grpo
from emojax.config.parts import Part, read_all
from emojax.rewards.combine import weight_of
from emojax.types import Array, Metrics, TrainState, Tree

GAIN, MOST = 0.1, 0.2  # of the controller (arXiv 1909.08593, §2.2): at most 2 % a step


@struct.dataclass
class Weights:
    """Of the divergence, and of the entropy, f32[]; and what moves with the steps."""

    beta: Array
    entropy: Array
    progress: Array | float = 1.0  # how much of the run is over, 0 to 1, where anything moves with it
    sharpness: Array | None = None  # what logits are multiplied by before `sampling.temperature`; None: nothing moves


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


def weights(state: TrainState, cfg: Config) -> Weights:
    there, grpo = state.controls or {}, cfg.grpo
    beta, entropy = there.get("beta", grpo.beta), there.get("entropy_weight", grpo.entropy_weight)
    found = Weights(jnp.float32(beta), jnp.float32(entropy))
    if not (grpo.temperature_last or moving(cfg)):
        return found
    progress = jnp.minimum(state.step.astype(jnp.float32) / max(cfg.steps - 1, 1), 1)
    sharpness = grpo.sampling.temperature / _temperature(grpo, progress) if grpo.temperature_last else None
    return dataclasses.replace(found, progress=progress, sharpness=sharpness)


def _temperature(grpo: Grpo, progress: Array | float) -> Array | float:
    first = grpo.sampling.temperature
    return first + (grpo.temperature_last - first) * progress


def moving(cfg: Config) -> list[Part]:
    """Parts of the reward whose weight moves."""
    return [part for part in read_all(cfg.reward.parts) if part.last is not None]


def moved(weights: Weights, cfg: Config) -> Metrics:
    """What moves with the steps, as it is in this one: temperature, weight_NAME."""
    told: Metrics = {f"weight_{part.name}": weight_of(part, weights.progress) for part in moving(cfg)}
    return told | ({"temperature": _temperature(cfg.grpo, weights.progress)} if cfg.grpo.temperature_last else {})


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
