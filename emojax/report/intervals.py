"""Numbers with their intervals as a picture: a mark and a whisker a row, and what is known of each in words."""

from collections.abc import Sequence
from typing import NamedTuple

from emojax.report.charts import KINDS, LEFT, TOP, WIDTH, Frame, mark, ticks
from emojax.report.page import Html, element, joined

_ROW, _LABEL = 20, 130


class Between(NamedTuple):
    name: str
    value: float
    low: float
    high: float


def whiskers(title: str, rows: Sequence[Between], zero: bool = False) -> Html:
    """A figure; nothing without rows.

    Args:
      zero: draw where 0 is: what lies beside it is a difference.
    """
    if not rows:
        return Html()
    ends = [x for row in rows for x in (row.low, row.high, row.value)] + ([0.0] if zero else [])
    low, high = min(ends), max(ends)
    room = (high - low) * 0.05 or abs(high) * 0.1 or 0.5
    bottom = TOP + _ROW * len(rows)
    frame = Frame((low - room, high + room), (0.0, 1.0), right=WIDTH - 10 - (_LABEL - LEFT), bottom=bottom)
    parts = [_level(frame, x, "axis") for x in ticks(*frame.x)]
    parts += [_level(frame, 0.0, "zero", label=False)] if zero else []
    parts += [_row(frame, row, TOP + _ROW * (n + 0.5), n % KINDS) for n, row in enumerate(rows)]
    told = f"{title}. " + "; ".join(f"{r.name}: {r.value:.3g}, from {r.low:.3g} to {r.high:.3g}" for r in rows)
    at = {"viewBox": f"0 0 {WIDTH} {bottom + 22}", "role": "img", "aria-label": told}
    shifted = element("g", *parts, at={"transform": f"translate({_LABEL - LEFT} 0)"})
    picture = element("svg", shifted, at=at)
    return element("figure", element("figcaption", title), picture, at={"class": "whiskers"})


def _level(frame: Frame, x: float, kind: str, label: bool = True) -> Html:
    across = frame.across(x)
    line = element("path", at={"class": kind, "d": f"M{across},{TOP}V{frame.bottom}"})
    text = element("text", f"{x:g}", at={"x": across, "y": frame.bottom + 16, "text-anchor": "middle"})
    return joined(line, text if label else "")


def _row(frame: Frame, row: Between, y: float, kind: int) -> Html:
    low, value, high = (frame.across(x) for x in (row.low, row.value, row.high))
    way = f"M{low},{y - 4}v8M{low},{y}H{high}M{high},{y - 4}v8"
    return joined(
        element("text", row.name, at={"class": "name", "x": LEFT - 8, "y": y + 4, "text-anchor": "end"}),
        element("path", at={"class": f"whisker c{kind}", "d": way}),
        mark(value, y, kind, f"{row.name}: {row.value:.4g} [{row.low:.4g}, {row.high:.4g}]"),
    )
