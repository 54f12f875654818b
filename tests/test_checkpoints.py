"""What is restored is what was saved, on any devices; what is damaged is passed over, and said; the best are kept."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.config import Mesh
from emojax.errors import RunError, Stopped
from emojax.parallel import sharding
from emojax.training import checkpoint, saved_tree
from emojax.training.program import new_state
from emojax.training.stop import listening
from emojax.types import TrainState
from support import made_up
from support.small_loop import MESH, run
from test_stop import in_step, lines

DAMAGES = {  # file of a checkpoint -> what befalls it
    "metadata cut": ("default/_METADATA", lambda path: path.write_bytes(path.read_bytes()[:40])),
    "metadata garbage": ("default/_METADATA", lambda path: path.write_bytes(bytes(range(256)))),
    "manifest gone": ("default/manifest.ocdbt", lambda path: path.unlink()),
    "data cut": ("default/d/*", lambda path: path.write_bytes(path.read_bytes()[:-9])),
    "data gone": ("default/d/*", lambda path: path.unlink()),
    "data garbage": ("default/d/*", lambda path: path.write_bytes(path.read_bytes()[::-1])),
    "all gone": ("default", shutil.rmtree),
}


def damage(run: Path, step: int, how: str) -> None:
    pattern, befall = DAMAGES[how]
    found = list((run / "checkpoints" / str(step)).glob(pattern))
    assert found
    for path in found:
        befall(path)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    run(out, settings=EVERY_TWO)
    return out


EVERY_TWO = ("checkpoint_every=2", "keep=3")


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_and_the_run_ends_as_the_unbroken(
    how: str, unbroken: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, settings=EVERY_TWO, steps=4)
    damage(tmp_path, 4, how)
    begun: list[int] = []
    with caplog.at_level(logging.WARNING, "emojax"):
        run(tmp_path, settings=EVERY_TWO, progress=lambda step, _: begun.append(step))
    assert begun == [3, 4, 5, 6]
    assert str(tmp_path / "checkpoints" / "4") in caplog.text
    assert checkpoint.steps(tmp_path) == [2, 4, 6]
    assert (tmp_path / "damaged" / "4").is_dir(), "it may be the storage that failed"
    assert lines(tmp_path) == lines(unbroken)


def test_where_none_can_be_read_nothing_is_begun_again_in_silence(tmp_path: Path) -> None:
    run(tmp_path, settings=EVERY_TWO, steps=4)
    damage(tmp_path, 2, "data cut")
    damage(tmp_path, 4, "metadata garbage")
    with pytest.raises(RunError, match=r"(?s)no checkpoint in .* can be read:\n  4: .*\n  2: .*put a copy back"):
        run(tmp_path, settings=EVERY_TWO)
    assert checkpoint.steps(tmp_path) == [2, 4]  # left for whoever can mend them
    with pytest.raises(RunError, match="can be read"):
        checkpoint.restore_params(tmp_path, abstract())


def abstract() -> dict[str, Any]:
    return {"w": jax.ShapeDtypeStruct((3,), "float32", sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]))}


def test_want_of_memory_is_not_a_damaged_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, settings=EVERY_TWO)

    def full(*_: Any) -> None:
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 3 bytes")

    monkeypatch.setattr(saved_tree, "_read", full)
    with pytest.raises(RuntimeError, match=r"^RESOURCE_EXHAUSTED"):
        run(tmp_path)
    assert checkpoint.steps(tmp_path) == [2, 4, 6]


def weights(at: Path, which: str) -> float:
    return float(checkpoint.restore_params(at, abstract(), which)["w"][0])


def test_the_last_and_the_best_are_kept_and_can_be_asked_for(tmp_path: Path) -> None:
    losses = [5.0, 1.0, 2.0, 3.0, 4.0, 2.5, 9.0, 9.0]  # of the steps; means of two: 3, 2.5, 3.25, 9
    settings = ("checkpoint_every=2", "keep=1", "keep_best=2")
    scores = iter(losses)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "score", lambda values, by: -next(scores))
        run(tmp_path, settings=settings, steps=8)
    assert checkpoint.steps(tmp_path) == [2, 4, 8]
    run(tmp_path / "all", settings=("checkpoint_every=2", "keep=9"), steps=8)
    everything = {which: weights(tmp_path / "all", which) for which in ("2", "4", "6", "8")}
    assert len(set(everything.values())) == 4
    assert weights(tmp_path, "last") == everything["8"]
    assert weights(tmp_path, "best") == everything["4"]
    assert weights(tmp_path, "2") == everything["2"]
    with pytest.raises(RunError, match="no checkpoint '6'; wanted last, best, or one of 2, 4, 8"):
        weights(tmp_path, "6")
    damage(tmp_path, 4, "data gone")
    assert weights(tmp_path, "best") == everything["2"]
    assert checkpoint.steps(tmp_path) == [2, 4, 8]  # whoever only reads removes nothing


def test_a_run_that_is_stopped_keeps_the_same_best_ones(tmp_path: Path) -> None:
    settings = ("checkpoint_every=3", "keep=1", "keep_best=3")
    run(tmp_path / "unbroken", settings=settings, steps=9)
    for at in (1, 3):  # the steps after them are finished: the means of 1 to 3 and of 4 to 6 are of two sessions each
        with listening(), pytest.raises(Stopped):
            run(tmp_path / "broken", settings=settings, steps=9, progress=in_step(at))
        assert checkpoint.steps(tmp_path / "broken")[-1] == at + 1
    run(tmp_path / "broken", settings=settings, steps=9)
    scores = [
        {
            step: json.loads((out / "checkpoints" / str(step) / "_CHECKPOINT_METADATA").read_text())["custom_metadata"]
            for step in checkpoint.steps(out)
        }
        for out in (tmp_path / "unbroken", tmp_path / "broken")
    ]
    assert scores[0] == scores[1]
    assert list(scores[0]) == [3, 6, 9]


def test_a_damaged_score_costs_its_rank_and_nothing_else(tmp_path: Path) -> None:
    run(tmp_path, settings=(*EVERY_TWO, "keep_best=3"), steps=4)
    (tmp_path / "checkpoints" / "2" / "_CHECKPOINT_METADATA").write_text('{"custom_metadata": {"score"')
    run(tmp_path, settings=("checkpoint_every=2", "keep=1", "keep_best=3"))
    assert checkpoint.steps(tmp_path) == [4, 6]


KILLED = """
import os, signal, sys, threading, time
import jax, jax.numpy as jnp
from pathlib import Path
from emojax.training import checkpoint, saved_tree
from emojax.types import TrainState
run = Path(sys.argv[1])
run.mkdir()
def state(i):
    weights = {"w": jnp.full((64, 2**18), i, jnp.float32)}
    return TrainState(step=jnp.int32(i), params=weights, opt_state=(), skipped=jnp.int32(0))
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def later():
    while not list((run / "checkpoints").glob("2.*")):
        time.sleep(0.0005)
    time.sleep(float(sys.argv[2]))
    die()
with checkpoint.manager(run, 2) as checkpoints:
    checkpoint.save(checkpoints, state(1), 1, [], True)
    checkpoints.wait_until_finished()
    if sys.argv[2] == "commit":
        os.rename = os.replace = die
    else:
        threading.Thread(target=later, daemon=True).start()
    checkpoint.save(checkpoints, state(2), 2, [], True)
    checkpoints.wait_until_finished()
    time.sleep(9)
"""


def killed_while_it_saves(out: Path, when: str) -> bool:
    """Whether the checkpoint was cut short; the one before it must be the last in any case."""
    assert subprocess.run([sys.executable, "-c", KILLED, str(out), when], check=False).returncode == -9
    found = checkpoint.steps(out)
    assert found in ([1], [1, 2])
    like = jax.ShapeDtypeStruct((64, 2**18), "float32", sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    assert (np.asarray(checkpoint.restore_params(out, {"w": like})["w"]) == found[-1]).all()
    with checkpoint.manager(out, 9) as checkpoints:  # what is half written is removed
        again = TrainState(step=jnp.int32(9), params={"w": jnp.zeros(3)}, opt_state=(), skipped=jnp.int32(0))
        checkpoint.save(checkpoints, again, 3, [], True)
    assert not list((out / "checkpoints").glob("*tmp*"))
    return found == [1]


def test_a_save_that_was_killed_is_never_the_last_checkpoint(tmp_path: Path) -> None:
    assert killed_while_it_saves(tmp_path / "run", "commit")


@pytest.mark.slow
def test_saves_killed_at_many_moments(tmp_path: Path) -> None:
    cut = [killed_while_it_saves(tmp_path / str(n), str(0.01 * n)) for n in range(20)]
    assert any(cut)


CFG = made_up.config(mesh=Mesh(fsdp=2, model=2))


def test_saved_on_eight_devices_restored_on_fewer(tmp_path: Path) -> None:
    wide = made_up.sft(CFG, 8)
    saved = new_state(wide, made_up.params(CFG))
    with checkpoint.manager(tmp_path, 1) as checkpoints:
        checkpoint.save(checkpoints, saved, 0, [], True)
    whole = checkpoint.sha256(saved.params)
    for devices in (1, 2, 4):
        cfg = made_up.config(mesh=Mesh(fsdp=min(2, devices), model=max(1, devices // 2)))
        program = made_up.sft(cfg, devices)
        restored = checkpoint.restore(tmp_path, program.state)
        assert restored is not None
        leaves, wanted = jax.tree.leaves(restored), jax.tree.leaves(program.state)
        assert [leaf.sharding for leaf in leaves] == [leaf.sharding for leaf in wanted]
        jax.tree.map(np.testing.assert_array_equal, restored, saved)
        assert checkpoint.sha256(restored.params) == whole


def test_training_goes_on_on_fewer_devices(tmp_path: Path) -> None:
    """To rounding: sums are made in another order."""
    ended = run(tmp_path / "one")
    four = jax.make_mesh((4, 1, 1), sharding.AXES, devices=jax.devices()[:4], axis_types=MESH.axis_types)
    run(tmp_path / "run", mesh=four, steps=3)
    np.testing.assert_allclose(run(tmp_path / "run").params["w"], ended.params["w"], rtol=1e-6)
