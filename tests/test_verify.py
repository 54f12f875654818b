"""A run's first steps taken again: the same numbers are said to be reproduced, others where they part."""

import json
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from emojax import cli
from emojax.config import presets
from emojax.errors import RunError
from emojax.reproduce import replay
from emojax.reproduce import verify as verifying
from emojax.training import stages
from emojax.training.run import RunOptions, stepped
from support import small_loop


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small loop, with what a run's directory has."""
    run = tmp_path_factory.mktemp("published")
    small_loop.run(run, RunOptions(record=True))
    (run / "start").mkdir()
    (run / "run.json").write_text(json.dumps({"stage": "grpo", "init": "nowhere"}))
    (run / "config.json").write_text(presets.dumps(small_loop.TINY))
    (run / "tokenizer.json").write_text("{}")
    return run


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Instead of a real stage; where it works."""
    places: list[Path] = []

    def grpo(cfg: Any, out: Path, *, init: Any, resume: bool, options: RunOptions, progress: Any) -> None:
        assert resume
        assert stepped(out), "it goes on with a run that has begun"
        assert (out / "start").is_dir()
        assert (out / "tokenizer.json").exists()
        places.append(out)
        small_loop.run(out, options)

    monkeypatch.setattr(stages, "grpo", grpo)
    return places


def changed(published: Path, folder: Path, line: int, **by: float) -> Path:
    """Without its record, and with another line of metrics."""
    shutil.copytree(published, folder)
    shutil.rmtree(folder / "record")
    told = [json.loads(each) for each in (folder / "metrics.jsonl").read_text().splitlines()]
    told[line - 1] |= by
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in told))
    return folder


def test_a_run_is_reproduced_by_its_record_and_by_its_metrics(
    published: Path, again: list[Path], tmp_path: Path
) -> None:
    found = verifying.verify(published, tmp_path / "a", 3)
    assert found.lines[0] == "reproduced: steps 0 to 3, bit for bit"
    without = changed(published, tmp_path / "without", 1, step_seconds=99.0)
    found = verifying.verify(without, tmp_path / "b", 4)
    assert found.reproduced
    assert found.lines[0].startswith("reproduced: the metrics of steps 1 to 4 (the run has no record")
    assert not (tmp_path / "b" / "checkpoints" / "6").exists(), "no more steps than were asked for"


def test_another_number_is_named(published: Path, again: list[Path], tmp_path: Path) -> None:
    other = changed(published, tmp_path / "other", 3, loss=1.5)
    found = verifying.verify(other, tmp_path / "a", 5)
    assert not found.reproduced
    assert found.lines[0].startswith("not reproduced: they differ first at step 3, in loss: 1.5 and ")
    assert verifying.verify(other, tmp_path / "b", 2).reproduced


def test_what_cannot_be_verified_is_one_line(published: Path, tmp_path: Path) -> None:
    for why, remove in {
        r"has neither a record nor metrics of its first 5 steps": ["record", "metrics.jsonl"],
        r"lacks `start`, the captioner that it began with": ["start"],
    }.items():
        run = tmp_path / remove[0]
        shutil.copytree(published, run)
        for name in remove:
            shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
        with pytest.raises(RunError, match=why):
            verifying.verify(run, tmp_path / "work", 5)
    (tmp_path / "start" / "run.json").write_text(json.dumps({"stage": "sft", "init": "runs/gone"}))
    with pytest.raises(RunError, match=r"began with runs/gone, which is not here"):
        verifying.verify(tmp_path / "start", tmp_path / "work", 5)
    with pytest.raises(RunError, match=r"is no run directory"):
        replay.stages_of(tmp_path)


def test_the_command_ends_with_0_where_a_run_is_reproduced(
    published: Path, again: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for code, run in ((0, published), (1, changed(published, tmp_path / "other", 1, loss=1.5))):
        monkeypatch.setattr(sys, "argv", ["emojax", "verify", str(run), "--steps", "2"])
        with pytest.raises(SystemExit, match="1") if code else nullcontext():
            cli.main()
    said = capsys.readouterr().out
    assert "grpo: reproduced: steps 0 to 2, bit for bit" in said
    assert "grpo: not reproduced: they differ first at step 1, in loss" in said
    assert not any(place.exists() for place in again), "the steps lie in a temporary folder"
