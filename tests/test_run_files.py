"""`--overwrite` removes what runs write and nothing else, and a run never lies where it reads."""

from pathlib import Path

import pytest

from emojax.config import presets
from emojax.errors import RunError
from emojax.training import stages
from emojax.training.job import silent
from emojax.training.run import open_run, stage_of
from test_cli import files

TINY = presets.load("tiny")


def run_of_both(at: Path) -> Path:
    open_run(at, "train", TINY, resume=False, overwrite=False)
    for stage in ("sft", "grpo"):
        open_run(at / stage, stage, TINY, resume=False, overwrite=False)
        for name in ("metrics.jsonl", "checkpoints/3/state", "tensorboard/events", "tokenizer.json"):
            (at / stage / name).parent.mkdir(parents=True, exist_ok=True)
            (at / stage / name).write_text("ours")
    for name in ("report.md", "captions-sft.jsonl", "captions-sft.jsonl.settings.json"):
        (at / name).write_text("ours")
    return at


def test_what_a_run_did_not_write_stays(tmp_path: Path) -> None:
    run = run_of_both(tmp_path / "run")
    theirs = {"notes.md", "sft/diary.txt", "media/clip.wav", "clips.jsonl", "report.md.new"}
    for name in theirs:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("theirs")
    open_run(run, "sft", TINY, resume=False, overwrite=True)
    assert files(run).keys() == theirs | {"config.json", "run.json"}
    assert stage_of(run) == "sft"


@pytest.mark.parametrize(("init", "out"), [("run", "run"), ("run/sft", "run"), ("run", "run/sft/new"), ("run", ".")])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_is_read_is_never_replaced(init: str, out: str, overwrite: bool, tmp_path: Path) -> None:
    run_of_both(tmp_path / "run")
    before = files(tmp_path)
    with pytest.raises(RunError, match=r"--out .* must not be, hold or lie in --init .*, which is read"):
        stages.grpo(TINY, tmp_path / out, init=tmp_path / init, overwrite=overwrite, progress=silent)
    assert files(tmp_path) == before


def test_a_manifest_is_never_inside_what_is_replaced(tmp_path: Path) -> None:
    run = run_of_both(tmp_path / "run")
    (run / "clips.jsonl").write_text('{"id": "a", "transcript": "so", "captions": ["calm"], "split": "train"}\n')
    before = files(tmp_path)
    cfg = presets.override(TINY, [f"data.manifest={run / 'clips.jsonl'}"])
    with pytest.raises(RunError, match=r"must not hold data.manifest=.*clips\.jsonl, which is read"):
        stages.sft(cfg, run, overwrite=True, progress=silent)
    assert files(tmp_path) == before
