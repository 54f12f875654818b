"""Two records laid side by side: the first step and leaf where they part, how far they are by then and afterwards."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emojax.errors import RunError
from emojax.reproduce.apart import Apart, apart
from emojax.reproduce.facts import Fact, facts
from emojax.reproduce.tokens import Tokens, tokens
from emojax.training.record_rows import Row
from emojax.training.records import Record
from emojax.training.sketch import HASH, SUM, norm, unordered

STATE = ("params.", "opt_state.", "state.")
_METRICS = ("loss", "reward", "kl", "grad_norm", "logp_gap")


@dataclass(frozen=True)
class Difference(Apart):
    """One leaf of one step that is not the same in both."""

    step: int
    leaf: str
    shape: tuple[int, ...]
    values: tuple[float, float] | None  # of a leaf of one number


@dataclass(frozen=True)
class Gap:
    """How far two runs are from each other after a step."""

    step: int
    leaves: int  # that differ
    distance: float  # L2 of the weights, an estimate
    ratio: float  # to the distance that the weights have moved since the first row, the mean of both runs
    metrics: dict[str, tuple[float, float]]
    tokens: Tokens | None  # of the samples; None: the stage has none


@dataclass(frozen=True)
class Comparison:
    stage: str
    steps: list[int]  # that both have; the first may be that of a state before any step
    leaves: int  # that both have
    only: tuple[list[str], list[str]]  # leaves of one alone, or of another shape or type
    first: list[Difference]  # all leaves of the first step that differ, in the order in which the step makes them
    gaps: list[Gap]
    facts: list[Fact]

    @property
    def same(self) -> bool:
        return not self.first


def compare(a: Record, b: Record) -> Comparison:
    """Raises RunError where the two cannot be compared: why."""
    if a.stage != b.stage:
        raise RunError(f"{a.path} is of `{a.stage}`, {b.path} of `{b.stage}`: the two stages have no leaf in common")
    rows = [record.states | record.rows for record in (a, b)]
    for record, found in zip((a, b), rows, strict=True):
        if not found:
            raise RunError(f"{record.path} holds no step: its run ended before the first, or the file was cut")
    steps = sorted(rows[0].keys() & rows[1].keys())
    if not steps:
        have = " and ".join(f"{min(found)} to {max(found)}" for found in rows)
        raise RunError(f"{a.path} and {b.path} have no step in common: they hold steps {have}")
    pairs = _pairs(a, b)
    if not any(name.startswith("params.") for name, _, _ in pairs):
        raise RunError(
            f"{a.path} and {b.path} are of other models: no weight has the same name and shape in both; compare runs "
            "whose `model` is the same"
        )
    first, gaps = [], []
    begin = _weights(rows[0][steps[0]], rows[1][steps[0]], pairs)
    for step in steps:
        one, other = rows[0][step], rows[1][step]
        differ = _differing(one, other, pairs, a)
        if not first and differ:
            first = [_difference(one, other, pair, a) for pair in differ]
        weights = _weights(one, other, pairs)
        gaps.append(_gap(one, other, pairs, len(differ), weights, [w - s for w, s in zip(weights, begin, strict=True)]))
    common = [name for name, _, _ in pairs]
    only = tuple([name for name in record.layout.names if name not in common] for record in (a, b))
    return Comparison(a.stage, steps, len(pairs), (only[0], only[1]), first, gaps, facts(a, b))


Pair = tuple[str, int, int]  # a leaf's name, and its place in either record


def _pairs(a: Record, b: Record) -> list[Pair]:
    """Leaves that both have, of the same type and in every bucket of the same shape, in the first one's order."""
    there = {name: n for n, name in enumerate(b.layout.names)}
    found = []
    for n, name in enumerate(a.layout.names):
        m = there.get(name)
        if m is None or a.layout.dtypes[n] != b.layout.dtypes[m]:
            continue
        if [bucket[n] for bucket in a.layout.shapes] == [bucket[m] for bucket in b.layout.shapes]:
            found.append((name, n, m))
    return found


def _differing(one: Row, other: Row, pairs: Sequence[Pair], a: Record) -> list[Pair]:
    alike = [pair for pair in pairs if _there(one, other, pair[0])]
    if not alike:
        return []
    _, n, m = zip(*alike, strict=True)
    differ = (one.words[list(n)][:, HASH] != other.words[list(m)][:, HASH]).any(1)
    return [pair for pair, yes in zip(alike, differ, strict=True) if yes]


def _there(one: Row, other: Row, name: str) -> bool:
    """Before any step there is a state alone."""
    return (one.bucket is not None and other.bucket is not None) or name.startswith(STATE)


def _difference(one: Row, other: Row, pair: Pair, a: Record) -> Difference:
    name, n, m = pair
    shape, here, there = a.layout.shapes[one.bucket or 0][n], one.words[n], other.words[m]
    values = None
    if math.prod(shape) == 1:
        floating = "float" in a.layout.dtypes[n]
        values = tuple(unordered(int(x[SUM])) if floating else float(x[SUM].view(np.int32)) for x in (here, there))
    by = apart(here, there, shape, a.layout.dtypes[n])
    return Difference(**vars(by), step=one.step, leaf=name, shape=tuple(shape), values=values)  # pyright: ignore[reportArgumentType] two values


def _weights(one: Row, other: Row, pairs: Sequence[Pair]) -> list[np.ndarray]:
    """Sketches of the weights of both runs, u32[leaves WORDS]."""
    weights = [pair for pair in pairs if pair[0].startswith("params.")]
    return [one.words[[n for _, n, _ in weights]], other.words[[m for _, _, m in weights]]]


def _gap(one: Row, other: Row, pairs: Sequence[Pair], differ: int, weights: Sequence[Any], moved: Sequence[Any]) -> Gap:
    distance, way = _norm(weights[1] - weights[0]), sum(map(_norm, moved)) / 2
    metrics = {}
    if one.bucket is not None and other.bucket is not None:
        metrics = {
            name.removeprefix("metrics."): (unordered(int(one.words[n, SUM])), unordered(int(other.words[m, SUM])))
            for name, n, m in pairs
            if name.removeprefix("metrics.") in _METRICS and name.startswith("metrics.")
        }
    ratio = distance / way if way else 0.0 if not distance else math.inf
    return Gap(one.step, differ, distance, ratio, metrics, tokens(one, other))


def _norm(sketches: np.ndarray) -> float:
    return math.hypot(*map(norm, sketches))
