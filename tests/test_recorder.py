"""What is logged of a step: numbers that say something, and nothing else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from emojax.config import presets
from emojax.data.clips import Clip
from emojax.training.job import Job
from emojax.training.recorder import Recorder
from emojax.training.run import RunOptions


def recorded(tmp_path: Path, stage: str, steps: list[dict[str, float]]) -> list[dict[str, float]]:
    """What the log is told of these steps."""
    clips = [Clip(str(i), transcript="hm", captions=("a",)) for i in range(16)]
    cfg = presets.load("tiny", ["steps=9", "grpo.updates=2", "sft.optimizer.warmup=0.3"])
    job = Job(stage, cfg, tmp_path, RunOptions(), lambda *_: None, clips)  # pyright: ignore[reportArgumentType] a stage
    logged: list[dict[str, float]] = []
    log: Any = SimpleNamespace(metrics=lambda step, values, facts: logged.append(values))
    idle: Any = SimpleNamespace(now=lambda: 0.0, finished=lambda step: None)
    recorder = Recorder(job, lambda samples: [], log, idle, idle, 0)
    for step, values in enumerate(steps, 1):
        recorder.hold(step, {"loss": 2.0, "skipped": 0.0} | values)
        recorder.settle({})
    return logged


def test_a_mean_over_nothing_is_absent_and_a_loss_that_is_no_number_is_not(tmp_path: Path) -> None:
    nan = float("nan")
    means = {"emotion_loss": nan, "attributes_loss": nan, "reward_gender_right": nan, "reward": nan}
    first, second = recorded(tmp_path, "sft", [means | {"loss": nan, "entropy": nan}, {"emotion_loss": 1.0}])
    assert not means.keys() & first.keys()
    assert {"loss", "entropy"} <= first.keys()
    assert second["emotion_loss"] == 1.0
    (mute,) = recorded(tmp_path, "sft", [{"loss": nan, "words_loss": nan, "entropy": nan, "captioned": 0.0}])
    assert not {"loss", "words_loss", "entropy"} & mute.keys()


def test_every_step_has_its_epoch_and_the_learning_rate_of_its_last_update(tmp_path: Path) -> None:
    """Updates that are skipped do not count."""
    told = recorded(tmp_path, "sft", [{"updates": n} for n in (1, 2, 2, 3, 4)])
    assert [values["epoch"] for values in told] == [0.5, 1.0, 1.5, 2.0, 2.5]
    peak = 1e-3  # after a third of nine updates
    assert [round(values["learning_rate"] / peak, 2) for values in told] == [0.33, 0.56, 0.56, 0.78, 1.0]
    (last,) = recorded(tmp_path, "grpo", [{"updates": 18}])
    assert 1e-5 < last["learning_rate"] < 2e-5, "a tenth of its peak is left at the end"
