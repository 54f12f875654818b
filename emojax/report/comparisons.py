"""The pages of `emojax compare` and `emojax study`: how far runs are from each other, as text and as curves."""

import math
from collections.abc import Mapping, Sequence

from emojax.report import page
from emojax.report.charts import Curve, curves
from emojax.report.page import Html, element, section
from emojax.reproduce.compare import Comparison
from emojax.reproduce.studies import Given
from emojax.reproduce.study import Result
from emojax.reproduce.study_table import lines
from emojax.reproduce.tell import lines as told

_RATIO = "Distance of the weights / distance moved"


def comparison(found: Mapping[str, Comparison], names: tuple[str, str]) -> str:
    """Of each stage that was compared."""
    parts = [section(stage or one.stage, *_compared(one, names)) for stage, one in found.items()]
    return page.whole(f"{names[0]} and {names[1]}", *parts)


def text(names: tuple[str, str], lines: Sequence[str]) -> str:
    """Of two steps that were compared: what is said of them."""
    return page.whole(f"{names[0]} and {names[1]}", element("pre", "\n".join(lines)))


def _compared(one: Comparison, names: tuple[str, str]) -> list[Html]:
    steps = [gap.step for gap in one.gaps]
    figures = [curves(_RATIO, [_curve("", steps, [gap.ratio for gap in one.gaps])], log=True)]
    if any(gap.tokens for gap in one.gaps):
        shares = [gap.tokens.other / max(gap.tokens.captions, 1) if gap.tokens else 0.0 for gap in one.gaps]
        figures.append(curves("Share of captions with another token", [_curve("", steps, shares)]))
    for metric in ("reward", "loss"):
        both = [[gap.metrics[metric][n] if metric in gap.metrics else math.nan for gap in one.gaps] for n in (0, 1)]
        figures.append(curves(metric, [_curve(name, steps, ys) for name, ys in zip(names, both, strict=True)]))
    return [element("pre", "\n".join(told(one, names))), element("div", *figures, at={"class": "charts"})]


def study(title: str, given: Given, results: Sequence[Result], difference: float | None) -> str:
    """The table, and of every seed how far the weights are apart over the steps."""
    figures = []
    for seed in dict.fromkeys(result.seed for result in results):
        own = [result for result in results if result.seed == seed]
        found = [_curve(r.variant.name, [g.step for g in r.found.gaps], [g.ratio for g in r.found.gaps]) for r in own]
        figures.append(curves(f"Seed {seed}: {_RATIO.lower()}", found, log=True))
    text = element("pre", "\n".join(lines(given, results, difference)))
    return page.whole(title, text, element("div", *figures, at={"class": "charts"}))


def _curve(name: str, xs: Sequence[int], ys: Sequence[float]) -> Curve:
    kept = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    return Curve(name, [x for x, _ in kept], [y for _, y in kept])
