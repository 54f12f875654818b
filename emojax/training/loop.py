"""The one loop, for both stages: step, log a step late, checkpoint."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from emojax import sharding
from emojax.config import Config
from emojax.training import ahead, checkpoint
from emojax.training.log import Log
from emojax.training.program import Program
from emojax.training.run import RunError
from emojax.training.running import Running
from emojax.types import Batch, Metrics, Samples, TrainState, Tree


def train(
    program: Program,
    state: TrainState,
    frozen: Tree,
    batches: Iterator[Batch],
    key: jax.Array,
    *,
    cfg: Config,
    run: Path,
    how: Running,
    steps: int,
    words: Callable[[Samples], list[dict[str, Any]]],
    progress: Callable[[int, dict[str, float]], None],
) -> TrainState:
    """Runs the program from the state's step to `steps`.

    Metrics of a step are fetched while the next one runs, so that logging never keeps the device waiting; only a
    checkpoint waits for its own step, because a resumed run must find every line up to it.

    Args:
      batches: from the state's step on.
      words: turns what a step sampled into captions for `samples.jsonl`.
      progress: told of each finished step.
    Raises:
      RunError: more than `cfg.max_skipped` updates in a row were not finite.
    """
    first = int(state.step)
    take = ahead.step(ahead.lower(program))
    log = Log(run, first)
    with checkpoint.manager(run, cfg.keep) as checkpoints, jax.set_mesh(program.mesh):
        waiting: tuple[int, Metrics] | None = None
        clock = time.perf_counter()

        def settle() -> None:
            nonlocal waiting, clock
            if waiting is None:
                return
            step, metrics = waiting
            waiting = None
            samples = metrics.pop("samples", None)
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            now = time.perf_counter()
            values["step_seconds"], clock = now - clock, now
            facts = {"params_sha256": checkpoint.sha256(state.params)} if step == steps else {}
            log.metrics(step, values, facts)
            if samples is not None and (step % cfg.sample_every == 0 or step == steps):
                log.samples(step, words(jax.tree.map(np.asarray, samples)))
            progress(step, values)
            if values["skipped"] > cfg.max_skipped:
                raise RunError(
                    f"step {step}: the loss or a gradient was not finite for {values['skipped']:.0f} updates in a row "
                    f"(max_skipped={cfg.max_skipped}); the last sound state is in {run / 'checkpoints'}; try a lower "
                    "learning rate or precision=float32"
                )

        try:
            for step in range(first + 1, steps + 1):
                batch = sharding.to_devices(next(batches), program.mesh)
                after, metrics = take(state, frozen, batch, key)
                settle()
                state, waiting = after, (step, metrics)
                if step % cfg.checkpoint_every == 0 or step == steps:
                    settle()
                    checkpoint.save(checkpoints, state, step)
        finally:
            log.close()
        checkpoints.wait_until_finished()
    return state
