"""What `--record` keeps: a row a step, of any session, that changes nothing of the run."""

import logging
from pathlib import Path

import jax
import numpy as np
import pytest

from emojax.config import ConfigError
from emojax.errors import RunError
from emojax.training import checkpoint, record_files, records, stages
from emojax.training.record_rows import causal, parse, sealed
from emojax.training.recording import Recording
from emojax.training.run import RunOptions
from emojax.training.sketch import on_host
from support import made_up
from support.small_loop import STEPS, TINY, run

RECORD = RunOptions(record=True)


def rows(out: Path) -> bytes:
    return (out / "record" / "steps.u32").read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    run(out, RECORD)
    return out


def test_a_recorded_run_ends_as_an_unrecorded_one_and_has_a_row_a_step(unbroken: Path, tmp_path: Path) -> None:
    plain, again = run(tmp_path), run(unbroken)
    assert checkpoint.sha256(plain.params) == checkpoint.sha256(again.params)
    assert not (tmp_path / "record").exists()
    found = records.read(unbroken / "record")
    assert (list(found.states), list(found.rows)) == ([0], list(range(1, STEPS + 1)))
    assert found.layout.names == ("batch", "metrics.loss", "metrics.skipped", "params.w", "state.skipped", "state.step")


def test_the_record_of_a_resumed_run_is_that_of_the_unbroken_one(
    unbroken: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, RunOptions(record=True, until=3))
    assert checkpoint.steps(tmp_path) == [3]
    file, size = tmp_path / "record" / "steps.u32", records.read(tmp_path / "record").layout.size
    file.write_bytes(rows(unbroken)[: 4 * size * 5 + 7])  # killed later, in the middle of a row
    run(tmp_path, RECORD)
    assert rows(tmp_path) == rows(unbroken)
    assert [s["step"] for s in records.read(tmp_path / "record").sessions] == [0, 3]
    assert "is not the one that was recorded" not in caplog.text


def test_a_state_that_is_not_the_one_that_was_recorded_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, RunOptions(record=True, until=3))
    layout, file = records.read(tmp_path / "record").layout, tmp_path / "record" / "steps.u32"
    table = np.frombuffer(file.read_bytes(), "<u4").reshape(-1, layout.size).copy()
    last = table[-1]
    last[2 + 23 * layout.names.index("params.w")] ^= 1
    file.write_bytes(table[:-1].tobytes() + sealed(last[:2].tolist(), last[2:-1]).tobytes())
    with caplog.at_level(logging.WARNING, "emojax"):
        run(tmp_path, RECORD)
    assert "the state of step 3 is not the one that was recorded: params.w" in caplog.text


def test_rows_do_not_depend_on_the_number_of_devices(unbroken: Path, tmp_path: Path) -> None:
    eight = jax.sharding.Mesh(np.array(jax.devices()).reshape(8, 1, 1), ("data", "fsdp", "model"))
    run(tmp_path, RECORD, mesh=eight)
    assert rows(tmp_path) == rows(unbroken), "a sum of eight equal numbers is exact in any order"


def test_a_run_is_not_recorded_beside_another_ones_leaves(unbroken: Path, tmp_path: Path) -> None:
    about = (unbroken / "record" / record_files.ABOUT).read_text().replace("params.w", "params.v")
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / record_files.ABOUT).write_text(about)
    with pytest.raises(RunError, match=r"record records other leaves than this run has; move it away"):
        run(tmp_path, RECORD)


def test_a_session_ends_after_a_step_and_the_run_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    run(tmp_path / "stopped", RunOptions(until=2), ("checkpoint_every=100",))
    assert checkpoint.steps(tmp_path / "stopped") == [2]
    ends = [run(tmp_path / name) for name in ("stopped", "unbroken")]
    assert checkpoint.sha256(ends[0].params) == checkpoint.sha256(ends[1].params)
    assert len((tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()) == STEPS
    with pytest.raises(ConfigError, match="--until wants a step, counted from 1; got 0"):
        stages.sft(TINY, tmp_path / "none", options=RunOptions(until=0))


def test_a_row_of_emo_grpo_holds_every_leaf_and_the_samples() -> None:
    """Of a step's shapes, filled with random numbers: the step itself need not be compiled for it."""
    cfg = made_up.config()
    program = made_up.grpo(cfg)
    batch = program.batch
    with jax.set_mesh(program.mesh):
        state, metrics = jax.eval_shape(program.step, program.state, program.frozen, batch, program.key)
    r = np.random.default_rng(0)
    given = [jax.tree.map(lambda s: r.integers(0, 9, s.shape).astype(s.dtype), x) for x in (batch, metrics, state)]
    samples = given[1]["samples"]
    mask = np.arange(cfg.caption_tokens) < r.integers(1, cfg.caption_tokens + 1, (*samples.reward.shape, 1))
    given[1]["samples"] = samples.replace(mask=mask)
    recording = Recording(program, metrics)
    with jax.set_mesh(program.mesh):
        row = parse(recording.layout, recording.row(7, batch, np.asarray(recording.of_step(*given))))
    leaves = causal(*given)
    assert list(leaves) == list(recording.layout.names)
    sizes = [x.size for tree in given for x in jax.tree.leaves(tree) if x.size]
    assert len(leaves) == len(sizes) - 1, "the clips' ids, which the batch has too, are kept as they are"
    np.testing.assert_array_equal(row.words, np.stack([on_host(np.asarray(x)) for x in leaves.values()]))
    assert row.samples is not None
    for name in ("clip_id", "ids", "mask", "reward"):
        np.testing.assert_array_equal(getattr(row.samples, name), getattr(given[1]["samples"], name))
