"""The second program of a run with `--record`: what a step read and made, as the numbers of a row.

It runs after the step and beside it: were the sketches a part of the step, XLA would fuse it otherwise, and its bits
would change.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from emojax.parallel import sharding
from emojax.training.program import Program
from emojax.training.record_rows import HEAD, Layout, causal, sealed
from emojax.training.sketch import WORDS, sketches
from emojax.types import Array, Batch, Metrics, TrainState


def layout(program: Program, metrics: Metrics) -> Layout:
    """Args: `metrics` as shapes."""
    buckets = [causal(batch, metrics, program.state) for batch in program.buckets]
    samples = metrics.get("samples")
    return Layout(
        names=tuple(buckets[0]),
        dtypes=tuple(str(leaf.dtype) for leaf in buckets[0].values()),
        shapes=tuple(tuple(tuple(leaf.shape) for leaf in leaves.values()) for leaves in buckets),
        samples=None if samples is None else tuple(samples.ids.shape),
    )


class Recording:
    """The second program; every process runs it. `layout` says what its rows hold."""

    def __init__(self, program: Program, metrics: Metrics) -> None:
        self.layout = layout(program, metrics)
        self._program = program
        everywhere = sharding.replicated(program.mesh)
        self._whole = jax.jit(self._of_step, out_shardings=everywhere)
        self._state = jax.jit(lambda state: self._sketches(causal(None, {}, state)), out_shardings=everywhere)

    def of_step(self, batch: Batch, metrics: Metrics, state: TrainState) -> Array:
        """u32[...] without step and bucket: to be fetched, and handed to `row`, later."""
        return self._whole(batch, metrics, state)

    def of_state(self, state: TrainState) -> np.ndarray:
        """The row of a state alone."""
        found, names = jax.device_get(self._state(state)), list(causal(None, {}, state))
        words = np.zeros((len(self.layout.names), WORDS), np.uint32)
        words[[self.layout.names.index(name) for name in names]] = found
        rest = self.layout.size - 1 - HEAD - words.size
        return sealed([int(jax.device_get(state.step)), 0], words, np.zeros(rest, np.uint32))

    def row(self, step: int, batch: Batch, numbers: np.ndarray) -> np.ndarray:
        """The whole row. `batch` says the bucket, by its shapes."""
        shapes = [tuple(leaf.shape) for leaf in causal(batch, {}, self._program.state).values() if leaf.size]
        count = sum(name.startswith("batch") for name in self.layout.names)
        bucket = [list(each[:count]) for each in self.layout.shapes].index(shapes[:count])
        return sealed([step, bucket + 1], numbers)

    def _of_step(self, batch: Batch, metrics: Metrics, state: TrainState) -> Array:
        words = self._sketches(causal(batch, metrics, state)).reshape(-1)
        samples = metrics.get("samples")
        if samples is None:
            return words
        length = samples.mask.sum(-1).astype(jnp.uint32)
        reward = samples.reward.astype(jnp.float32).view(jnp.uint32)
        parts = (samples.clip_id, samples.ids.astype(jnp.uint32), length, reward)
        return jnp.concatenate([words, *(part.reshape(-1) for part in parts)])

    def _sketches(self, leaves: Mapping[str, Array]) -> Array:
        """By the shardings that the program is declared with; what it does not declare is fetched whole: it is small"""
        abstract = causal(self._program.batch, {}, self._program.state)
        specs = [abstract[name].sharding.spec if name in abstract else PartitionSpec() for name in leaves]
        return sketches(list(leaves.values()), self._program.mesh, specs)
