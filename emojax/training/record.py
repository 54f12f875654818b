"""What `--record` does beside the loop: rows are made while the device works on, and written a step late."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from emojax.parallel import hosts
from emojax.training import record_files
from emojax.training.digests import digests
from emojax.training.job import Job
from emojax.training.program import Program
from emojax.training.record_rows import HEAD
from emojax.training.recording import Recording
from emojax.training.sketch import HASH, WORDS
from emojax.types import Array, Batch, Metrics, TrainState, Tree

log = logging.getLogger(__name__)


class Record:
    """Holds the numbers of one step until the next is dispatched; the first process writes. Close it to end it."""

    def __init__(
        self,
        job: Job,
        program: Program,
        metrics: Metrics,
        folder: Path | None,
        session: Mapping[str, Any],
        frozen: Tree,
    ) -> None:
        """
        Args:
          metrics: shapes of them.
          folder: of the run; None: another process writes.
          session: as of `provenance.about`.
          frozen: what the step reads besides; its digests are kept once a session.
        """
        self._recording = Recording(program, metrics)
        self._held: tuple[int, Batch, Array] | None = None
        with jax.transfer_guard("allow"):  # processes tell each other their sums
            told = {**session, "frozen": digests(frozen)}
        self._files: record_files.Writer | None = None

        def open_files() -> None:
            assert folder is not None, "the first process writes"
            where = folder / record_files.FOLDER
            self._files = record_files.Writer(where, self._recording.layout, job.stage, job.cfg, told)

        with jax.transfer_guard("allow"):
            hosts.by_first(open_files, f"open the record of {job.out}")

    def begin(self, state: TrainState) -> None:
        """Of the state that the session begins with: its row, or, where it is recorded, whether it is as it was."""
        row = self._recording.of_state(state)
        if self._files is None:
            return
        last = self._files.last
        if last is None or last[0] != row[0]:
            self._files.write(row)
        elif names := self._changed(last, row):
            more = f" and {len(names) - 1} more" if names[1:] else ""
            log.warning("the state of step %d is not the one that was recorded: %s%s", row[0], names[0], more)

    def _changed(self, was: np.ndarray, now: np.ndarray) -> list[str]:
        """Names of leaves of a state whose hashes differ."""
        layout = self._recording.layout
        end = HEAD + len(layout.names) * WORDS
        there, here = (row[HEAD:end].reshape(-1, WORDS)[:, HASH] for row in (was, now))
        return [
            name
            for name, one, other in zip(layout.names, there, here, strict=True)
            if name.startswith(("params.", "opt_state.", "state.")) and (one != other).any()
        ]

    def hold(self, step: int, batch: Batch, metrics: Metrics, state: TrainState) -> None:
        self._held = step, batch, self._recording.of_step(batch, metrics, state)

    def settle(self) -> None:
        """Waits for the numbers that are held, and writes them."""
        if self._held is None:
            return
        (step, batch, numbers), self._held = self._held, None
        if self._files is not None:
            self._files.write(self._recording.row(step, batch, jax.device_get(numbers)))

    def close(self) -> None:
        if self._files is not None:
            self._files.close()
