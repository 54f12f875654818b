"""Metrics of a step, fetched and written while the next step runs, so that logging never keeps the device waiting."""

from collections.abc import Callable
from typing import Any

import jax

from emojax.config import ConfigError
from emojax.errors import RunError
from emojax.parallel import sharding
from emojax.training import checkpoint
from emojax.training.job import Job
from emojax.training.log import Log
from emojax.training.session import Session
from emojax.training.watchdog import Watchdog
from emojax.types import Metrics, Samples, Tree

Words = Callable[[Samples], list[dict[str, Any]]]
"""What a step sampled of one clip (no axis B) -> captions for `samples.jsonl`."""


class Diverged(RunError):
    """More updates in a row than allowed were not finite. `valid`: the last step whose weights trained."""

    def __init__(self, text: str, valid: int) -> None:
        super().__init__(text)
        self.valid = valid


class Recorder:
    """Holds the metrics of one step until the next is dispatched. `scores` rank the steps since the last checkpoint,
    `skipped` counts the updates until now that were not finite, in a row."""

    def __init__(
        self, job: Job, words: Words, log: Log | None, session: Session, watchdog: Watchdog, first: int
    ) -> None:
        self._job, self._words, self._log, self._session, self._watchdog = job, words, log, session, watchdog
        self._held: tuple[int, Metrics] | None = None
        self._clock = session.now()
        labelled = any(clip.emotion is not None for clip in job.clips)
        self._absent = () if labelled else ("emotion_loss",)  # a mean over no clip, whatever the step
        self._beside: dict[str, float] = {}
        self.scores, self.skipped = checkpoint.since(job.out, first), 0

    def hold(self, step: int, metrics: Metrics) -> None:
        self._held = step, metrics

    def beside(self, values: dict[str, float]) -> None:
        """What an evaluation says of the step that is held."""
        self._beside = values

    def settle(self, params: Tree) -> None:
        """Waits for the metrics that are held, and records them; `params` are those after their step.

        Raises:
          Diverged: more than `max_skipped` updates in a row were not finite.
        """
        if self._held is None:
            return
        (step, metrics), self._held = self._held, None
        cfg, last = self._job.cfg, step == self._job.steps
        samples = metrics.pop("samples", None)
        values = {name: float(value) for name, value in jax.device_get(metrics).items() if name not in self._absent}
        self._watchdog.finished(step)
        now = self._session.now()
        values["step_seconds"], self._clock = now - self._clock, now
        values, self._beside = values | self._beside, {}
        by = cfg.keep_best_by
        if (name := by.removeprefix("-")) and not name.startswith("eval_") and name not in values:
            raise ConfigError(f"keep_best_by={by!r} is no metric of a step; there are {', '.join(values)}")
        self.scores.append(checkpoint.score(values, by))
        if self._log is not None:
            self._log.metrics(step, values, {"params_sha256": checkpoint.sha256(params)} if last else {})
            if samples is not None and (step % cfg.sample_every == 0 or last):
                self._log.samples(step, self._words(sharding.first_here(samples)))
        self._job.progress(step, self._job.steps, values)
        self.skipped = int(values["skipped"])
        if self.skipped > cfg.max_skipped:
            raise Diverged(
                f"step {step}: the loss or a gradient was not finite for {self.skipped} updates in a row "
                f"(max_skipped={cfg.max_skipped}); try a lower learning rate or precision=float32",
                step - self.skipped - 1,  # the step after it was finite: the first that was not had other weights
            )
