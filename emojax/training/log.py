"""What a run writes of itself: `metrics.jsonl`, a line a step; TensorBoard files; `samples.jsonl`, sampled captions."""

import contextlib
import json
import math
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from emojax.storage import RESUME, Appending, in_bucket, parse_json, write_atomically, writing
from emojax.training import record_files
from emojax.training.board import Board


def cut_after(path: Path, step: int) -> None:
    """Drops the lines of steps beyond `step` and a half-written last line: a resumed run writes them again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_bytes().split(b"\n"):
        if (at := _step_of(line)) is not None and at <= step:
            kept.append(line.decode("utf-8-sig"))
    write_atomically(path, "".join(line + "\n" for line in kept), RESUME)


def _step_of(line: bytes) -> int | None:
    """The step that a line is of; None: it is no whole line of a log."""
    try:
        step = parse_json(line, "a line", halves=True)["step"]
    except (ValueError, KeyError, TypeError):
        return None
    return step if type(step) is int else None


class Log:
    """Open files of a run; `step` counts from 1, so line n belongs to the n-th step.

    To a file in a bucket nothing can be appended: a run there has its files in a temporary folder of this machine,
    which `keep` copies to it.
    """

    def __init__(self, run: Path, last_step: int) -> None:
        self._samples: Appending | None = None
        self._run, self._here = run, Path(tempfile.mkdtemp(prefix="emojax-")) if in_bucket(run) else run
        if in_bucket(run):
            self._fetch("metrics.jsonl", "samples.jsonl", *record_files.FILES)
        for name in ("metrics.jsonl", "samples.jsonl"):
            cut_after(self._here / name, last_step)
        with contextlib.ExitStack() as files:
            self._metrics = files.enter_context(closing(Appending(self._here / "metrics.jsonl", RESUME)))
            self._board = files.enter_context(closing(Board(self._here / "tensorboard", last_step)))
            self._files = files.pop_all()

    def _fetch(self, *names: str) -> None:
        for name in names:
            if (self._run / name).exists():
                (self._here / name).parent.mkdir(exist_ok=True)
                (self._here / name).write_bytes((self._run / name).read_bytes())

    @property
    def folder(self) -> Path:
        """Where what is appended to lies: the run, or the temporary folder that is copied there."""
        return self._here

    def metrics(self, step: int, values: dict[str, float], facts: dict[str, Any]) -> None:
        """Numbers that are not finite are written as null: JSON has no word for them."""
        numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._metrics.write(json.dumps({"step": step, **numbers, **facts}).encode() + b"\n")
        self._board.scalars(step, values)

    def samples(self, step: int, captions: list[dict[str, Any]]) -> None:
        line = json.dumps({"step": step, "captions": captions}, ensure_ascii=False) + "\n"
        if self._samples is None:  # a cold start samples nothing, and has no such file
            self._samples = self._files.enter_context(closing(Appending(self._here / "samples.jsonl", RESUME)))
        self._samples.write(line.encode(errors="backslashreplace"))

    def keep(self) -> None:
        """What was written so far is in the run: to be called before a checkpoint, which goes on from there."""
        if not in_bucket(self._run):
            return
        for path in self._here.rglob("*"):
            if path.is_file():
                at = self._run / str(path.relative_to(self._here))
                with writing(at, RESUME):
                    at.parent.mkdir(parents=True, exist_ok=True)
                    at.write_bytes(path.read_bytes())

    def close(self) -> None:
        self._files.close()
        self.keep()
        if in_bucket(self._run):
            shutil.rmtree(self._here)
