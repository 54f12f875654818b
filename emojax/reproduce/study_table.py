"""What a study found: a row a variant, and, last, which difference is larger than noise."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

from emojax.reproduce import tell
from emojax.reproduce.compare import Comparison
from emojax.reproduce.studies import Given
from emojax.reproduce.study import Result


def lines(given: Given, results: Sequence[Result], difference: float | None = None) -> list[str]:
    """The table, and, last, what is noise.

    Args:
      difference: of the metric at the end, between two runs, of which the last line says whether it is larger than
        noise.
    """
    metric = "reward" if given.stage == "grpo" else "loss"
    sampled = any("logp_gap" in gap.metrics for result in results for gap in result.found.gaps)
    head = ["", "parts first at", "distance / moved", f"change of the {metric}", "first other token"]
    head += ["sampler against update"] * sampled
    rows = [head]
    for name in dict.fromkeys(result.variant.name for result in results):
        own = [result for result in results if result.variant.name == name]
        rows.append(_row(own, metric) + [_gap(own)] * sampled)
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    told = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*told, "", _noise(results, metric, difference)]


def _row(results: Sequence[Result], metric: str) -> list[str]:
    founds = [result.found for result in results]
    parted = [found.first[0] for found in founds if found.first]
    first = min(parted, key=lambda one: one.step, default=None)
    where = "never: the same bits" if first is None else f"step {first.step}, {first.leaf}"
    ratios = [found.gaps[-1].ratio for found in founds]
    ratio = f"{statistics.mean(ratios):.1e}" + (f" [{min(ratios):.1e}, {max(ratios):.1e}]" if ratios[1:] else "")
    tokens = [gap.step for found in founds for gap in found.gaps if gap.tokens and gap.tokens.other][:1]
    token = "" if founds[0].gaps[-1].tokens is None else f"step {tokens[0]}" if tokens else "none"
    changes = [ends[1] - ends[0] for found in founds if (ends := _ends(found, metric)) is not None]
    return [results[0].variant.name, where, ratio, interval(changes), token]


def _gap(results: Sequence[Result]) -> str:
    """The largest difference of a token's log-probability while it is sampled and in the update, nats: of the plain run
    and of the variant."""
    both = [gap.metrics["logp_gap"] for r in results for gap in r.found.gaps if "logp_gap" in gap.metrics]
    return f"{max(a for a, _ in both):.1e} | {max(b for _, b in both):.1e}" if both else ""


def interval(values: Sequence[float]) -> str:
    """Mean and, of several, 95 % of Student's distribution."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:+.2g}"
    spread = _t(len(values)) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):+.2g} ± {spread:.1g}"


def _t(n: int) -> float:
    """Of Student, 97.5 %, for a deviation of `n` numbers."""
    from scipy import stats

    return float(stats.t.ppf(0.975, n - 1))


def _ends(found: Comparison, metric: str) -> tuple[float, float] | None:
    return found.gaps[-1].metrics.get(metric)


def _noise(results: Sequence[Result], metric: str, difference: float | None) -> str:
    """From the plain runs of all seeds."""
    plain = {r.seed: ends[0] for r in results if (ends := _ends(r.found, metric)) is not None}
    if len(plain) < 2:
        return f"noise is not known: it is the spread of the {metric} over seeds, and there is one; ask for --seeds 3"
    deviation = statistics.stdev(plain.values())
    noise = _t(len(plain)) * deviation * math.sqrt(2)  # of the difference of two runs
    told = f"between seeds the {metric} at the end has a deviation of {deviation:.2g} ({len(plain)} seeds)"
    if difference is None:
        return f"{told}: two runs that differ by less than {noise:.2g} differ by no more than noise"
    verdict = "larger" if abs(difference) > noise else "no larger"
    return f"{told}: a difference of {difference:g} between two runs is {verdict} than noise ({noise:.2g})"


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [
        {"variant": dataclasses.asdict(result.variant), "seed": result.seed, **tell.as_json(result.found)}
        for result in results
    ]
