"""A step of a run evaluated operation by operation, alone or in step with another's record."""

from collections.abc import Sequence
from typing import Any

import jax

from emojax.errors import RunError
from emojax.param import dotted
from emojax.reproduce.align import align
from emojax.reproduce.operations import Feed, Keep, Writer, Written, called, name, restored
from emojax.reproduce.step_files import StepRecord
from emojax.training.program import Step

_ARGUMENTS = ("state", "frozen", "batch", "key")
_RETURNED = ("state", "metrics")


def evaluated(step: Step, given: tuple[Any, ...], keep: Keep | None = None, like: StepRecord | None = None) -> Written:
    """What each operation read and made.

    Args:
      given: arguments of the step.
      keep: is given every tensor.
      like: each operation reads what it read there; None: what the ones before it made.
    Raises:
      RunError: `like` has not kept its tensors.
    """
    closed, shape = jax.make_jaxpr(step, return_shape=True)(*given)
    names, results = _names(given, _ARGUMENTS), _names(shape, _RETURNED)
    args = jax.tree.leaves(given)
    if like is None:
        writer = Writer(keep)
        writer.step(closed, names, args, results)
        return writer.written
    first = Writer()  # says which operation stands for which
    first.step(closed, names, args, results)
    writer = Writer(keep, feed=fed(like, first), after=first)
    there = {argument: n for n, argument in enumerate(like.written.arguments)}
    for n, own in enumerate(names):
        if own in there:
            args[n] = _read(like, there[own], args[n], called(args[n]))
    writer.step(closed, names, args, results)
    return writer.written


def _names(trees: Any, parts: Sequence[str]) -> list[str]:
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tuple(trees))]
    return [f"{parts[path[0].idx]}.{dotted(path[1:])}".rstrip(".") for path in paths]


def fed(like: StepRecord, own: Writer) -> Feed:
    """Of each operation what the other step made in its place."""
    stands = {mine: its for its, mine in align(like.written, own.written).items()}
    rows = {(row.operation, row.turns): row.outputs for row in like.written.rows}

    def feed(operation: int, turns: tuple[int, ...], made: Sequence[Any], names: Sequence[str]) -> Sequence[Any]:
        outputs = rows.get((stands.get(operation, -1), turns))
        if outputs is None or len(outputs) != len(made):
            return made
        return [_read(like, value, x, own) for value, x, own in zip(outputs, made, names, strict=True)]

    return feed


def _read(like: StepRecord, value: int, own: Any, named: str) -> Any:
    """A value of the other step in the form, type and place of `own`; that itself, where they are equal or of other
    shapes.

    Args:
      named: the name of `own` as a tensor.
    Raises:
      RunError: the other step has not kept it.
    """
    theirs = name(like.written.words[value], like.written.kinds[value])
    if theirs == named or like.written.kinds[value] != named.partition("-")[2]:
        return own
    found = like.tensor(theirs)
    if found is None:
        raise RunError(f"{like.path} has no tensors: record that step again with --tensors")
    return restored(found, own)
