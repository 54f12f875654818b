"""The waypoints of a step, fetched, as rows in the order of evaluation: like those of operations, without inputs."""

from collections.abc import Sequence
from typing import Any

from jax.extend import core

from emojax.reproduce import jaxprs
from emojax.reproduce.operations import Done, Operation, Scope, Written
from emojax.reproduce.waypoints import Branches, Found

TURN = "turn"  # in the place of a primitive: what a loop's body gave


class Rows:
    """Lays waypoints out; `written` is what is made of them."""

    def __init__(self, found: Found) -> None:
        """Args: `found` is of NumPy."""
        self.written = Written()
        self._numbers: dict[Any, int] = {}
        self._add(found, (), (), 0)

    def _add(self, found: Found, at: tuple[int, ...], turns: tuple[int, ...], scope: int) -> None:
        """Args: `at`: where in the arrays these turns lie."""
        for n, each in enumerate(found):
            own = self._number((scope, n), self.written.operations, _operation(each.eqn, scope))
            if isinstance(each, Branches):
                which = min(max(int(each.taken[at]), 0), len(each.of) - 1)
                self._add(each.of[which], at, turns, self._scope(own, f"branch {which}"))
                continue
            inside = self._scope(own, "body")
            turn_of = Operation(inside, TURN, *_lines(each.eqn), _body(each.eqn))
            number = self._number((inside, TURN), self.written.operations, turn_of)
            count = int(each.turns[at])
            for turn in range(count)[:: -1 if each.reverse else 1]:
                self._add(each.inner, (*at, turn), (*turns, turn), inside)
                self._row(number, (*turns, turn), each.each[(*at, turn)], turn_of.outputs)
            self._row(own, turns, each.end[at], self.written.operations[own].outputs)

    def _scope(self, operation: int, role: str) -> int:
        return self._number((operation, role), self.written.scopes, Scope(operation, role))

    def _number(self, where: Any, listed: list[Any], new: Any) -> int:
        if where not in self._numbers:
            listed.append(new)
            self._numbers[where] = len(listed) - 1
        return self._numbers[where]

    def _row(self, operation: int, turns: tuple[int, ...], words: Any, kinds: Sequence[str]) -> None:
        first = len(self.written.words)
        self.written.words += list(words)
        self.written.kinds += kinds
        self.written.producers += [()] * len(words)
        self.written.rows.append(Done(operation, turns, (), tuple(range(first, first + len(words)))))


def _operation(eqn: core.JaxprEqn, scope: int) -> Operation:
    return Operation(scope, eqn.primitive.name, *_lines(eqn), tuple(v.aval.str_short() for v in eqn.outvars))


def _lines(eqn: core.JaxprEqn) -> tuple[str, str, bool]:
    at = jaxprs.source(eqn)
    return at.line, at.function, at.backward


def _body(eqn: core.JaxprEqn) -> tuple[str, ...]:
    body = jaxprs.scan(eqn).body if eqn.primitive.name == "scan" else jaxprs.while_(eqn).body
    return tuple(v.aval.str_short() for v in body.outputs)
