"""Tables of a page: what charts show, and what needs no chart."""

from collections.abc import Mapping, Sequence

from emojax.report.page import Html, element


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True, caption: str = "") -> Html:
    """A table whose first column names its rows; it scrolls where the page is narrow.

    Args:
      numbers: of all columns but the first, which stand to the right.
    """
    if not rows:
        return Html()
    at = {"class": "n"} if numbers else {}
    top = [element("th", cell, at={"scope": "col"} | (at if n else {})) for n, cell in enumerate(head)]
    body = [
        element("tr", element("th", row[0], at={"scope": "row"}), *(element("td", cell, at=at) for cell in row[1:]))
        for row in rows
    ]
    above = element("caption", caption) if caption else ""
    inside = element("table", above, element("thead", element("tr", *top)), element("tbody", *body))
    return element("div", inside, at={"class": "scroll"})


def pairs(found: Mapping[str, str]) -> Html:
    """Names and what they are."""
    return table(["", ""], [[name, value] for name, value in found.items()], numbers=False)


def crossed(rows: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[int]], caption: str) -> Html:
    """Counts of two things at once; a cell is the darker the more of its row it has, and says the percentage."""
    top = [element("th", name, at={"scope": "col", "class": "n"}) for name in columns]
    body = []
    for name, line in zip(rows, counts, strict=True):
        cells = [_share(count, sum(line)) for count in line]
        body.append(element("tr", element("th", name, at={"scope": "row"}), *cells))
    head = element("tr", element("th", "", at={"scope": "col"}), *top)
    inside = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", inside, at={"class": "scroll"})


def _share(count: int, total: int) -> Html:
    if not count:
        return element("td", at={"class": "n"})
    share = count / total
    small = element("small", f" {share:.0%}")
    return element("td", str(count), small, at={"class": "n share", "style": f"--share:{share:.3f}"})
