"""What a run writes of itself: `metrics.jsonl`, a line a step; TensorBoard files; `samples.jsonl`, sampled captions."""

import json
import math
from pathlib import Path
from typing import Any


def cut_after(path: Path, step: int) -> None:
    """Drops the lines of steps beyond `step` and a half-written last line: a resumed run writes them again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (json.JSONDecodeError, KeyError):
            continue
    new = path.with_suffix(".new")
    new.write_text("".join(line + "\n" for line in kept))
    new.replace(path)


class Log:
    """Open files of a run; `step` counts from 1, so line n belongs to the n-th step."""

    def __init__(self, run: Path, last_step: int) -> None:
        from tensorboardX import SummaryWriter

        for name in ("metrics.jsonl", "samples.jsonl"):
            cut_after(run / name, last_step)
        self._metrics = (run / "metrics.jsonl").open("a", buffering=1)
        self._samples = (run / "samples.jsonl").open("a", buffering=1)
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=last_step + 1 if last_step else None)

    def metrics(self, step: int, values: dict[str, float], facts: dict[str, Any]) -> None:
        """Numbers that are not finite are written as null: JSON has no word for them."""
        numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._metrics.write(json.dumps({"step": step, **numbers, **facts}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def samples(self, step: int, captions: list[dict[str, Any]]) -> None:
        self._samples.write(json.dumps({"step": step, "captions": captions}, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._metrics.close()
        self._samples.close()
        self._board.close()
