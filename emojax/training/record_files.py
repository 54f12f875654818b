"""The files of a record, which `--record` makes of a run.

RUN/record/record.json   names, types and shapes of the leaves, the configuration, what each session was made with
RUN/record/steps.u32     a row a step (`record_rows.py`), little-endian; a half-written last one is cut
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emojax.config import Config, presets
from emojax.errors import RunError
from emojax.storage import RESUME, Appending, read_object, write_atomically, writing
from emojax.training.record_rows import Layout, table

FOLDER, ABOUT, ROWS = "record", "record.json", "steps.u32"
FILES = tuple(f"{FOLDER}/{name}" for name in (ABOUT, ROWS))
FORMAT = 1


class Writer:
    """The files of a record; the first process has one."""

    def __init__(self, folder: Path, layout: Layout, stage: str, cfg: Config, session: Mapping[str, Any]) -> None:
        """
        Args:
          session: what it is made with (`provenance.about`). It begins after its `step`: rows of later ones are made
            again.
        Raises:
          RunError: the record that is there is of another program.
        """
        path, first, sessions = folder / ABOUT, session["step"], []
        if path.exists():
            told = read_object(path)
            if json.loads(json.dumps(layout.json())) != told.get("layout") or told.get("format") != FORMAT:
                raise RunError(
                    f"{folder} records other leaves than this run has; move it away, or run without --record"
                )
            sessions = [each for each in told.get("sessions", []) if each.get("step", 0) <= first]
        with writing(folder, RESUME):
            folder.mkdir(parents=True, exist_ok=True)
        told = {
            "format": FORMAT,
            "stage": stage,
            "config": json.loads(presets.dumps(cfg)),
            "sessions": [*sessions, session],
            "layout": layout.json(),
        }
        write_atomically(path, json.dumps(told), RESUME)
        rows, kept = folder / ROWS, np.zeros((0, layout.size), "<u4")
        if rows.exists():
            there = table(rows.read_bytes(), layout)
            kept = there[there[:, 0] <= first]
            with writing(rows, RESUME):
                rows.write_bytes(kept.tobytes())
        self.last = kept[-1] if len(kept) else None  # row that is there when the session begins
        self._file = Appending(rows, RESUME)

    def write(self, row: np.ndarray) -> None:
        self._file.write(row.tobytes())

    def close(self) -> None:
        self._file.close()
