"""The one loop, for both stages: batch, step, record, agree, save."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path

import jax

from emojax.errors import RunError, Stopped
from emojax.parallel import compile_cache, hosts, sharding
from emojax.training import aot, checkpoint, executable, provenance
from emojax.training.held_out import HeldOut, scores, stalled
from emojax.training.job import Job
from emojax.training.log import Log
from emojax.training.program import Program
from emojax.training.record import Record
from emojax.training.recorder import Diverged, Recorder, Words
from emojax.training.session import Session
from emojax.training.stop import Agreement, Clock, Wish, told
from emojax.training.trace import Trace
from emojax.training.watchdog import Watchdog
from emojax.types import Batch, TrainState, Tree

log = logging.getLogger(__name__)


def train(
    job: Job,
    program: Program,
    state: TrainState,
    frozen: Tree,
    batches: Iterator[Batch],
    key: jax.Array,
    words: Words,
    held_out: HeldOut | None = None,
) -> TrainState:
    """Runs the program from the state's step to the last of the job, or until no evaluation is better than one
    `patience` evaluations ago.

    Metrics of a step are recorded while the next one runs; only a checkpoint waits for its own step, because a resumed
    run must find every line up to it. A transfer that nobody asked for is an error: it would make the device wait in
    every step.

    Args:
      batches: from the state's step on.
      held_out: what evaluates every `eval_every` steps.
    Raises:
      Stopped: SIGTERM or Ctrl-C came to a process, and the checkpoint of the step that it came in, or of the next, is
        complete.
      RunError: more than `max_skipped` updates in a row were not finite, and the last checkpoint from before them is
        the last one now; or `executable` holds another program.
    """
    first, cfg, run, options = int(state.step), job.cfg, job.out, job.options
    with (
        _valid_named(run),
        closing(Session(run, options.began or time.time(), first)) as session,
        closing(_watchdog(run)) as watchdog,
        closing(Trace(run, options.profile)) as trace,
        closing(Log(run, first)) if hosts.first() else nullcontext() as log,
        checkpoint.manager(run, cfg.keep, cfg.keep_best) as checkpoints,
        ExitStack() as ends,
        jax.set_mesh(program.mesh),
        jax.transfer_guard("disallow"),
    ):

        @contextmanager
        def slow(kind: str) -> Iterator[None]:
            with session.doing(kind), watchdog.paused():
                yield

        _say("tracing the step of %s", job.stage)
        with slow("compile"):
            lowered = aot.lower(program)
            saved = options.executable
            ready = executable.load(saved, job.stage, lowered, program.mesh) if saved else {}
        about = provenance.about(job, state, program.mesh, lowered.fingerprint)
        provenance.record(job, about)

        @contextmanager
        def compiling(bucket: int) -> Iterator[None]:
            name = f"{lowered.fingerprint}-{bucket}"
            took = compile_cache.seconds_of(name)
            which = f" for clips of length {bucket + 1} of {len(lowered.lowered)}" if len(lowered.lowered) > 1 else ""
            _say("compiling the step of %s%s%s", job.stage, which, f"; it took {took:.0f} s last time" if took else "")
            began = time.monotonic()
            with slow("compile"):
                yield
            compile_cache.keep_seconds(name, time.monotonic() - began)

        compiled = aot.compiler(lowered, compiling, ready)
        agreement, clock_of_saves = Agreement(program.mesh), Clock(cfg.checkpoint_minutes)
        recorded = None
        if options.record:
            metrics = next(iter(lowered.lowered.values())).out_info[1]
            folder = log.folder if log is not None else None
            recorded = ends.enter_context(closing(Record(job, program, metrics, folder, about, frozen)))
        recorder = Recorder(job, words, log, session, watchdog, first, recorded)
        told_so_far = scores(job, first)

        def wish() -> Wish:
            return Wish.STOP if told() else Wish.SAVE if clock_of_saves.due() else Wish.GO_ON

        if agreement.on(wish()) is Wish.STOP:
            raise _stopped(run, first)
        if stalled(told_so_far, cfg.patience):
            return state
        if recorded is not None:
            with slow("compile"):
                recorded.begin(state)
        step = first
        for step in range(first + 1, job.last + 1):
            with session.doing("data"):
                batch = sharding.to_devices(next(batches), program.mesh, program.clips)
            if options.looked_at is not None:
                options.looked_at(step, program, (state, frozen, batch, key))
            take = compiled(batch)
            if trace.begins(step):
                recorder.settle(state.params)
                trace.begin()
            if step == first + 1:
                session.started()
            with jax.profiler.StepTraceAnnotation("step", step_num=step):
                since = session.now()
                after, metrics = take(state, frozen, batch, key)
                session.dispatched(since, metrics)
                recorder.settle(after.params)
            state = after
            recorder.hold(step, metrics)
            if recorded is not None:
                recorded.hold(step, batch, metrics, state)
            last = step == job.last
            if held_out is not None and held_out.due(step, job.steps):
                with slow("evaluation"):
                    recorder.beside(found := held_out(state.params, frozen))
                told_so_far.append(checkpoint.score(found, cfg.keep_best_by))
                last |= stalled(told_so_far, cfg.patience)
            if trace.ends(step):
                recorder.settle(state.params)
                trace.close()
            todo = agreement.on(wish())
            ranked = step % cfg.checkpoint_every == 0 or (last and step != options.until)
            if ranked or last or todo is not Wish.GO_ON:
                recorder.settle(state.params)
            wanted = (
                ranked or last or todo is Wish.SAVE
            ) and not recorder.skipped  # else nobody should go on from there
            if wanted or todo is Wish.STOP or last:
                if log is not None:
                    log.keep()
                with slow("checkpoint"), jax.transfer_guard("allow"):  # Orbax fetches the arrays its own way
                    recorder.scores = checkpoint.save(checkpoints, state, step, recorder.scores, ranked)
                    if todo is Wish.STOP:
                        checkpoint.finish(checkpoints)
                clock_of_saves.saved()
                session.mark(step)
            if todo is Wish.STOP:
                raise _stopped(run, step)
            if last:
                break
        with slow("checkpoint"):
            checkpoint.finish(checkpoints)
        session.mark(step)
    return state


def _say(message: str, *words: object) -> None:
    if hosts.first():
        log.info(message, *words)


def _watchdog(run: Path) -> Watchdog:
    if jax.process_count() == 1:
        return Watchdog(run / "stalls.txt", "the run")
    return Watchdog(run / f"stalls-{jax.process_index()}.txt", f"process {jax.process_index()}")


def _stopped(run: Path, step: int) -> Stopped:
    return Stopped(f"{run}: stopped as it was told to, complete up to step {step}; resume with --resume")


@contextmanager
def _valid_named(run: Path) -> Iterator[None]:
    """Where training diverges, sets aside checkpoints of weights that did not train and says which is the last that
    did."""
    try:
        yield
    except Diverged as e:
        raise RunError(f"{e}; {_only_valid(run, e.valid)}") from None


def _only_valid(run: Path, step: int) -> str:
    """Sets aside checkpoints of weights that did not train; says which is the last one that did."""
    hosts.by_first(lambda: checkpoint.set_aside_after(run, step), "set checkpoints aside")
    if left := checkpoint.steps(run):
        return f"the last valid state is checkpoint {left[-1]} of {run / 'checkpoints'}"
    return f"no checkpoint in {run} is from before them: begin again by --overwrite"
