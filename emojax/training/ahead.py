"""The programs of a stage, one a length bucket: all lowered before the first step, each compiled when it is needed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import jax

from emojax.training.program import Program, Step
from emojax.types import Batch, Metrics, TrainState, Tree


@dataclass(frozen=True)
class Ahead:
    lowered: Mapping[tuple, jax.stages.Lowered]  # by the shapes of the batch
    fingerprint: str  # SHA-256 of them all


def lower(program: Program) -> Ahead:
    lowered = {_shapes(batch): program.lower(batch) for batch in program.buckets}
    digest = hashlib.sha256()
    for one in lowered.values():
        digest.update(one.as_text().encode())
    return Ahead(lowered, digest.hexdigest())


def step(ahead: Ahead) -> Step:
    """The step of any of the stage's batches."""
    compiled: dict[tuple, jax.stages.Compiled] = {}

    def run(state: TrainState, frozen: Tree, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        shapes = _shapes(batch)
        if shapes not in compiled:
            compiled[shapes] = ahead.lowered[shapes].compile()
        return compiled[shapes](state, frozen, batch, key)

    return run


def _shapes(batch: Batch) -> tuple:
    return tuple(leaf.shape for leaf in jax.tree.leaves(batch))
