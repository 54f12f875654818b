"""A step written down operation by operation; two of them laid side by side: what differs by itself is named."""

import json
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from emojax.errors import RunError
from emojax.reproduce import step_files, tell_origins
from emojax.reproduce.operations import Writer
from emojax.reproduce.origins import StepComparison, compare_steps
from emojax.reproduce.step_files import StepRecord
from emojax.reproduce.step_operations import fed
from support import toy_step

ABOUT = {"of": "operations", "stage": "grpo", "step": 3, "config": {"seed": 0}, "session": {"mesh": {"data": 1}}}
ABOUT |= {"proof": "its own step"}


def write(path: Path, writer: Writer, **about: object) -> StepRecord:
    with step_files.writing(path) as file:
        file.close(writer.written, ABOUT | about)
    return step_files.read(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> StepRecord:
    """With its tensors."""
    path = tmp_path_factory.mktemp("plain") / "step.npz"
    with step_files.writing(path) as file:
        file.close(toy_step.evaluated(toy_step.arguments(), keep=file.keep).written, ABOUT)
    return step_files.read(path)


def said(found: StepComparison) -> str:
    return "\n".join(tell_origins.lines(found, ("A", "B")))


def test_a_step_evaluated_operation_by_operation_gives_what_it_gives() -> None:
    args = toy_step.arguments()
    made = toy_step.evaluated(args).returned  # pyright: ignore[reportAttributeAccessIssue]
    for one, other in zip(made, jax.tree.leaves(jax.jit(toy_step.step)(*args)), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


def test_a_step_is_the_same_as_itself_and_its_loops_are_taken_turn_by_turn(plain: StepRecord, tmp_path: Path) -> None:
    found = compare_steps(plain, write(tmp_path / "b.npz", toy_step.evaluated(toy_step.arguments())))
    assert found.same
    assert found.paired == found.operations[0] == found.operations[1] > 100
    assert said(found).startswith(f"the same, bit for bit: step 3, {found.paired} operations\nA: its own step")
    rows, operations = plain.written.rows, plain.written.operations
    turns = {
        name: {row.turns for row in rows if operations[row.operation].primitive == name} for name in ("tanh", "lt")
    }
    assert turns == {"tanh": {(0,), (1,)}, "lt": {(0,), (1,), (2,), (3,)}}


@pytest.mark.parametrize("how", toy_step.PLANTED)
def test_the_line_of_another_operation_is_the_only_origin(how: str, plain: StepRecord, tmp_path: Path) -> None:
    found = compare_steps(plain, write(tmp_path / "b.npz", toy_step.evaluated(toy_step.arguments(), how)))
    assert {line for origin in found.origins for line in origin.lines} == {toy_step.line(how)}
    assert toy_step.line(how) in said(found)
    assert not found.same
    if how == "epsilon":
        for one, backward in zip(found.origins, (False, True), strict=True):  # the gradient computes it again
            assert (one.operation.primitive, one.turns, one.operation.backward) == ("add", (0,), backward)
            assert one.constants == (pytest.approx(1e-5), pytest.approx(2e-5))
        assert "turn 0 of scan" in said(found)


@pytest.mark.parametrize("trial", range(10))
def test_one_ulp_in_an_argument_is_no_origin(trial: int, plain: StepRecord, tmp_path: Path) -> None:
    key, mask, p, x = toy_step.arguments()
    r = np.random.default_rng(trial)
    name = ("w", "b", "x")[trial % 3]
    leaf = x if name == "x" else p[name]
    at = tuple(int(r.integers(size)) for size in leaf.shape)
    leaf[at] = np.nextafter(leaf[at], np.float32(np.inf))
    found = compare_steps(plain, write(tmp_path / "b.npz", toy_step.evaluated((key, mask, p, x))))
    assert found.origins == []
    assert found.arguments == ["x" if name == "x" else f"p.{name}"]
    assert found.differ > 0
    assert said(found).startswith("0 origins in step 3")


def test_a_step_that_is_given_what_another_read_shows_every_turn_that_differs(
    plain: StepRecord, tmp_path: Path
) -> None:
    alone = toy_step.evaluated(toy_step.arguments(), "epsilon")
    writer = toy_step.evaluated(toy_step.arguments(), "epsilon", feed=fed(plain, alone), after=alone)
    found = compare_steps(plain, write(tmp_path / "b.npz", writer))
    assert [(each.operation.primitive, each.turns, each.operation.backward) for each in found.origins] == [
        ("add", (0,), False), ("add", (1,), False), ("add", (1,), True), ("add", (0,), True),
    ], "once forward, once where the gradient computes it again, last turn first"  # fmt: skip
    assert {each.lines for each in found.origins} == {(toy_step.line("epsilon"),)}
    assert found.results == []


def test_on_more_devices_sums_and_products_are_the_only_origins(plain: StepRecord, tmp_path: Path) -> None:
    """Each operation by itself: every one is given the numbers of one device."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    args = jax.device_put(toy_step.arguments(), (everywhere, rows, everywhere, rows))
    with jax.set_mesh(mesh):
        alone = toy_step.evaluated(args)
        writer = toy_step.evaluated(args, feed=fed(plain, alone), after=alone)
    found = compare_steps(plain, write(tmp_path / "b.npz", writer))
    assert found.arguments == []
    assert found.origins
    assert {each.operation.primitive for each in found.origins} <= {"reduce_sum", "dot_general"}


def test_what_a_step_needs_of_another_and_is_not_there_is_told(plain: StepRecord, tmp_path: Path) -> None:
    without = write(tmp_path / "a.npz", toy_step.evaluated(toy_step.arguments()))
    other = toy_step.evaluated(toy_step.arguments(), "epsilon")
    with pytest.raises(RunError, match=r"a\.npz has no tensors: record that step again with --tensors"):
        toy_step.evaluated(toy_step.arguments(), "epsilon", feed=fed(without, other), after=other)


def test_steps_that_do_not_belong_together_are_one_line(plain: StepRecord, tmp_path: Path) -> None:
    writer = toy_step.evaluated(toy_step.arguments())
    empty = Writer()
    for why, other in {
        r"is of `grpo`, .* of `sft`: the two stages are other programs": write(tmp_path / "a", writer, stage="sft"),
        r"holds operations, .* waypoints; record the step of both with or without --ops": write(
            tmp_path / "w", writer, of="waypoints"
        ),
        r"is of step 3, .* of step 4; record the same step of both": write(tmp_path / "b", writer, step=4),
        r"have no operation in common: they are of other programs": write(tmp_path / "c", empty),
    }.items():
        with pytest.raises(RunError, match=why) as e:
            compare_steps(plain, other)
        assert "\n" not in str(e.value)


def test_a_file_that_is_damaged_is_one_line(plain: StepRecord, tmp_path: Path) -> None:
    whole, path = plain.path.read_bytes(), tmp_path / "step.npz"
    with pytest.raises(RunError, match=r"step\.npz: no such file; `emojax record RUN --step N --ops` writes one"):
        step_files.read(path)
    with zipfile.ZipFile(plain.path) as file:
        parts = {name: file.read(name) for name in file.namelist() if not name.startswith("tensors")}
    about = json.loads(parts["about.json"])
    words = whole.index(parts["words.npy"])

    def with_parts(**changed: bytes | None) -> bytes:
        with zipfile.ZipFile(path, "w") as file:
            for name, data in (parts | {name.replace("__", "."): data for name, data in changed.items()}).items():
                if data is not None:
                    file.writestr(name, data)
        return path.read_bytes()

    for why, data in {
        "File is not a zip file": whole[: len(whole) // 2],
        "Bad CRC-32": whole[: words + 500] + bytes([whole[words + 500] ^ 1]) + whole[words + 501 :],
        "its format is 9, this emojax reads 1": with_parts(about__json=json.dumps(about | {"format": 9}).encode()),
        "it lacks 'proof'": with_parts(
            about__json=json.dumps({k: v for k, v in about.items() if k != "proof"}).encode()
        ),
        r"it lacks .*words\.npy": with_parts(words__npy=None),
        "its parts do not belong together": with_parts(operation__npy=parts["inputs-ends.npy"]),
    }.items():
        path.write_bytes(data)
        with pytest.raises(RunError, match=rf"step\.npz cannot be read as the record of a step: .*{why}") as e:
            step_files.read(path)
        assert "\n" not in str(e.value)
