"""What is read of a checkpoint is what was written, or its damage is named and the one before it is taken."""

import json
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from emojax.config import Mesh
from emojax.errors import RunError
from emojax.training import checkpoint, digests, saved_tree
from emojax.training.program import new_state
from emojax.types import TrainState, Tree
from support import made_up


def small(n: int) -> TrainState:
    """Of leaves of every type, `n` in all of them."""
    weights = jax.random.normal(jax.random.key(n), (3, 8, 16))
    tree = {"w": weights, "half": weights.astype(jnp.bfloat16), "bits": weights > n, "small": weights.astype(jnp.int8)}
    return TrainState(step=jnp.int32(n), params=tree, opt_state=({"m": weights * n},), skipped=jnp.int32(0))


def abstract(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def equal(one: Tree, other: Tree) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: np.array_equal(np.asarray(x), np.asarray(y)), one, other))


def write(run: Path, states: list[TrainState]) -> None:
    """Checkpoints 1, 2 and so on, and a `start`."""
    with checkpoint.manager(run, 9) as checkpoints:
        for step, state in enumerate(states, 1):
            checkpoint.save(checkpoints, state, step, [0.5], True)
            checkpoint.finish(checkpoints)
    checkpoint.save_tree(run / "start", states[0].params)


def damaged(folder: Path, r: random.Random) -> str:
    """One file of the folder with a bit flipped, now and then with more than that; says which."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    sizes = [path.stat().st_size for path in files]
    path = r.choice(files) if r.random() < 0.5 else r.choices(files, sizes)[0]
    data = bytearray(path.read_bytes())
    kind = r.choice(["flip"] * 7 + ["zeros", "cut", "noise"])
    match kind:
        case "flip":
            data[r.randrange(len(data))] ^= 1 << r.randrange(8)
        case "zeros":
            data[:] = bytes(len(data))
        case "cut":
            del data[r.randrange(len(data)) :]
        case "noise":
            at = r.randrange(len(data))
            data[at : at + 16] = r.randbytes(len(data[at : at + 16]))
    path.write_bytes(data)
    return f"{kind} in {path.relative_to(folder)}"


def flips(whole: Path, work: Path, states: list[TrainState], trials: int, said: Callable[[], str]) -> int:
    """How many of the damages were noticed; asserts that none was read in silence."""
    r, noticed = random.Random(0), 0
    for trial in range(trials):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(whole, work)
        what = damaged(work / ("start" if trial % 4 == 3 else "checkpoints/2"), r)
        restored = checkpoint.restore(work, abstract(states[1]))
        if equal(restored, states[1]):
            assert (work / "checkpoints" / "2").exists(), what
        else:
            noticed += 1
            assert equal(restored, states[0]), what
            assert (work / "damaged" / "2").exists(), what
            assert str(work / "checkpoints" / "2") in said(), what
        try:
            start = checkpoint.restore_tree(work / "start", abstract(states[0].params))
        except RunError as e:
            start, error = states[0].params, str(e)
            noticed += error.startswith(f"{work / 'start'} cannot be read: ") and "\n" not in error
        assert equal(start, states[0].params), what
    return noticed


def test_no_damage_is_read_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    states = [small(1), small(2)]
    write(tmp_path / "whole", states)
    with caplog.at_level(logging.WARNING, "emojax"):
        # how many meet data is chance
        assert flips(tmp_path / "whole", tmp_path / "work", states, 16, lambda: caplog.text) > 0
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_no_damage_to_the_state_of_a_stage_is_read_in_silence(
    stage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = made_up.config(mesh=Mesh())
    program = made_up.sft(cfg, 1) if stage == "sft" else made_up.grpo(cfg, 1)
    params = made_up.params(cfg)
    state = new_state(program, params if stage == "sft" else params.decoder)
    states = [state, jax.tree.map(lambda x: x + 1, state)]
    write(tmp_path / "whole", states)
    with caplog.at_level(logging.WARNING, "emojax"):
        assert flips(tmp_path / "whole", tmp_path / "work", states, 250, lambda: caplog.text) > 100


def test_a_digest_depends_on_every_bit_and_its_place_and_not_on_the_mesh() -> None:
    x = np.random.default_rng(0).normal(size=(8, 6, 5)).astype(np.float32)
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    parts = [PartitionSpec(), PartitionSpec("data"), PartitionSpec(None, "model"), PartitionSpec(("data", "model"))]
    placed = [jax.device_put(x, NamedSharding(mesh, part)) for part in parts]
    (digest,) = {digests.digests({"x": each})["x"] for each in (jnp.asarray(x), *placed)}
    flipped = []
    for bit in range(32):
        changed = x.copy()
        changed.view(np.uint32)[bit % 8, bit % 6, bit % 5] ^= np.uint32(1 << bit)
        flipped.append(changed)
    others = [*flipped, x[::-1], np.zeros_like(x), x.reshape(6, 8, 5).swapaxes(0, 1)]
    found = {digests.digests({"x": jnp.asarray(each)})["x"] for each in others}
    assert len(found | {digest}) == len(others) + 1


def test_devices_and_the_host_have_one_digest() -> None:
    state = small(3)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(np.arange(1600.0, dtype=np.float32), NamedSharding(mesh, PartitionSpec("data")))
    for leaf in [*jax.tree.leaves(state), spread, jnp.zeros((0, 3))]:
        np.testing.assert_array_equal(digests._on_device(leaf.sharding)(leaf), digests._on_host(leaf))
    half = state.params["half"]
    assert digests.digests({"x": half}) == digests.digests({"x": half.astype(jnp.float32)})


def test_a_checkpoint_of_before_the_digests_is_read_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_tree, "_warned", set())
    write(tmp_path, [small(1), small(2)])
    for file in tmp_path.rglob("_CHECKPOINT_METADATA"):
        found: dict[str, Any] = json.loads(file.read_text())
        found["custom_metadata"] = {"score": 1.0, "since": []} if "checkpoints" in file.parts else None
        file.write_text(json.dumps(found))
    assert equal(checkpoint.restore(tmp_path, abstract(small(2))), small(2))
    assert equal(checkpoint.restore_tree(tmp_path / "start", abstract(small(1).params)), small(1).params)
    assert caplog.text.count("has no digests, as an older emojax wrote it: it is read, and not checked") == 1


def test_a_manifest_that_cannot_be_opened_is_one_warning_or_one_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, [small(1), small(2)])
    for folder in ("checkpoints/2/default", "start"):
        (tmp_path / folder / "manifest.ocdbt").unlink()
        (tmp_path / folder / "manifest.ocdbt").mkdir()  # root may read what it has no right to
    like = abstract({"params": small(1).params})
    assert equal(checkpoint.restore_params(tmp_path, like["params"]), small(1).params)
    with pytest.raises(
        RunError, match=r"start cannot be read: [^\n]*; put a copy back, or begin again by --overwrite$"
    ):
        checkpoint.restore_tree(tmp_path / "start", like["params"])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Traceback" not in capfd.readouterr().err
