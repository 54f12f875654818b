"""Records of made-up leaves, written by NumPy alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emojax.training import record_files
from emojax.training.record_rows import Layout, sealed
from emojax.training.sketch import WORDS, on_host

Leaves = dict[str, np.ndarray]
SESSION = {"step": 0, "versions": {"jax": "0.10.2"}, "flags": {}, "mesh": {"data": 1}, "frozen": {"encoder": "ab"}}


def leaves(step: int, seed: int = 0) -> Leaves:
    """What a step reads and makes."""
    r = np.random.default_rng([seed, step])
    moment = r.normal(size=(2, 3, 4)).astype(np.float32)
    return {
        "batch.clip_id": np.arange(4, dtype=np.uint32) + np.uint32(10 * step),
        "batch.audio": r.normal(size=(4, 5)).astype(np.float32),
        "samples.ids": r.integers(0, 9, (4, 2, 3)).astype(np.int32),
        "samples.reward": r.normal(size=(4, 2)).astype(np.float32),
        "metrics.loss": np.float32(1 / (step + 1)),
        "opt_state.mu.w": moment,
        "params.w": (np.arange(24).reshape(2, 3, 4) + step * moment).astype(np.float32),
        "params.half": moment[0].astype(np.float32),
        "state.step": np.int32(step),
    }


def write(
    folder: Path,
    steps: Sequence[Leaves],
    stage: str = "grpo",
    config: Mapping[str, Any] | None = None,
    session: Mapping[str, Any] | None = None,
) -> Path:
    """Step 0 is the state that the run began with."""
    shapes = tuple(tuple(x.shape) for x in steps[0].values())
    samples = steps[0]["samples.ids"].shape if "samples.ids" in steps[0] else None
    layout = Layout(tuple(steps[0]), tuple(str(x.dtype) for x in steps[0].values()), (shapes,), samples)
    rows = [row(found, step) for step, found in enumerate(steps)]
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "format": record_files.FORMAT,
        "stage": stage,
        "config": {"seed": 0, **(config or {})},
        "sessions": [{**SESSION, **(session or {})}],
        "layout": layout.json(),
    }
    (folder / record_files.ABOUT).write_text(json.dumps(told))
    (folder / record_files.ROWS).write_bytes(b"".join(rows))
    return folder


def row(found: Leaves, step: int) -> bytes:
    words = np.stack([on_host(x) for x in found.values()])
    if not step:
        words[[not name.startswith(("params", "opt_state", "state")) for name in found]] = 0
    parts: list[np.ndarray] = []
    if "samples.ids" in found:
        ids, reward = found["samples.ids"].astype(np.uint32), found["samples.reward"].view(np.uint32)
        length = np.full(ids.shape[:2], ids.shape[2], np.uint32)
        parts = [found["batch.clip_id"], ids, length, reward]
        parts = [part if step else np.zeros_like(part) for part in parts]
    assert words.shape[1] == WORDS
    return sealed([step, int(step > 0)], words, *parts).tobytes()
