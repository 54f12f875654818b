"""Where the seconds of a run went, over all its sessions: pure functions of time stamps.

A session is one life of the process. It leaves a mark when it begins, at each checkpoint, and at its end: until a mark
the work is kept, what a killed session did beyond its last one is done again by the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

KINDS: tuple[str, ...] = ("step", "compile", "start", "checkpoint", "data", "evaluation")
"""Kinds of seconds. A moment that is of two kinds is of the first: a batch that is read while the device works costs
nothing.

step: the device works on a step · compile: programs are traced and compiled · start: until the first step is dispatched
checkpoint: the loop waits for one · data: it waits for a batch · evaluation: captions, scores and the report
"""

_WORDS = {
    "compile": "compiling",
    "start": "starting",
    "checkpoint": "waiting for checkpoints",
    "data": "waiting for data",
    "evaluation": "captions and scores",
}
Span = tuple[str, float, float]  # kind, from, to, seconds


@dataclass(frozen=True)
class Mark:
    session: int
    at: float  # seconds since the epoch
    step: int  # steps done so far that are kept if the session is killed now
    spent: Mapping[str, float]  # seconds of each kind since the session's mark before


@dataclass(frozen=True)
class Account:
    """Account of a run; `spent`, `other` and `lost` add up to `wall`."""

    wall: float  # seconds since the run began
    spent: Mapping[str, float]  # seconds of each kind, of work that was kept
    other: float  # of kept work, of no kind
    lost: float  # to restarts: work that was done again, and the time until the next session began
    restarts: int

    @property
    def goodput(self) -> float:
        """Seconds in which the device made steps that were kept, over all seconds since the run began."""
        return self.spent["step"] / self.wall if self.wall > 0 else 0.0


def spent(spans: Sequence[Span], since: float, until: float) -> dict[str, float]:
    """Seconds of each kind between two moments; where spans overlap, the kind that comes first in KINDS counts."""
    edges = [(min(max(at, since), until), kind, by) for kind, a, b in spans for at, by in ((a, 1), (max(a, b), -1))]
    totals, open_spans = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0)
    last = since
    for at, kind, by in sorted(edges):
        here = next((kind for kind in KINDS if open_spans[kind]), None)
        if here is not None:
            totals[here] += at - last
        last = at
        open_spans[kind] += by
    return totals


def account(marks: Sequence[Mark]) -> Account:
    """Account of a run that left these marks, until the last of them.

    The work between two marks of a session is kept if every later session began with its steps done.
    """
    totals, kept = dict.fromkeys(KINDS, 0.0), 0.0
    began: float = float("inf")  # the fewest steps that a later session began with
    for before, mark in reversed(list(pairwise(marks))):
        if mark.session != before.session:
            began = min(began, mark.step)
        elif mark.step <= began:
            kept += mark.at - before.at
            totals = {kind: seconds + mark.spent.get(kind, 0.0) for kind, seconds in totals.items()}
    wall = marks[-1].at - marks[0].at
    return Account(wall, totals, kept - sum(totals.values()), wall - kept, marks[-1].session - marks[0].session)


def lines(runs: Mapping[str, Sequence[Mark]]) -> list[str]:
    """For people: a line a run, and of several that are one job, one after another, a line for all of it."""
    found = {name: marks for name, marks in runs.items() if marks}
    accounts = {name: account(marks) for name, marks in found.items()}
    if len(found) > 1:
        ends = [(marks[0].at, marks[-1].at) for marks in found.values()]
        wall = max(end for _, end in ends) - min(begin for begin, _ in ends)
        accounts["all"] = _together(list(accounts.values()), wall)
    return [f"{name}: {_sentence(account)}" for name, account in accounts.items()]


def _together(accounts: Sequence[Account], wall: float) -> Account:
    """What lies between the runs is lost."""
    totals = {kind: sum(account.spent[kind] for account in accounts) for kind in KINDS}
    other = sum(account.other for account in accounts)
    lost = wall - sum(totals.values()) - other
    return Account(wall, totals, other, lost, sum(account.restarts for account in accounts))


def _sentence(account: Account) -> str:
    named = {_WORDS[kind]: seconds for kind, seconds in account.spent.items() if kind != "step"}
    named |= {"other work": account.other, "lost to restarts" if account.restarts else "between stages": account.lost}
    rest = ", ".join(f"{name} {_clock(seconds)}" for name, seconds in named.items() if seconds >= 0.5)
    again = f"; restarts: {account.restarts}" if account.restarts else ""
    share = f"{account.goodput:.0%} of {_clock(account.wall)} spent training"
    return share + (f"; the rest: {rest}" if rest else "") + again


def _clock(seconds: float) -> str:
    """
    >>> _clock(12.34), _clock(75), _clock(7325)
    ('12 s', '1 min 15 s', '2 h 2 min')
    """
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours} h {m} min" if hours else f"{m} min {s} s" if m else f"{s} s"


def to_json(mark: Mark) -> dict[str, Any]:
    return asdict(mark)


def from_json(record: Mapping[str, Any]) -> Mark:
    """Raises KeyError, TypeError where it is no mark."""
    mark = Mark(record["session"], record["at"], record["step"], record["spent"])
    whole = (mark.session, mark.step)
    if not (
        all(type(n) is int for n in whole) and all(isinstance(s, int | float) for s in (mark.at, *mark.spent.values()))
    ):
        raise TypeError("a number was wanted")
    return mark
