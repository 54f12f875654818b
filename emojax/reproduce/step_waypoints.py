"""The step of a run made anew with waypoints, and taken."""

from typing import Any

import jax
import numpy as np

from emojax.reproduce import jaxprs
from emojax.reproduce.operations import Written, plain
from emojax.reproduce.waypoint_rows import Rows
from emojax.reproduce.waypoints import Taps, evaluate
from emojax.training.program import Program
from emojax.training.record_rows import causal
from emojax.training.sketch import on_host


def remade(program: Program, given: tuple[Any, ...], taps: Taps) -> tuple[Any, Any]:
    """The step's results and its waypoints.

    Args:
      given: arguments of the step, which stay as they are.
    """
    closed, shape = jax.make_jaxpr(program.step, return_shape=True)(*given)
    jaxpr, structure = jaxprs.of(closed), jax.tree.structure(shape)
    places = [x.sharding for x in jax.tree.leaves(program.state)]
    places += [None] * (structure.num_leaves - len(places))
    run = jax.jit(lambda *args: evaluate(jaxpr, args, taps), out_shardings=(places, None))
    leaves, found = run(*jax.tree.leaves(given))
    return jax.tree.unflatten(structure, leaves), found


def sketched(program: Program, given: tuple[Any, ...], most: int) -> tuple[Written, dict[str, np.ndarray]]:
    """The waypoints as rows, and sketches of what the step gave, by the names of a run's record.

    Args:
      most: turns of a `while` that are told apart.
    """
    (state, metrics), found = remade(program, given, Taps(most))
    made = {name: on_host(plain(x)) for name, x in causal(None, metrics, state).items()}
    return Rows(jax.device_get(found)).written, made
