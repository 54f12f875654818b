"""Two steps laid side by side, as lines of text: the verdict, the origins by line, then all else."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from emojax.reproduce.apart import Apart
from emojax.reproduce.origins import Origin, StepComparison
from emojax.reproduce.step_files import OPERATIONS, WAYPOINTS
from emojax.reproduce.tell import finite, short, ulps

LINES = 30  # of origins


def verdict(found: StepComparison) -> str:
    """One line."""
    what = f"step {found.step}, {found.paired} {found.of}"
    if found.same:
        return f"the same, bit for bit: {what}"
    if not found.differ and not found.results:
        why = f"{len(found.arguments)} arguments" if found.arguments else "operations that one alone has"
        return f"the same results, bit for bit: {what}; {why} are not the same"
    if not found.origins:
        given = f": its arguments differ in {found.arguments[0]}{_more(found.arguments)}" if found.arguments else ""
        return (
            f"0 origins in {what}: {found.differ} give other numbers, all of them because they were given others{given}"
        )
    first = found.origins[0]
    if found.of == WAYPOINTS:
        return f"they part first at {_where(first)}, by {_apart(first.by)}; of {what} {found.differ} differ"
    count = f"{len(found.origins)} origin{'s' * (len(found.origins) > 1)}"
    return f"{count} in {what}, of which {found.differ} give other numbers; the first is {_where(first)}"


def lines(found: StepComparison, names: tuple[str, str]) -> list[str]:
    """All of it. `names`: what the two are called."""
    told = [verdict(found)]
    told += [f"{name}: {proof}" for name, proof in zip(names, found.proofs, strict=True) if proof]
    told += ["", "what differs besides:" if found.facts else "configuration, versions, devices, data: no difference"]
    told += [f"  {fact.name}: {short(fact.a)} | {short(fact.b)}" for fact in found.facts]
    for name, alone in zip(names, found.alone, strict=True):
        if alone:
            told.append(f"operations of {name} alone: {', '.join(alone[:3])}{_more(alone, 3)}")
    if found.arguments:
        told.append(f"arguments that differ: {', '.join(found.arguments[:3])}{_more(found.arguments, 3)}")
    if found.results:
        told.append(f"results that differ: {', '.join(found.results[:3])}{_more(found.results, 3)}")
    if found.origins and found.of == OPERATIONS:
        counts = Counter(origin.operation.primitive for origin in found.origins).most_common()
        told += ["", f"origins: {', '.join(f'{name} {count}' for name, count in counts)}"]
        told += [f"  {line}" for line in by_line(found.origins)]
    return told


def by_line(origins: Sequence[Origin]) -> list[str]:
    """One for each operation of the program, the first to be evaluated first, with the turn in which it is furthest
    off."""
    groups: dict[Any, list[Origin]] = {}
    for origin in origins:
        groups.setdefault((origin.lines, origin.operation, origin.loops), []).append(origin)
    told = []
    for group in groups.values():
        worst = max(group, key=lambda each: (each.by and each.by.relative) or 0)
        times = f", {len(group)} times" if len(group) > 1 else ""
        told.append(f"{_where(worst)}{times}: {_how(worst)}")
    return told[:LINES] + ([f"and {len(told) - LINES} more lines"] if told[LINES:] else [])


def _where(origin: Origin) -> str:
    at = origin.operation
    if not at.line:
        return f"{at.primitive} {at.function}"
    turns = ", ".join(f"turn {turn} of {loop}" for turn, loop in zip(origin.turns, origin.loops, strict=True))
    backward = " (gradient)" * at.backward
    return f"{at.primitive} {at.line} {at.function}{backward} {' '.join(at.outputs)}{f' [{turns}]' * bool(turns)}"


def _how(origin: Origin) -> str:
    why = "equal inputs"
    if origin.constants is not None:
        why = f"with {origin.constants[0]:.9g} and {origin.constants[1]:.9g}"
    elif origin.alone:
        why = f"after {', '.join(f'{each.primitive} {each.line}' for each in origin.alone[:3])}, which one alone has"
    elif origin.other_inputs:
        why = "reads others"
    return f"{why}; {_apart(origin.by)}"


def _apart(by: Apart | None) -> str:
    if by is None:
        return "of another shape"
    if by.odd[0] != by.odd[1]:
        return f"{by.odd[0]} and {by.odd[1]} of its elements are not finite"
    if by.element is not None and by.distance is not None:
        return f"element {list(by.element)} alone, by {ulps(by.ulps or 0)}"
    if by.relative is None or by.ulps is None:
        return "other numbers"
    return f"about {by.relative:.1e} of its norm, {by.ulps:.3g} ulps of its largest number"


def _more(names: Sequence[str], shown: int = 1) -> str:
    return f" and {len(names) - shown} more" if names[shown:] else ""


def as_json(found: StepComparison) -> dict[str, Any]:
    return finite({"verdict": verdict(found), "same": found.same, **dataclasses.asdict(found)})
