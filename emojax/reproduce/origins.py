"""Where two steps part: operations that make other numbers and were given no others than an operation before made.

Everything after an origin differs because the origin does. An operation differs and is no origin where a number that
it reads differs and was made by an operation that differs. Operations that one step alone has are looked through: what
they read decides, and they are named.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from emojax.errors import RunError
from emojax.reproduce.align import align
from emojax.reproduce.apart import Apart, apart
from emojax.reproduce.facts import Fact, facts
from emojax.reproduce.operations import RESULT, Done, Operation, Written
from emojax.reproduce.step_files import OPERATIONS, StepRecord
from emojax.training.sketch import HASH, SUM, unordered


@dataclass(frozen=True)
class Origin:
    operation: Operation  # as the first step has it
    turns: tuple[int, ...]  # of the loops around it
    loops: tuple[str, ...]  # these loops, by primitive and line
    by: Apart | None  # of the output that is furthest off; None: their shapes differ
    other_inputs: bool  # it reads other constants or arguments, or operations that one step alone has
    alone: tuple[Operation, ...]  # those operations
    constants: tuple[float, float] | None  # that the two read, of one number

    @property
    def lines(self) -> tuple[str, ...]:
        """Of the code: where it lies in operations that one step alone has, theirs."""
        return tuple(dict.fromkeys(each.line for each in self.alone)) or (self.operation.line,)


@dataclass(frozen=True)
class StepComparison:
    of: str  # operations or waypoints
    step: int
    operations: tuple[int, int]  # that were evaluated, loops turn by turn
    paired: int
    differ: int  # of them
    arguments: list[str]  # that differ
    results: list[str]  # likewise
    origins: list[Origin]  # in the order of evaluation; of waypoints the first that differs
    alone: tuple[list[str], list[str]]  # operations of one alone, `primitive line`
    facts: list[Fact]
    proofs: tuple[str, str]

    @property
    def same(self) -> bool:
        return not self.differ and not self.arguments and not any(self.alone)


def compare_steps(a: StepRecord, b: StepRecord) -> StepComparison:
    """Raises RunError where the two cannot be compared: why."""
    if a.stage != b.stage:
        raise RunError(f"{a.path} is of `{a.stage}`, {b.path} of `{b.stage}`: the two stages are other programs")
    if a.of != b.of:
        raise RunError(f"{a.path} holds {a.of}, {b.path} {b.of}; record the step of both with or without --ops")
    if a.step != b.step:
        raise RunError(f"{a.path} is of step {a.step}, {b.path} of step {b.step}; record the same step of both")
    operations = align(a.written, b.written)
    pairs = _rows(a.written, b.written, operations)
    one, other = _Side(a.written), _Side(b.written)
    if all(one.operation(n).primitive == RESULT for n in pairs):
        raise RunError(f"{a.path} and {b.path} have no operation in common: they are of other programs")
    differ = [n for n, m in pairs.items() if not _same(one, one.rows[n], other, other.rows[m])]
    arguments = _arguments(one, other)
    one.taint(set(differ), set(pairs), arguments)
    other.taint({pairs[n] for n in differ}, set(pairs.values()), arguments)
    looked_at = differ if a.of == OPERATIONS else differ[:1]
    origins = [found for n in looked_at if (found := _origin(one, n, other, pairs[n])) is not None]
    results = [n for n in differ if one.operation(n).primitive == RESULT]
    return StepComparison(
        of=a.of,
        step=a.step,
        operations=(len(one.rows), len(other.rows)),
        paired=len(pairs),
        differ=len(differ) - len(results),
        arguments=sorted(arguments),
        results=[one.operation(n).function for n in results],
        origins=origins,
        alone=(_alone(a.written, operations.keys()), _alone(b.written, operations.values())),
        facts=facts(a, b),
        proofs=(a.proof, b.proof),
    )


def _alone(written: Written, known: Iterable[int]) -> list[str]:
    left = set(range(len(written.operations))) - set(known)
    return [f"{each.primitive} {each.line}".strip() for n, each in enumerate(written.operations) if n in left]


def _rows(a: Written, b: Written, operations: dict[int, int]) -> dict[int, int]:
    """Rows of `b` by those of `a`: the operations that stand for each other, in the same turns."""
    there = {(row.operation, row.turns): m for m, row in enumerate(b.rows)}
    wanted = ((n, operations.get(row.operation), row.turns) for n, row in enumerate(a.rows))
    return {n: there[operation, turns] for n, operation, turns in wanted if (operation, turns) in there}  # pyright: ignore[reportArgumentType] None is no key


class _Side:
    """One of the two steps."""

    def __init__(self, written: Written) -> None:
        self.written, self.rows = written, written.rows
        self.hashes = [(int(x[HASH][0]), int(x[HASH][1])) for x in written.words]

    def taint(self, differ: set[int], paired: set[int], arguments: set[str]) -> None:
        """Rows whose results are to blame for what reads them."""
        names = self.written.arguments
        self.paired, self._tainted = paired, set(differ)
        self._arguments = {-1 - n for n, name in enumerate(names) if name in arguments}
        for n, row in enumerate(self.rows):
            if n not in paired and any(map(self.tainted, row.inputs)):
                self._tainted.add(n)

    def tainted(self, value: int) -> bool:
        return any(n in self._tainted or n in self._arguments for n in self.written.producers[value])

    def operation(self, row: int) -> Operation:
        return self.written.operations[self.rows[row].operation]

    def own(self, row: Done, other: set[tuple[int, int]]) -> list[int]:
        """Values that it reads and that are not among the other's."""
        return [value for value in row.inputs if self.hashes[value] not in other]

    def alone(self, values: Sequence[int]) -> list[Operation]:
        """Operations that this step alone has, which made these values."""
        made = (n for value in values for n in self.written.producers[value])
        return [self.operation(n) for n in made if n >= 0 and n not in self.paired]


def _same(one: _Side, n: Done, other: _Side, m: Done) -> bool:
    return [one.hashes[v] for v in n.outputs] == [other.hashes[v] for v in m.outputs]


def _arguments(one: _Side, other: _Side) -> set[str]:
    """Names of arguments that are other ones, or that one step alone has."""
    here, there = ({name: side.hashes[n] for n, name in enumerate(side.written.arguments)} for side in (one, other))
    return {name for name in here | there if here.get(name) != there.get(name)}


def _origin(one: _Side, n: int, other: _Side, m: int) -> Origin | None:
    here, there = one.rows[n], other.rows[m]
    own = one.own(here, {other.hashes[v] for v in there.inputs})
    its = other.own(there, {one.hashes[v] for v in here.inputs})
    if any(map(one.tainted, own)) or any(map(other.tainted, its)):
        return None
    return Origin(
        operation=one.operation(n),
        turns=here.turns,
        loops=_loops(one.written, one.operation(n)),
        by=_apart(one, here, other, there),
        other_inputs=bool(own or its),
        alone=tuple(dict.fromkeys(one.alone(own) + other.alone(its))),
        constants=_constants(one, own, other, its),
    )


def _loops(written: Written, operation: Operation) -> tuple[str, ...]:
    """The loops around it, outermost first, one for each of its turns."""
    found, scope = [], operation.scope
    while scope:
        parent = written.operations[written.scopes[scope].parent]
        found += [f"{parent.primitive} {parent.line}"] * (parent.primitive != "cond")
        scope = parent.scope
    return tuple(found[::-1])


def _constants(one: _Side, own: Sequence[int], other: _Side, its: Sequence[int]) -> tuple[float, float] | None:
    """Where each reads one number that the other does not, and it is a constant."""
    found = []
    for side, values in ((one, own), (other, its)):
        written = side.written
        if len(values) == 1 and not written.producers[values[0]] and written.kinds[values[0]] == "float32[]":
            found.append(unordered(int(written.words[values[0]][SUM])))
    return (found[0], found[1]) if len(found) == 2 else None


def _apart(one: _Side, n: Done, other: _Side, m: Done) -> Apart | None:
    found = []
    for v, w in zip(n.outputs, m.outputs, strict=False):
        kind = one.written.kinds[v]
        if kind == other.written.kinds[w] and one.hashes[v] != other.hashes[w]:
            dtype, _, shape = kind.rstrip("]").partition("[")
            sizes = [int(size) for size in shape.split(",") if size]
            found.append(apart(np.asarray(one.written.words[v]), np.asarray(other.written.words[w]), sizes, dtype))
    return max(found, key=lambda by: by.relative or 0, default=None)
