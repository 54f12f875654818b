"""The step of a run made anew with waypoints, and taken."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from emojax.reproduce import jaxprs
from emojax.reproduce.operations import Written, plain
from emojax.reproduce.waypoint_rows import Rows
from emojax.reproduce.waypoints import Found, Taps, evaluate
from emojax.training.program import Program
from emojax.training.record_rows import causal
from emojax.training.sketch import on_host


def remade(step: Callable[..., Any], places: Sequence[Any], given: tuple[Any, ...], taps: Taps) -> tuple[Any, Found]:
    """The step's results and its waypoints.

    Args:
      places: shardings of the first results, one a leaf; the others lie where XLA puts them.
      given: arguments of the step, which stay as they are.
    """
    closed, shape = jax.make_jaxpr(step, return_shape=True)(*given)
    jaxpr, structure = jaxprs.of(closed), jax.tree.structure(shape)
    out = [*places, *[None] * (structure.num_leaves - len(places))]
    run = jax.jit(lambda *args: evaluate(jaxpr, args, taps), out_shardings=(out, None))
    leaves, found = run(*jax.tree.leaves(given))
    return jax.tree.unflatten(structure, leaves), found


def sketched(program: Program, given: tuple[Any, ...], most: int) -> tuple[Written, dict[str, np.ndarray]]:
    """The waypoints as rows, and sketches of what the step gave, by the names of a run's record.

    Args:
      most: turns of a `while` that are told apart.
    """
    places = [x.sharding for x in jax.tree.leaves(program.state)]
    (state, metrics), found = remade(program.step, places, given, Taps(most))
    made = {name: on_host(plain(x)) for name, x in causal(None, metrics, state).items()}
    return Rows(jax.device_get(found)).written, made
