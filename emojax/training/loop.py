"""The one loop, for both stages: step, log a step late, checkpoint."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax

from emojax.config import Config
from emojax.errors import RunError, Stopped
from emojax.parallel import hosts, sharding
from emojax.training import aot, checkpoint, executable
from emojax.training.log import Log
from emojax.training.program import Program
from emojax.training.run import RunOptions, stage_of
from emojax.training.session import Session
from emojax.training.stop import Agreement, Clock, Wish, told
from emojax.training.trace import Trace
from emojax.training.watchdog import Watchdog
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
    how: RunOptions,
    steps: int,
    words: Callable[[Samples], list[dict[str, Any]]],
    progress: Callable[[int, dict[str, float]], None],
) -> TrainState:
    """Runs the program from the state's step to `steps`.

    Metrics of a step are fetched while the next one runs, so that logging never keeps the device waiting; only a
    checkpoint waits for its own step, because a resumed run must find every line up to it. A transfer that nobody asked
    for is an error: it would make the device wait in every step.

    Args:
      batches: from the state's step on.
      words: turns what a step sampled of one clip (no axis B) into captions for `samples.jsonl`.
      progress: told of each finished step.
    Raises:
      Stopped: SIGTERM came to a process, and the checkpoint of the step that it came in, or of the next, is complete.
      RunError: more than `cfg.max_skipped` updates in a row were not finite; or `how.executable` holds another program.
    """
    first = int(state.step)
    with (
        closing(Session(run, how.began or time.time(), first)) as session,
        closing(_watchdog(run)) as watchdog,
        closing(Trace(run, how.profile)) as trace,
        closing(Log(run, first)) if hosts.first() else nullcontext() as log,
        checkpoint.manager(run, cfg.keep, cfg.keep_best) as checkpoints,
        jax.set_mesh(program.mesh),
        jax.transfer_guard("disallow"),
    ):

        @contextmanager
        def slow(kind: str) -> Iterator[None]:
            with session.doing(kind), watchdog.paused():
                yield

        with slow("compile"):
            lowered = aot.lower(program)
            ready = executable.load(how.executable, stage_of(run), lowered, program.mesh) if how.executable else {}
        compiled = aot.compiler(lowered, lambda: slow("compile"), ready)
        scores = checkpoint.since(run, first)
        agreement, clock_of_saves = Agreement(program.mesh), Clock(cfg.checkpoint_minutes)
        waiting: tuple[int, Metrics] | None = None
        clock = session.now()

        def settle() -> None:
            nonlocal waiting, clock
            if waiting is None:
                return
            step, metrics = waiting
            waiting = None
            samples = metrics.pop("samples", None)
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            watchdog.finished(step)
            now = session.now()
            values["step_seconds"], clock = now - clock, now
            scores.append(checkpoint.score(values))
            facts = {"params_sha256": checkpoint.sha256(state.params)} if step == steps else {}
            if log is not None:
                log.metrics(step, values, facts)
                if samples is not None and (step % cfg.sample_every == 0 or step == steps):
                    log.samples(step, words(sharding.first_here(samples)))
            progress(step, values)
            if values["skipped"] > cfg.max_skipped:
                raise RunError(
                    f"step {step}: the loss or a gradient was not finite for {values['skipped']:.0f} updates in a row "
                    f"(max_skipped={cfg.max_skipped}); the last sound state is in {run / 'checkpoints'}; try a lower "
                    "learning rate or precision=float32"
                )

        def wish() -> Wish:
            return Wish.STOP if told() else Wish.SAVE if clock_of_saves.due() else Wish.GO_ON

        if agreement.on(wish()) is Wish.STOP:
            raise _stopped(run, first)
        for step in range(first + 1, steps + 1):
            with session.doing("data"):
                batch = sharding.to_devices(next(batches), program.mesh, program.clips)
            take = compiled(batch)
            if trace.begins(step):
                settle()
                trace.begin()
            if step == first + 1:
                session.started()
            with jax.profiler.StepTraceAnnotation("step", step_num=step):
                since = session.now()
                after, metrics = take(state, frozen, batch, key)
                session.dispatched(since, metrics)
                settle()
            state, waiting = after, (step, metrics)
            if trace.ends(step):
                settle()
                trace.close()
            todo, ranked = agreement.on(wish()), step % cfg.checkpoint_every == 0 or step == steps
            if ranked or todo is not Wish.GO_ON:
                settle()
                if log is not None:
                    log.keep()
                with slow("checkpoint"), jax.transfer_guard("allow"):  # Orbax fetches the arrays its own way
                    scores = checkpoint.save(checkpoints, state, step, scores, ranked)
                    if todo is Wish.STOP:
                        checkpoints.wait_until_finished()
                clock_of_saves.saved()
                session.mark(step)
            if todo is Wish.STOP:
                raise _stopped(run, step)
        with slow("checkpoint"):
            checkpoints.wait_until_finished()
        session.mark(steps)
    return state


def _watchdog(run: Path) -> Watchdog:
    if jax.process_count() == 1:
        return Watchdog(run / "stalls.txt", "the run")
    return Watchdog(run / f"stalls-{jax.process_index()}.txt", f"process {jax.process_index()}")


def _stopped(run: Path, step: int) -> Stopped:
    return Stopped(f"{run}: stopped by SIGTERM, complete up to step {step}; go on with it by --resume")
