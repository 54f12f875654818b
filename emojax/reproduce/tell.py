"""A comparison as lines of text: the verdict first, then facts that differ, then a table over steps."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from emojax.reproduce.compare import Comparison, Difference, Gap

ROWS = 12  # of the table


def verdict(found: Comparison) -> str:
    """One line: whether they are the same, else where they part first and by how much."""
    span = f"steps {found.steps[0]} to {found.steps[-1]}" if len(found.steps) > 1 else f"step {found.steps[0]}"
    if found.same:
        return f"the same, bit for bit: {span}, {found.leaves} leaves"
    first = found.first[0]
    when = f"in the state before step {first.step + 1}" if first.step == found.steps[0] and _state(found) else ""
    more = f", and in {len(found.first) - 1} more leaves of that step" if found.first[1:] else ""
    return f"they differ first {when or f'at step {first.step}'}, in {difference(first)}{more}"


def _state(found: Comparison) -> bool:
    """Whether what differs first is a state that no step of theirs has made."""
    return found.gaps[0].leaves > 0 and not found.gaps[0].metrics


def difference(one: Difference) -> str:
    """A leaf, and how far apart it is in both."""
    if one.odd[0] != one.odd[1]:
        return f"{one.leaf}: {one.odd[0]} and {one.odd[1]} of its elements are not finite"
    if one.values is not None:
        by = f" ({ulps(one.ulps)})" if one.ulps is not None and one.distance is not None else ""
        return f"{one.leaf}: {one.values[0]:.9g} and {one.values[1]:.9g}{by}"
    if one.element is not None and one.distance is not None:
        return f"{one.leaf}{list(one.element)} alone, by {ulps(one.ulps or 0)}"
    if one.element is not None:
        return f"{one.leaf}{list(one.element)} alone, by {one.ulps:+.0f}"
    if one.relative is None:
        return one.leaf
    return f"{one.leaf}, by about {one.relative:.1e} of its norm ({one.ulps:.3g} ulps of its largest number)"


def ulps(count: float) -> str:
    return f"{count:+.0f} ulp{'s' * (abs(count) != 1)}"


def lines(found: Comparison, names: tuple[str, str]) -> list[str]:
    """All of it. `names`: what the two runs are called."""
    told = [verdict(found)]
    if found.first and found.first[0].leaf.startswith("batch."):
        told.append(
            f"they read other clips, or the same otherwise, from step {found.first[0].step} on: no rounding follows"
        )
    for name, leaves in zip(names, found.only, strict=True):
        if leaves:
            more = f" and {len(leaves) - 3} more" if leaves[3:] else ""
            told.append(f"not compared, of {name}, for the other has none of that shape: {', '.join(leaves[:3])}{more}")
    told += ["", "what differs besides:" if found.facts else "configuration, versions, devices, data: no difference"]
    told += [f"  {fact.name}: {short(fact.a)} | {short(fact.b)}" for fact in found.facts]
    if found.same:
        return told
    told += ["", "leaves of that step that differ, in the order in which it makes them:"]
    told += [f"  {difference(one)}" for one in found.first[:8]]
    told += [f"  and {len(found.first) - 8} more"] if found.first[8:] else []
    told += ["", *table(found)]
    if token := first_token(found):
        told += ["", token]
    if reward := rewards(found):
        told += [reward]
    if not found.first[0].leaf.startswith("batch.") and not _state(found):
        step = found.first[0].step
        told += [
            "",
            f"which operation it is: `emojax record RUN --step {step} --ops` of both, and `compare` of the files",
        ]
    return told


def table(found: Comparison) -> list[str]:
    """Distances over the steps, some of them."""
    metrics = list(dict.fromkeys(name for gap in found.gaps for name in gap.metrics))
    shown = [name for name in ("reward", "loss") if name in metrics]
    sampled = any(gap.tokens for gap in found.gaps)
    head = ["step", "leaves", "distance", "/ moved", *["other captions"] * sampled, *shown]
    rows = [head, *(_row(gap, sampled, shown) for gap in _some(found))]
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(gap: Gap, sampled: bool, shown: Sequence[str]) -> list[str]:
    other = [f"{gap.tokens.other} of {gap.tokens.captions}" if gap.tokens else ""] * sampled
    metrics = [" | ".join(f"{x:.8g}" for x in gap.metrics[name]) if name in gap.metrics else "" for name in shown]
    return [str(gap.step), str(gap.leaves), f"{gap.distance:.2e}", _ratio(gap.ratio), *other, *metrics]


def _ratio(ratio: float) -> str:
    return f"{ratio:.1e}" if math.isfinite(ratio) else "-"  # nothing has moved yet


def _some(found: Comparison) -> list[Gap]:
    """The first step, where they part, where a token differs first, the last, and others ever further apart."""
    gaps, wanted = found.gaps, {0, len(found.gaps) - 1}
    wanted |= {n for n, gap in enumerate(gaps) if found.first and gap.step == found.first[0].step}
    wanted |= {n for n, gap in enumerate(gaps) if gap.tokens and gap.tokens.other and not _other_before(gaps, n)}
    left = max(ROWS - len(wanted), 1)
    wanted |= {round((len(gaps) - 1) ** (n / left)) for n in range(left) if len(gaps) > 1}
    return [gaps[n] for n in sorted(wanted)]


def _other_before(gaps: Sequence[Gap], n: int) -> bool:
    return any(gap.tokens and gap.tokens.other for gap in gaps[:n])


def first_token(found: Comparison) -> str:
    """The first caption that got another token; empty where none did, or none is sampled."""
    for gap in found.gaps:
        if gap.tokens and gap.tokens.captions == 0:
            return f"the clips of step {gap.step} are not the same in both"
        if gap.tokens and gap.tokens.where and gap.tokens.drawn:
            (clip, sample, position), drawn = gap.tokens.where, gap.tokens.drawn
            words = " and ".join("the end" if token < 0 else f"token {token}" for token in drawn)
            return (
                f"the first other token: step {gap.step}, clip {clip} of the batch, sample {sample}, position "
                f"{position}: {words}"
            )
    return "no caption got another token" if any(gap.tokens for gap in found.gaps) else ""


def rewards(found: Comparison) -> str:
    """How far rewards of equal captions are apart at most."""
    gaps = [gap.tokens.reward for gap in found.gaps if gap.tokens and gap.tokens.reward is not None]
    return f"rewards of equal captions differ by {max(gaps):.1e} at most" if gaps else ""


def as_json(found: Comparison) -> dict[str, Any]:
    """All numbers; those that are not finite are null."""
    return finite({"verdict": verdict(found), "same": found.same, **dataclasses.asdict(found)})


def finite(x: Any) -> Any:
    if isinstance(x, dict):
        return {name: finite(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [finite(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


def short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 48 else f"{text[:45]}..."
