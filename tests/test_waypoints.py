"""A step made anew equals the step; with waypoints its loops' results are sketched, turn by turn, in order."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.reproduce import step_files, tell_origins
from emojax.reproduce.operations import Written
from emojax.reproduce.origins import compare_steps
from emojax.reproduce.step_waypoints import remade, sketched
from emojax.reproduce.waypoint_rows import TURN, Rows
from emojax.reproduce.waypoints import Taps
from emojax.training.sketch import on_host
from support import made_up, toy_step


def counted(x: jax.Array, stop: int, more: float = 0.0) -> tuple[jax.Array, ...]:
    """Loops over whole numbers, whose sums are exact: up, down, and as long as it takes; a branch with a loop in it."""

    def add(total: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        total = total + row
        return total, total * 2

    up, _ = jax.lax.scan(add, jnp.zeros(3), x)
    down, doubled = jax.lax.scan(add, up, x, reverse=True)
    _, grown = jax.lax.while_loop(
        lambda c: c[0] < stop, lambda c: (c[0] + 1, c[1] + jnp.where(c[0] == 2, more, 0.0)), (0, down)
    )
    there = jax.lax.cond(stop > 2, lambda y: jax.lax.scan(add, y, x)[0], lambda y: y, grown)
    return doubled, there


def rows_of(written: Written) -> list[tuple[str, tuple[int, ...], list[np.ndarray]]]:
    operations, words = written.operations, written.words
    return [(operations[r.operation].primitive, r.turns, [words[v] for v in r.outputs]) for r in written.rows]


def waypoints(*args: Any) -> tuple[Any, Written]:
    made, found = remade(jax.jit(counted), [], args, Taps(5))
    return made, Rows(jax.device_get(found)).written


X = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_every_loop_is_sketched_after_each_turn_and_at_its_end() -> None:
    made, written = waypoints(X, 3, 1.0)
    up = np.cumsum(X, 0)
    down = up[-1] + np.cumsum(X[::-1], 0)
    grown = [down[-1], down[-1], down[-1] + 1]
    last = grown[-1] + np.cumsum(X, 0)
    np.testing.assert_array_equal(made[0], 2 * down[::-1])
    np.testing.assert_array_equal(made[1], last[-1])
    wanted: list[tuple[str, tuple[int, ...], list[Any]]] = [(TURN, (n,), [up[n], 2 * up[n]]) for n in range(4)]
    wanted += [("scan", (), [up[-1], 2 * up])]
    wanted += [(TURN, (3 - n,), [down[n], 2 * down[n]]) for n in range(4)]
    wanted += [("scan", (), [down[-1], 2 * down[::-1]])]
    wanted += [(TURN, (n,), [np.int32(n + 1), grown[n]]) for n in range(3)]
    wanted += [("while", (), [np.int32(3), grown[-1]])]
    wanted += [(TURN, (n,), [last[n], 2 * last[n]]) for n in range(4)]
    wanted += [("scan", (), [last[-1], 2 * last])]
    found = rows_of(written)
    assert [each[:2] for each in found] == [each[:2] for each in wanted]
    for (_, _, own), (_, _, values) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(own, [on_host(np.asarray(x)) for x in values])
    _, short = waypoints(X, 1, 1.0)
    assert [each[:2] for each in rows_of(short)][-2:] == [(TURN, (0,)), ("while", ())], "a branch that was not taken"


def test_the_first_waypoint_that_differs_is_named_with_its_turn(tmp_path: Path) -> None:
    found = []
    for n, more in enumerate((0.0, 1.0)):
        _, written = waypoints(X, 4, more)
        with step_files.writing(tmp_path / f"{n}.npz") as file:
            about = {"of": "waypoints", "stage": "sft", "step": 1, "config": {}, "session": {}, "proof": "faithful"}
            file.close(written, about)
        found.append(step_files.read(tmp_path / f"{n}.npz"))
    compared = compare_steps(*found)
    said = tell_origins.lines(compared, ("A", "B"))
    line = next(
        n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "    _, grown = " in text[:16]
    )
    assert said[0].startswith(f"they part first at turn tests/test_waypoints.py:{line} counted")
    assert f"[turn 2 of while tests/test_waypoints.py:{line}]" in said[0]
    assert compare_steps(found[0], found[0]).same


def test_a_step_made_anew_is_the_step_bit_for_bit() -> None:
    args = jax.tree.map(jnp.asarray, toy_step.arguments())
    plain, (made, nothing) = jax.jit(toy_step.step)(*args), remade(toy_step.step, [], args, Taps(5, wanted=False))
    assert nothing == []
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(made), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow  # three programs are compiled
@pytest.mark.parametrize("stage", ["grpo", "sft"])
def test_a_stage_made_anew_is_the_stage_bit_for_bit_and_is_sketched(stage: str) -> None:
    cfg = made_up.config()
    program = getattr(made_up, stage)(cfg)
    state, frozen = made_up.state(program, cfg), made_up.frozen(program, cfg)
    left_out: Any = {"attributes": None} if stage == "grpo" else {"references": None}
    host = state, frozen, dataclasses.replace(made_up.batch(cfg), **left_out), jax.random.key(0)
    abstract = program.state, program.frozen, program.batch, program.key
    with jax.set_mesh(program.mesh):
        given = jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), host, abstract)
        places = [x.sharding for x in jax.tree.leaves(program.state)]
        made, _ = remade(program.step, places, given, Taps(cfg.caption_tokens, wanted=False))
        written, sketches = sketched(program, given, cfg.caption_tokens)
        plain = program.step(*given)
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(made), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(written.rows) > 20
    assert any(name.startswith("params.") for name in sketches)
