"""Charts as SVG, each with its numbers in a table below it.

Of our own, since a page may run no script (page.py): plotly's, Bokeh's and Vega's charts are programs of 4.6, 1 and 0.9
MB that draw when the page is opened, and the package that draws Vega's beforehand has 33 MB.

A line is told from others by its name at its end and by its dashes, a mark by its shape; colour only helps. What is
shown at a pointer is the title of an element, which needs no script either.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from emojax.report.page import Html, details, element, joined
from emojax.report.tables import table

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 220, 50, 118, 12, 22
POINTS = 200  # of a curve that are drawn
KINDS = 7  # of colours and dashes in style.css, and of shapes
_LINE = 12  # height of a line of text
_SAME = 1e-40  # less than float32 tells apart
_DOTTED = 40  # curves of fewer points show them
_SHAPES = (  # a disc, a square, triangles up and down, a diamond, bars across and up
    "M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0Z",
    "M-2.7,-2.7h5.4v5.4h-5.4Z",
    "M0,-3.8L3.6,2.8H-3.6Z",
    "M0,3.8L3.6,-2.8H-3.6Z",
    "M0,-4L4,0L0,4L-4,0Z",
    "M-4.4,-1.5h8.8v3h-8.8Z",
    "M-1.5,-4.4h3v8.8h-3Z",
)


@dataclass(frozen=True)
class Curve:
    name: str
    xs: Sequence[int]  # steps, ascending
    ys: Sequence[float]  # finite

    def thinned(self) -> "Curve":
        """POINTS of them at most, evenly, with the first and the last one."""
        n = len(self.xs)
        kept = range(n) if n <= POINTS else [round(i * (n - 1) / (POINTS - 1)) for i in range(POINTS)]
        return Curve(self.name, [self.xs[i] for i in kept], [self.ys[i] for i in kept])

    def above_zero(self) -> "Curve":
        kept = [i for i, y in enumerate(self.ys) if y > 0]
        return Curve(self.name, [self.xs[i] for i in kept], [self.ys[i] for i in kept])


@dataclass(frozen=True)
class Frame:
    """From numbers to places in a picture."""

    x: tuple[float, float]
    y: tuple[float, float]  # of their logarithms where `log`
    log: bool = False
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM

    def across(self, x: float) -> float:
        return round(LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (self.right - LEFT), 1)

    def down(self, y: float) -> float:
        y = math.log10(y) if self.log else y
        return round(self.bottom - (y - self.y[0]) / (self.y[1] - self.y[0]) * (self.bottom - TOP), 1)


def curves(title: str, found: Sequence[Curve], note: str = "", log: bool = False) -> Html:
    """A figure of curves over steps; nothing without a point. On a logarithmic axis what is not above zero has none."""
    whole = [curve for curve in (curve.above_zero() if log else curve for curve in found) if len(curve.xs)]
    if not whole:
        return Html()
    drawn = [curve.thinned() for curve in whole]
    frame = _frame(drawn, log)
    told = f"{title}. " + "; ".join(_sentence(curve) for curve in drawn)
    at = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": told}
    at |= {"data-x": f"{frame.x[0]!r} {frame.x[1]!r}", "data-y": f"{frame.y[0]!r} {frame.y[1]!r}"}
    lines = [_line(curve, n % KINDS, frame) for n, curve in enumerate(drawn)]
    picture = element("svg", axes(frame), *lines, _names(drawn, frame), _strips(drawn, frame), at=at)
    thinned = any(len(curve.xs) > POINTS for curve in whole)
    caption = element("figcaption", title, element("span", f" {note}" if note else "", at={"class": "soft"}))
    summary = f"Numbers, of {POINTS} steps" if thinned else "Numbers"
    return element("figure", caption, picture, details(summary, _numbers(drawn)))


def _frame(drawn: Sequence[Curve], log: bool) -> Frame:
    xs = [x for curve in drawn for x in (curve.xs[0], curve.xs[-1])]
    ys = [y for curve in drawn for y in curve.ys]
    low, high = min(ys), max(ys)
    if log:
        low, high = math.floor(math.log10(low)), math.ceil(math.log10(high))
    if not high - low > _SAME:
        room = abs(low) * 0.1 or 0.5
        low, high = low - room, high + room
    return Frame((min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1), (low, high), log)


def _sentence(curve: Curve) -> str:
    first = f"{curve.name or 'The curve'}: {curve.ys[0]:.3g} at step {curve.xs[0]}"
    return first + (f", {curve.ys[-1]:.3g} at step {curve.xs[-1]}" if len(curve.xs) > 1 else "")


def axes(frame: Frame) -> Html:
    """Lines and numbers of both axes."""
    if frame.log:
        every = max(1, math.ceil((frame.y[1] - frame.y[0]) / 5))
        levels = [(10.0**n, f"1e{n}") for n in range(int(frame.y[0]), int(frame.y[1]) + 1, every)]
    else:
        levels = [(y, f"{y:.6g}") for y in ticks(*frame.y)]
    parts = []
    for y, label in levels:
        at = frame.down(y)
        parts.append(element("path", at={"class": "axis", "d": f"M{LEFT},{at}H{frame.right}"}))
        parts.append(element("text", label, at={"x": LEFT - 5, "y": round(at + 4, 1), "text-anchor": "end"}))
    for x in ticks(*frame.x):
        at = {"x": frame.across(x), "y": frame.bottom + 16, "text-anchor": "middle"}
        parts.append(element("text", f"{x:.10g}", at=at))
    return joined(*parts)


def ticks(low: float, high: float) -> list[float]:
    """Five round numbers between two, or fewer: multiples of 1, 2 or 5 times a power of ten.

    >>> ticks(0, 550)
    [0.0, 200.0, 400.0]
    """
    size = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(size * m for m in (1, 2, 5, 10, 20) if (high - low) / (size * m) <= 5)
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _line(curve: Curve, kind: int, frame: Frame) -> Html:
    places = [(frame.across(x), frame.down(y)) for x, y in zip(curve.xs, curve.ys, strict=True)]
    way = " ".join(f"{x},{y}" for x, y in places)
    line = element("polyline", at={"class": f"curve c{kind} d{kind}", "points": way, "data-name": curve.name})
    dots = places if len(places) < _DOTTED else []
    return joined(line, *(mark(*place, kind, small=True) for place in dots))


def mark(x: float, y: float, kind: int, title: str = "", classes: str = "mark", small: bool = False) -> Html:
    """A mark of a kind's shape and colour, with a title that hovers."""
    inside = [element("title", title)] if title else []
    at = {"class": f"{classes} c{kind % KINDS}", "d": _SHAPES[kind % KINDS]}
    return element("path", *inside, at=at | {"transform": f"translate({x} {y})" + (" scale(.6)" if small else "")})


def _names(drawn: Sequence[Curve], frame: Frame) -> Html:
    """The curves' names at their ends, a line of text apart."""
    ends = sorted((frame.down(curve.ys[-1]), n) for n, curve in enumerate(drawn) if curve.name)
    places = [y for y, _ in ends]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + _LINE)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], places[i + 1] - _LINE if i + 1 < len(places) else frame.bottom)
    parts = []
    for y, (_, n) in zip(places, ends, strict=True):
        key = {"class": f"curve c{n % KINDS} d{n % KINDS}", "d": f"M{frame.right + 3},{round(y, 1)}h14"}
        parts.append(element("path", at=key))
        parts.append(element("text", drawn[n].name, at={"class": "name", "x": frame.right + 20, "y": round(y + 4, 1)}))
    return joined(*parts)


def _strips(drawn: Sequence[Curve], frame: Frame) -> Html:
    """Over each step a strip that names its numbers to the pointer."""
    told = _at(drawn)
    steps = sorted(told)
    edges = [LEFT, *((frame.across(a) + frame.across(b)) / 2 for a, b in pairwise(steps))]
    parts = []
    for step, left, right in zip(steps, edges, [*edges[1:], frame.right], strict=True):
        numbers = "\n".join(f"{name or 'value'}: {y:.5g}" for name, y in told[step].items())
        at = {"class": "strip", "x": round(left, 1), "y": TOP, "width": max(round(right - left, 1), 0.1)}
        title = element("title", f"step {step}\n{numbers}")
        parts.append(element("rect", title, at=at | {"height": frame.bottom - TOP}))
    return joined(*parts)


def _at(drawn: Sequence[Curve]) -> dict[int, dict[str, float]]:
    """The numbers of each step, by the names of the curves."""
    told: dict[int, dict[str, float]] = {}
    for curve in drawn:
        for step, y in zip(curve.xs, curve.ys, strict=True):
            told.setdefault(step, {})[curve.name] = y
    return told


def _numbers(drawn: Sequence[Curve]) -> Html:
    told, names = _at(drawn), [curve.name for curve in drawn]
    rows = [[str(n), *(repr(told[n][name]) if name in told[n] else "" for name in names)] for n in sorted(told)]
    return table(["step", *names], rows)
