"""What a step of Emo-GRPO learns from: captions that the policy samples, their rewards, and which clips are kept."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from emojax.config import Config
from emojax.config.parts import read_all
from emojax.decoder.captioner import Params, sample
from emojax.decoder.sample import Drawing
from emojax.parallel.sharding import constrain
from emojax.rewards.combine import centred, combine, standardized
from emojax.training.controls import Weights, moving
from emojax.training.parts import in_parts
from emojax.types import Array, Batch, Prefix, Rollout, Tree

RewardFunction = Callable[[Tree, Array, Array, Any], tuple[Array, dict[str, Array]]]
"""(frozen.reward, ids i32[B G T], mask bool[B G T], References) -> reward f32[B G] and its parts by name; traceable."""


@struct.dataclass
class Rolled:
    """Clips, their captions and what these earned, [B ...]."""

    batch: Batch
    streams: Prefix
    samples: Rollout
    reward: Array  # f32[B G]
    parts: dict[str, Array]  # f32[B G] of the reward, by name
    compared: Array  # f32[B G] the reward, or what is compared in its place
    greedy: Array | None  # f32[B] reward of the greedy caption, where it is compared with

    def spread(self) -> Array:
        """Deviation f32[B] of what is compared, in each group."""
        return centred(self.compared, sample=False)[1][:, 0]


def roll_out(
    captioner: Params, reward: RewardFunction, arrays: Tree, batch: Batch, key: Array, weights: Weights, cfg: Config
) -> Rolled:
    """Samples a group of captions of each clip, or takes those that are given, and scores them, `rollout_batch` clips
    at once.

    Args:
      arrays: of the reward.
      key: of the run and the step.
    """
    grpo, greedy, about = cfg.grpo, cfg.grpo.baseline == "greedy", read_all(cfg.reward.parts)

    def some(batch: Batch) -> Rolled:
        given = batch.samples
        if given is not None and greedy:  # its place is the last one's, whose tokens are the likeliest
            given = jnp.pad(given, ((0, 0), (0, 1), (0, 0)))
        how = Drawing(grpo.sampling, greedy, weights.sharpness, given)
        streams, samples = sample(captioner, batch, key, cfg, group=grpo.group, how=how)
        with jax.default_matmul_precision("float32"):  # groups are scaled by deviations as small as rounding
            score, parts = reward(arrays, samples.ids, samples.mask, batch.references)
            if moving(cfg):
                score = combine(parts, about, weights.progress)
        best = score[:, -1] if greedy else None
        samples, score, parts = jax.tree.map(lambda x: x[:, : grpo.group], (samples, score, parts))
        compared = score
        if grpo.scale == "parts":
            compared = standardized(parts, about, grpo.deviation == "sample", weights.progress)
        batch = dataclasses.replace(batch, references=None, samples=None)
        return Rolled(batch, streams, samples, score, parts, compared, best)

    return in_parts(some, batch, grpo.rollout_batch)


def keep(rolled: Rolled, clips: int) -> Rolled:
    """The clips whose rewards spread most, in their order: dynamic sampling with a fixed number of clips (DAPO, arXiv
    2503.14476, §3.2, rolls out until it has as many whose rewards differ)."""
    if clips == len(rolled.reward):
        return rolled
    chosen = jnp.sort(jnp.argsort(-rolled.spread(), stable=True)[:clips])
    return constrain(jax.tree.map(lambda x: jnp.take(x, chosen, 0), rolled))
