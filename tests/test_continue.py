"""Runs are begun again, made longer, and begun from other captioners."""

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from emojax import param
from emojax.config import presets
from emojax.data.text import train_tokenizer
from emojax.decoder import captioner
from emojax.errors import RunError
from emojax.export import directory
from emojax.parallel import sharding
from emojax.training import initial
from emojax.training.run import open_run, stage_of, stepped
from support.small_loop import run
from test_cli import begun, files

TINY = presets.load("tiny")


def test_a_start_that_failed_does_not_stand_in_the_way(tmp_path: Path) -> None:
    """Whether the corrected command resumes or not, and whatever was wrong with the first one."""
    for name in ("notes.md", "sft/diary.txt"):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
    open_run(tmp_path / "run" / "new", "train", TINY, resume=False, overwrite=False)
    out = tmp_path / "run" / "new"
    open_run(out / "sft", "sft", TINY, resume=False, overwrite=False)
    (out / "sft" / "tokenizer.json").write_text("ours")
    (out / "sft" / "notes.md").write_text("theirs")
    other = presets.override(TINY, ["seed=1", "grpo.freeze=decoder.embed"])
    assert not stepped(out)
    for resume, stage in ((False, "train"), (True, "train"), (False, "grpo")):
        open_run(out, stage, other, resume=resume, overwrite=False)
        assert presets.read_json(out / "config.json") == other
        assert stage_of(out) == stage
        assert files(out).keys() == {"config.json", "run.json", "sft/notes.md"}


@pytest.mark.parametrize("where", [".", "sft", "grpo"])
def test_a_run_that_took_a_step_is_never_begun_again_unasked(where: str, tmp_path: Path) -> None:
    if where != ".":
        open_run(tmp_path, "train", TINY, resume=False, overwrite=False)
    begun(tmp_path / where)
    before = files(tmp_path)
    with pytest.raises(RunError, match="already holds a run"):
        open_run(tmp_path, "train", TINY, resume=False, overwrite=False)
    assert files(tmp_path) == before


def test_a_run_may_be_made_longer_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begun(tmp_path)
    longer = presets.override(TINY, ["steps=40", "checkpoint_every=7", "data.workers=2"])
    open_run(tmp_path, "sft", longer, resume=True, overwrite=False)
    assert presets.read_json(tmp_path / "config.json") == longer
    assert "learning rate goes on as in a run of that length" in caplog.text
    assert "steps: 20 there, 40 now" in caplog.text
    caplog.clear()
    open_run(tmp_path, "sft", dataclasses.replace(longer, keep=5), resume=True, overwrite=False)
    assert not caplog.text
    before = files(tmp_path)
    with pytest.raises(
        RunError, match=r"(?s)seed: 0 there, 1 now\n.*--set may change steps, sft_steps, checkpoint_every"
    ):
        open_run(tmp_path, "sft", presets.override(longer, ["seed=1", "steps=50"]), resume=True, overwrite=False)
    assert files(tmp_path) == before


def test_a_run_is_not_made_shorter_than_it_is(tmp_path: Path) -> None:
    run(tmp_path, steps=6)
    (tmp_path / "run.json").write_text('{"stage": "grpo"}')
    (tmp_path / "config.json").write_text(presets.dumps(TINY))
    with pytest.raises(RunError, match="has taken 6 steps, and 5 are asked for; set steps to 6 or more"):
        open_run(tmp_path, "grpo", presets.override(TINY, ["steps=5"]), resume=True, overwrite=False)


def test_a_longer_run_is_the_one_that_was_begun_so_long(tmp_path: Path) -> None:
    short, whole = run(tmp_path / "run", steps=3), run(tmp_path / "whole", steps=6)
    longer = run(tmp_path / "run", steps=6)
    assert int(short.step) == 3
    np.testing.assert_array_equal(longer.params["w"], whole.params["w"])


def test_every_session_says_what_it_was_made_with(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"stage": "grpo"}')
    for steps in (2, 4):
        run(tmp_path, steps=steps)
    told: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())
    assert told["stage"] == stage_of(tmp_path) == "grpo"
    first, second = told["sessions"]
    assert (first["step"], second["step"]) == (0, 2)
    assert first["versions"]["jax"] == jax.__version__
    assert first["devices"] == {"platform": "cpu", "kind": "cpu", "count": 8, "processes": 1}
    assert first["mesh"] == {"data": 1, "fsdp": 1, "model": 1}
    assert first["program"] == second["program"]
    assert len(first["program"]) == len(first["weights"]) == 64
    assert first["weights"] != second["weights"]
    assert "XLA_FLAGS" in first["flags"]
    assert first["command"] == shlex.join(sys.argv)


def test_any_captioner_starts_a_stage(tmp_path: Path) -> None:
    """An exported one here; that of a run, with its adapters, is tested in test_lora_runs."""
    mesh = sharding.make_mesh(TINY, jax.devices()[:1])
    params = param.init(captioner.declare(TINY), jax.random.key(5))
    tokenizer = train_tokenizer(["a calm voice"], TINY.model.decoder.vocab)
    directory.write(TINY, params, tokenizer, "card", tmp_path / "export")
    assert initial.config(tmp_path / "export").model == TINY.model
    assert initial.tokenizer(str(tmp_path / "export")).to_str() == tokenizer.to_str()
    begins = initial.begin(tmp_path / "export", TINY, mesh)
    jax.tree.map(np.testing.assert_array_equal, begins, params)
    wider = presets.override(TINY, ["decoder.width=64", "data.frame_size=32", "model.remat=true"])
    with pytest.raises(
        RunError, match=r"(?s)model\.decoder\.width: 32 there, 64 now\n.*frame_size.*leave out --config"
    ):
        initial.begin(tmp_path / "export", wider, mesh)
    with pytest.raises(FileNotFoundError, match="no such directory"):
        initial.config(tmp_path / "nowhere" / "else")
