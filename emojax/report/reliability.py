"""Reliability (Guo et al. 2017): of captions of each confidence the share that is right, as a picture and a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from emojax.evaluation.calibration import Bin, bins_of
from emojax.report.charts import BOTTOM, HEIGHT, KINDS, LEFT, RIGHT, TOP, WIDTH, Frame, axes, mark
from emojax.report.page import Html, details, element, joined, section
from emojax.report.tables import table

Rows = Mapping[str, Mapping[str, Any]]  # of a report
_ABOUT = (
    "Across, how sure the captioner is of a caption: the geometric mean of its tokens' probabilities. Upwards, the "
    "share of the captions that name the label. On the line it is right as often as it says, below it too sure."
)


def calibration(rows: Rows) -> Html:
    """The section of a page; nothing where it is not known."""
    found = picture(rows)
    return section("Calibration", found, element("p", _ABOUT, at={"class": "soft"})) if found else Html()


def picture(rows: Rows) -> Html:
    """A figure; nothing where it is not known."""
    sets = {name: bins for name, row in rows.items() if (bins := bins_of(row))}
    if not sets:
        return Html()
    frame = Frame((0.0, 1.0), (0.0, 1.0))
    line = element("path", at={"class": "zero", "d": f"M{LEFT},{HEIGHT - BOTTOM}L{WIDTH - RIGHT},{TOP}"})
    drawn = [_set(frame, name, bins, n) for n, (name, bins) in enumerate(sets.items())]
    told = f"Calibration. {'; '.join(_sentence(name, b) for name, bins in sets.items() for b in bins)}"
    at = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": told}
    numbers = [
        [name, *(repr(x) for x in (b.clips, b.confidence, b.right))] for name, bins in sets.items() for b in bins
    ]
    return element(
        "figure",
        element("figcaption", "Right by confidence"),
        element("svg", axes(frame), line, *drawn, at=at),
        details("Numbers", table(["captions", "clips", "confidence", "right"], numbers)),
        at={"class": "whiskers"},
    )


def _set(frame: Frame, name: str, bins: Sequence[Bin], n: int) -> Html:
    """A mark a bin, joined by a line, and at the right its name."""
    kind, y = n % KINDS, TOP + 10 + 16 * n
    places = [(frame.across(b.confidence), frame.down(b.right)) for b in bins]
    way = " ".join(f"{x},{y}" for x, y in places)
    return joined(
        element("polyline", at={"class": f"curve c{kind} d{kind}", "points": way}),
        *(mark(*place, kind, _sentence(name, b)) for place, b in zip(places, bins, strict=True)),
        mark(WIDTH - RIGHT + 12, y, kind),
        element("text", name, at={"class": "name", "x": WIDTH - RIGHT + 22, "y": y + 4}),
    )


def _sentence(name: str, b: Bin) -> str:
    return f"{name}, {b.clips} captions: confidence {b.confidence:.2f}, right {b.right:.2f}"
