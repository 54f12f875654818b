"""Emo-GRPO (MECap-R1, arXiv 2509.18729; GRPO, arXiv 2402.03300): one step, one program.

Media encoders, prefill, group rollout, re-tokenising, reward model, advantages, KL-regularised policy gradient and
optimizer, in the order in which they stand below. The clip is encoded once and its prefix prefilled once; the G samples
share its keys and values in the rollout, and again in the update, which runs the prefix once more with gradients.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emojax.config import Config, Grpo
from emojax.decoder import lm
from emojax.decoder.captioner import Params, learns_media, matmul_precision, over
from emojax.encoders import media
from emojax.parallel import sharding
from emojax.training import controls
from emojax.training.advantages import advantages
from emojax.training.divergence import divergence
from emojax.training.measure import policy_metrics, rollout_metrics
from emojax.training.roll_out import RewardFunction, Rolled, keep, roll_out
from emojax.training.updates import Before, Rows, look_back, updates
from emojax.types import Array, Batch, Metrics, Samples, TrainState, Tree


@struct.dataclass
class Frozen:
    """What Emo-GRPO reads and does not train. Arguments of the program, never constants in it.

    Encoders and decoder are the reference policy's, the captioner of the cold start. Where beta is 0 there is none, and
    where it moves the state has its weights: then they are what is not trained, None elsewhere.
    """

    encoders: media.Encoders
    reference: lm.Lm
    reward: Tree  # arrays of the reward function


def grpo_step(
    state: TrainState,
    frozen: Frozen,
    batch: Batch,
    key: Array,
    *,
    cfg: Config,
    optimizer: optax.GradientTransformation,
    reward: RewardFunction,
) -> tuple[TrainState, Metrics]:
    """One rollout and `cfg.grpo.updates_a_step` optimizer updates on it.

    Args:
      state: its `params` are the decoder or, where more is trained, the captioner, None where a weight is frozen: that
        is the reference policy's own.
      batch: of `cfg.grpo.rolled` clips, with `references`.
      reward: what scores the samples, such as `rewards.score` of a RewardStatic.
      key: of the run; step, clip, sample and position are folded in.
    Returns:
      The next state and metrics: loss, grad_norm, skipped and those of `measure`, all f32[]; and `samples`.
    """
    grpo = cfg.grpo
    with matmul_precision(cfg):
        reference = over(state.reference, Params(frozen.encoders, frozen.reference))
        policy, weights = over(state.params, reference), controls.weights(state, cfg)
        key = jax.random.fold_in(key, state.step)
        every = roll_out(policy, reward, frozen.reward, batch, key, weights, cfg)
        rolled = keep(every, grpo.batch)
        anew = learns_media(state.params)
        before = look_back(policy, reference, rolled, weights, cfg, anew) if grpo.looks_back else None
        advantage = advantages(compared(rolled, before, weights.beta, grpo), grpo, rolled.greedy)
        rows = Rows(rolled.batch, rolled.streams, rolled.samples, advantage, before)
        state, scores, metrics = updates(state, reference, rows, weights, cfg, optimizer)
        metrics |= policy_metrics(rolled.samples, before.scores if before else scores, scores, advantage, grpo)
        metrics |= rollout_metrics(every, rolled, cfg)
        state, held = controls.carried(state, metrics, grpo)
        drawn = rolled.samples
        samples = Samples(rolled.batch.clip_id, drawn.ids, drawn.mask, rolled.reward, rolled.parts, advantage)
        metrics |= held | controls.moved(weights, cfg)
        metrics["samples"] = sharding.constrain(samples)  # they stay where they are: a log reads one clip
        return dataclasses.replace(state, step=state.step + 1), metrics


def compared(rolled: Rolled, before: Before | None, beta: Array, grpo: Grpo) -> Array:
    """Rewards f32[B G] that are compared with each other; less the divergence of the whole caption, if asked."""
    if before is None or not grpo.beta or grpo.kl_in == "loss":
        return rolled.compared
    told = before.scores
    assert told.reference is not None, "where there is beta there is a reference policy"
    each = divergence(told.logp, told.reference, told.divergence, grpo)
    return rolled.compared - beta * jnp.where(rolled.samples.mask, each, 0).sum(-1)
