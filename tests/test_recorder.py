"""What is logged of a step: numbers that say something, and nothing else."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emojax.config import presets
from emojax.data.clips import Clip
from emojax.training.job import Job
from emojax.training.recorder import Recorder
from emojax.training.run import RunOptions


@pytest.mark.parametrize(("emotions", "told"), [((None, None), False), ((None, "angry"), True)])
def test_a_mean_over_no_clip_is_absent(emotions: tuple, told: bool, tmp_path: Path) -> None:
    """A corpus without emotions has no loss of naming them; one with a few has it in every step, NaN where none is."""
    clips = [Clip(str(i), transcript="hm", captions=("a",), emotion=emotion) for i, emotion in enumerate(emotions)]
    if told:
        clips[1] = dataclasses.replace(clips[1], attributes={"pace": "slow"})
    cfg = dataclasses.replace(presets.load("tiny"), steps=9)
    job = Job("sft", cfg, tmp_path, RunOptions(), lambda *_: None, clips)
    logged: list[dict[str, float]] = []
    log: Any = SimpleNamespace(metrics=lambda step, values, facts: logged.append(values))
    idle: Any = SimpleNamespace(now=lambda: 0.0, finished=lambda step: None)
    recorder = Recorder(job, lambda samples: [], log, idle, idle, 0)
    recorder.hold(1, {"loss": 2.0, "emotion_loss": float("nan"), "attributes_loss": float("nan"), "skipped": 0.0})
    recorder.settle({})
    assert logged[0]["loss"] == 2.0
    assert ("emotion_loss" in logged[0], "attributes_loss" in logged[0]) == (told, told)
