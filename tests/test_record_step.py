"""`emojax record`: a run taken again up to a step, said to be its own or not, and that step written down."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emojax import cli
from emojax.config import presets
from emojax.errors import RunError
from emojax.reproduce import step_files
from emojax.reproduce.origins import compare_steps
from emojax.reproduce.record_step import Wanted, faithful, record_step
from emojax.training import records, stages
from emojax.training.record_rows import sealed
from emojax.training.run import RunOptions
from emojax.training.sketch import WORDS
from support import small_loop
from support.made_records import leaves
from support.made_records import write as write_record


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the small loop, with checkpoints of steps 2, 4 and 6."""
    out = tmp_path_factory.mktemp("run")
    small_loop.run(out, RunOptions(record=True), ("checkpoint_every=2", "keep=9"))
    (out / "start").mkdir()
    (out / "run.json").write_text(json.dumps({"stage": "grpo", "init": "nowhere"}))
    (out / "config.json").write_text(presets.dumps(presets.override(small_loop.TINY, ["steps=6"])))
    (out / "tokenizer.json").write_text("{}")
    return out


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Instead of a real stage; the steps that it began after."""
    found: list[int] = []

    def grpo(cfg: Any, out: Path, *, init: Any, resume: bool, options: RunOptions, progress: Any) -> None:
        small_loop.run(out, options, steps=cfg.steps)
        found.append(*records.read(out / "record").states)

    monkeypatch.setattr(stages, "grpo", grpo)
    monkeypatch.setattr("emojax.parallel.hosts.end", sys.exit)
    return found


def ended(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["emojax", *map(str, words)])
    try:
        cli.main()
    except SystemExit as e:
        return int(e.code or 0)
    return 0


def test_a_step_is_recorded_from_the_nearest_checkpoint_and_said_to_be_the_runs_own(
    run: Path, begun: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert ended(monkeypatch, "record", run, "--step", 4, "--ops", "--tensors") == 0
    file = run / "record" / "step-4-ops.npz"
    said = f"{file}: its own step: steps 2 to 4, taken again, are those of its record, bit for bit"
    assert said in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before, "nothing else of the run is touched"
    assert ended(monkeypatch, "record", run, "--step", 2, "--ops", "--out", tmp_path / "2.npz") == 0
    assert begun == [2, 0]
    found = step_files.read(file)
    assert (found.stage, found.step, found.config["steps"]) == ("grpo", 4, 6)
    assert found.written.arguments == ["state.step", "state.params.w", "state.skipped", "frozen", "batch", "key"]
    assert {each.primitive for each in found.written.operations} >= {"reduce_sum", "random_bits", "result"}
    assert any(each.line.startswith("tests/support/small_loop.py:") for each in found.written.operations)
    capsys.readouterr()
    assert ended(monkeypatch, "record", run, "--step", 4, "--ops", "--like", file) == 0
    assert f"each operation was given what it was given in {file}" in capsys.readouterr().out
    like = run / "record" / "step-4-like.npz"
    assert ended(monkeypatch, "compare", file, like, "--page", tmp_path / "page.html") == 0
    assert "the same, bit for bit: step 4" in capsys.readouterr().out
    assert "the same, bit for bit" in (tmp_path / "page.html").read_text()


def test_a_step_that_is_not_the_recorded_one_is_told_with_where_they_part(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    shutil.rmtree(other / "record")
    assert "the run has no record" in record_step(other, tmp_path / "w", Wanted(4, tmp_path / "4.npz", ops=True))
    write_record(other / "record", [leaves(n) for n in range(6)])
    with pytest.raises(RunError, match="no weight has the same name"):
        record_step(other, tmp_path / "v", Wanted(4, tmp_path / "4.npz", ops=True))
    shutil.rmtree(other / "record")
    shutil.copytree(run / "record", other / "record")
    layout, file = records.read(other / "record").layout, other / "record" / "steps.u32"
    table = np.frombuffer(file.read_bytes(), "<u4").reshape(-1, layout.size).copy()
    table[3, 2 + WORDS * layout.names.index("params.w")] ^= 1
    table[3] = sealed(table[3, :2].tolist(), table[3, 2:-1])
    file.write_bytes(table.tobytes())
    said = record_step(other, tmp_path / "u", Wanted(4, tmp_path / "4.npz", ops=True))
    assert said.startswith("NOT the step that was recorded: they differ first at step 3, in params.w")


def test_a_step_with_waypoints_is_said_to_be_faithful_or_which_arrays_moved(run: Path, tmp_path: Path) -> None:
    said = record_step(run, tmp_path / "w", Wanted(3, tmp_path / "3.npz"))
    assert said.endswith("bit for bit; faithful: with waypoints it gives the same 5 arrays, bit for bit")
    assert step_files.read(tmp_path / "3.npz").of == "waypoints"
    row = records.read(run / "record").rows[3]
    names = records.read(run / "record").layout.names
    made = dict(zip(names, row.words.copy(), strict=True))
    made["params.w"][0] += 1
    assert faithful(row, names, made) == "NOT faithful: waypoints change params.w of the 6 arrays that it gives"


def test_what_cannot_be_recorded_is_one_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "both" / "grpo").mkdir(parents=True)
    (tmp_path / "both" / "run.json").write_text('{"stage": "train"}')
    (tmp_path / "both" / "grpo" / "run.json").write_text('{"stage": "grpo"}')
    for why, words in {
        "--step wants 1 or more, got 0": ("record", run, "--step", 0),
        "has 6 steps; there is no step 7": ("record", run, "--step", 7),
        "has stages; name one:": ("record", tmp_path / "both", "--step", 1),
        "--tensors and --like are of operations": ("record", run, "--step", 1, "--tensors"),
        "is no run directory": ("record", tmp_path, "--step", 1),
        "is a file of one step,": ("compare", run / "config.json", run),
        "cannot be read as the record of a step: File is not a zip file": (
            "compare", run / "config.json", run / "config.json",
        ),
        "no.npz: no such file": ("record", run, "--step", 2, "--ops", "--like", tmp_path / "no.npz"),
    }.items():  # fmt: skip
        assert ended(monkeypatch, *words) == 2
        said = capsys.readouterr().err
        assert why in said
        assert said.count("\n") == 1
    assert not (run / "record" / "step-7-ops.npz").exists()


def test_steps_of_other_numbers_differ(run: Path, tmp_path: Path) -> None:
    """Of the small loop a batch of other numbers: an argument differs, and no operation does by itself."""
    for n in (1, 2):
        record_step(run, tmp_path / f"w{n}", Wanted(n, tmp_path / f"{n}.npz", ops=True))
    one, two = (step_files.read(tmp_path / f"{n}.npz") for n in (1, 2))
    found = compare_steps(one, dataclasses.replace(two, step=1))
    assert found.origins == []
    assert "batch" in found.arguments
