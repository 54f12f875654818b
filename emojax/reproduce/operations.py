"""The operations of one step as they are written down while it is evaluated: what each read and made, as sketches."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.extend import core

from emojax.reproduce import jaxprs
from emojax.reproduce.interpreter import Place, Tape, Value, bind, evaluate
from emojax.training.sketch import HASH, on_host

_SMALL = 64  # bytes of values whose sketches are kept: the same constants come again and again
RESULT = "result"  # in the place of a primitive: what the step returns


@dataclass(frozen=True)
class Operation:
    """An equation of the step; a loop or a `cond`, which has no rows of its own, is one, too."""

    scope: int
    primitive: str
    line: str  # file:line
    function: str
    backward: bool  # in the pass of the gradient
    outputs: tuple[str, ...]  # such as float32[8,3]

    def like(self) -> tuple[Any, ...]:
        """What it has in common with the one that stands for it in another version of the code."""
        return self.primitive, self.function, self.backward, self.outputs


@dataclass(frozen=True)
class Scope:
    """Where operations are: the step itself, or a jaxpr of a loop or of a `cond`."""

    parent: int  # the operation that it is of; -1: it is the step
    role: str


@dataclass(frozen=True)
class Done:
    """An operation, once."""

    operation: int
    turns: tuple[int, ...]  # of the loops around it, outermost first
    inputs: tuple[int, ...]  # values
    outputs: tuple[int, ...]


@dataclass
class Written:
    """All of a step. Values are numbered; of each there is a sketch, its shape and type, and who made it."""

    arguments: list[str] = field(default_factory=list)  # names; argument n is value n
    operations: list[Operation] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=lambda: [Scope(-1, "step")])
    rows: list[Done] = field(default_factory=list)
    words: list[np.ndarray] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)  # such as float32[8,3]
    producers: list[tuple[int, ...]] = field(default_factory=list)


Keep = Callable[[str, np.ndarray], None]  # a tensor, by its name
Feed = Callable[[int, tuple[int, ...], Sequence[Any], Sequence[str]], Sequence[Any]]
"""(operation, turns, what it made, names of these tensors) -> what is read of it, in place of that."""


def plain(x: Any) -> np.ndarray:
    """An array as NumPy has it, whole: of keys their data, of complex numbers both parts."""
    if isinstance(x, bool | int | float):
        kinds = ((bool, np.bool_), (int, np.int32), (float, np.float32))
        return np.asarray(x, getattr(x, "dtype", next(dtype for kind, dtype in kinds if isinstance(x, kind))))
    if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    found = np.asarray(x)
    if found.dtype == jax.dtypes.float0:
        return np.zeros(found.shape, np.uint8)
    if found.dtype == np.complex64:
        return np.ascontiguousarray(found).reshape(*found.shape, 1).view(np.float32)
    return found.astype(np.float32) if found.dtype == np.float16 else found


def kind(x: np.ndarray) -> str:
    return f"{x.dtype}[{','.join(map(str, x.shape))}]"


def name(words: np.ndarray, kind: str) -> str:
    """Of a tensor among those that are kept: equal ones have one."""
    return f"{int(words[HASH][0]):08x}{int(words[HASH][1]):08x}-{kind}"


def called(x: Any) -> str:
    """The name of an array as a tensor."""
    array = plain(x)
    return name(on_host(array), kind(array))


def restored(array: np.ndarray, like: Any) -> Any:
    """What `plain` has made an array of, in the type and place of `like`."""
    if jax.numpy.issubdtype(like.dtype, jax.dtypes.prng_key):
        keys = jax.random.wrap_key_data(jax.numpy.asarray(array), impl=jax.random.key_impl(like))
        return jax.device_put(keys, like.sharding)
    if like.dtype == np.complex64:
        array = array.view(np.complex64)[..., 0]
    return jax.device_put(array.astype(like.dtype), like.sharding)


class Writer:
    """Writes a step down as it is evaluated."""

    def __init__(self, keep: Keep | None = None, feed: Feed | None = None, after: "Writer | None" = None) -> None:
        """
        Args:
          keep: is given every tensor.
          feed: what is read of each operation in place of its own results.
          after: has evaluated the step before; its operations keep their numbers.
        """
        known = after.written if after else Written()
        self.written = Written(operations=[*known.operations], scopes=[*known.scopes])
        self._keep, self._feed = keep, feed
        # of operations and scopes, by where they are
        self._numbers: dict[tuple[Any, ...], int] = dict(after._numbers) if after else {}
        self._constants: dict[tuple[Any, ...], Value] = {}
        self._tape = Tape(self._constant, self._part, self._scope, self._apply)

    def step(self, closed: Any, names: Sequence[str], args: Sequence[Any], results: Sequence[str]) -> list[Any]:
        """Evaluates it.

        Args:
          closed: its jaxpr.
          names, args: of its arguments, flat; `results` are names of what it returns.
        """
        given = [self._value(x, (-1 - n,)) for n, x in enumerate(args)]
        self.written.arguments = list(names)
        made = evaluate(jaxprs.of(closed), given, Place(), self._tape)
        for result, value in zip(results, made, strict=True):
            operation = Operation(0, RESULT, "", result, False, (self.written.kinds[value.number],))
            number = self._number((RESULT, result), self.written.operations, lambda operation=operation: operation)
            self._row(number, (), [value], [value])
        return [value.x for value in made]

    def _value(self, x: Any, producers: tuple[int, ...]) -> Value:
        array, into = plain(x), self.written
        into.words.append(words := on_host(array))
        into.kinds.append(kind(array))
        into.producers.append(producers)
        if self._keep is not None:
            self._keep(name(words, into.kinds[-1]), array)
        return Value(x, len(into.words) - 1, producers)

    def _constant(self, x: Any) -> Value:
        array = plain(x)
        if array.nbytes > _SMALL:
            return self._value(x, ())
        key = (str(getattr(x, "dtype", "")), kind(array), array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._value(x, ())
        return dataclasses.replace(self._constants[key], x=x)

    def _part(self, x: Any, of: Sequence[Value]) -> Value:
        return self._value(x, tuple(dict.fromkeys(row for value in of for row in value.producers)))

    def _scope(self, eqn: core.JaxprEqn, place: Place, role: str) -> int:
        return self._number((place.scope, place.calls, role), self.written.scopes, lambda: Scope(
            self._operation(eqn, place), role
        ))  # fmt: skip

    def _operation(self, eqn: core.JaxprEqn, place: Place) -> int:
        def new() -> Operation:
            own = jaxprs.source(eqn)
            at, kinds = own or place.source, tuple(str(v.aval.str_short()) for v in eqn.outvars)
            backward = own.backward or place.source.backward
            return Operation(place.scope, eqn.primitive.name, at.line, at.function, backward, kinds)

        return self._number((place.scope, place.calls), self.written.operations, new)

    def _number(self, where: tuple[Any, ...], listed: list[Any], new: Callable[[], Any]) -> int:
        if where not in self._numbers:
            listed.append(new())
            self._numbers[where] = len(listed) - 1
        return self._numbers[where]

    def _apply(self, eqn: core.JaxprEqn, place: Place, args: Sequence[Value]) -> list[Value]:
        operation = self._operation(eqn, place)
        made, row = bind(eqn, [value.x for value in args]), (len(self.written.rows),)
        values = [self._value(x, row) for x in made]
        self._row(operation, place.turns, args, values)
        if self._feed is None:
            return values
        names = [name(self.written.words[value.number], self.written.kinds[value.number]) for value in values]
        fed = self._feed(operation, place.turns, made, names)
        return [own if x is y else self._value(x, row) for own, x, y in zip(values, fed, made, strict=True)]

    def _row(self, operation: int, turns: tuple[int, ...], args: Sequence[Value], made: Sequence[Value]) -> None:
        inputs, outputs = (tuple(value.number for value in values) for values in (args, made))
        self.written.rows.append(Done(operation, turns, inputs, outputs))
