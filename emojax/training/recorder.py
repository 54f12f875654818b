"""Metrics of a step, fetched and written while the next step runs, so that logging never keeps the device waiting."""

import math
from collections.abc import Callable
from typing import Any

import jax

from emojax.config import ConfigError
from emojax.errors import RunError
from emojax.parallel import sharding
from emojax.training import checkpoint
from emojax.training.job import Job
from emojax.training.log import Log
from emojax.training.optim import learning_rates
from emojax.training.record import Record
from emojax.training.session import Session
from emojax.training.watchdog import Watchdog
from emojax.types import Metrics, Samples, Tree

Words = Callable[[Samples], list[dict[str, Any]]]
"""What a step sampled of one clip (no axis B) -> captions for `samples.jsonl`."""


_MEANS = ("emotion_loss", "attributes_loss", "reward", "ratio", "clip_fraction")
"""Beginnings of the names of means over what a batch may not have: labels, references, facts. NaN: it has none, and the
metric is absent."""

_OF_CAPTIONS = ("loss", "words_loss", "entropy")
"""Likewise, where no clip of a batch has a caption: elsewhere NaN is what went wrong."""


class Diverged(RunError):
    """More updates in a row than allowed were not finite. `valid`: the last step whose weights trained."""

    def __init__(self, text: str, valid: int) -> None:
        super().__init__(text)
        self.valid = valid


class Recorder:
    """Holds the metrics of one step until the next is dispatched. `scores` rank the steps since the last checkpoint,
    `skipped` counts the updates until now that were not finite, in a row."""

    def __init__(
        self,
        job: Job,
        words: Words,
        log: Log | None,
        session: Session,
        watchdog: Watchdog,
        first: int,
        record: Record | None = None,
    ) -> None:
        self._record = record
        self._job, self._words, self._log, self._session, self._watchdog = job, words, log, session, watchdog
        self._held: tuple[int, Metrics] | None = None
        self._clock = session.now()
        self._beside: dict[str, float] = {}
        updates = job.cfg.grpo.updates_a_step if job.stage == "grpo" else 1
        self._rates = learning_rates(getattr(job.cfg, job.stage).optimizer, job.steps * updates)
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
        if self._record is not None:
            self._record.settle()
        cfg, last = self._job.cfg, step == self._job.last
        samples = metrics.pop("samples", None)
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._watchdog.finished(step)
        means = _MEANS + (_OF_CAPTIONS if values.get("captioned") == 0 else ())
        values = {name: x for name, x in values.items() if not (math.isnan(x) and name.startswith(means))}
        now = self._session.now()
        values["step_seconds"], self._clock = now - self._clock, now
        values, self._beside = values | self._beside, {}
        by = cfg.keep_best_by
        if (name := by.removeprefix("-")) and not name.startswith("eval_") and name not in values:
            raise ConfigError(f"keep_best_by={by!r} is no metric of a step; there are {', '.join(values)}")
        self.scores.append(checkpoint.score(values, by))
        values |= self._progress(step, int(values.pop("updates", 0)))
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

    def _progress(self, step: int, updates: int) -> dict[str, float]:
        """How far the run is: passes over the clips, and the learning rate of the last update."""
        told = {"epoch": step * self._job.batch / len(self._job.clips)} if self._job.clips else {}
        return told | ({"learning_rate": float(self._rates[min(updates, len(self._rates)) - 1])} if updates else {})
