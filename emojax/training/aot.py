"""The programs of a stage, one a length bucket: all lowered before the first step, each compiled when it is needed."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import jax

from emojax.training.program import Program
from emojax.types import Batch


@dataclass(frozen=True)
class LoweredBuckets:
    lowered: Mapping[tuple, jax.stages.Lowered]  # by the shapes of the batch
    fingerprint: str  # SHA-256 of them all


def lower(program: Program) -> LoweredBuckets:
    lowered = {_shapes(batch): program.lower(batch) for batch in program.buckets}
    return LoweredBuckets(lowered, fingerprint(lowered.values()))


def fingerprint(lowered: Iterable[jax.stages.Lowered]) -> str:
    """SHA-256 of lowered programs, in their order."""
    digest = hashlib.sha256()
    for one in lowered:
        digest.update(one.as_text().encode())
    return digest.hexdigest()


def compiler(
    buckets: LoweredBuckets,
    compiling: Callable[[int], AbstractContextManager[None]],
    ready: Mapping[tuple, jax.stages.Compiled],
) -> Callable[[Batch], jax.stages.Compiled]:
    """Gives a batch's program: one of those that are `ready`, or compiled, inside `compiling(its bucket)`, when a
    batch has its shapes for the first time."""
    compiled = dict(ready)

    def of(batch: Batch) -> jax.stages.Compiled:
        shapes = _shapes(batch)
        if shapes not in compiled:
            with compiling(list(buckets.lowered).index(shapes)):
                compiled[shapes] = buckets.lowered[shapes].compile()
        return compiled[shapes]

    return of


def _shapes(batch: Batch) -> tuple:
    return tuple(leaf.shape for leaf in jax.tree.leaves(batch))
