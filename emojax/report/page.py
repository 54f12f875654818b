"""A page of HTML in one file: nothing in it runs, and nothing is fetched.

A page has no script, and a policy in its head that forbids scripts and every address: what strangers wrote (captions,
transcripts, file names) can at worst be read. All text goes through `element`, which escapes what is no markup yet.
"""

import html
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from emojax.storage import path_of, write_atomically

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_STYLE = (files("emojax.report") / "style.css").read_text("utf-8")


class Html(str):
    """Markup. Any other string is text, which is escaped where it comes into markup."""

    __slots__ = ()


def element(name: str, *inside: str, at: Mapping[str, object] | None = None) -> Html:
    """An element of HTML or SVG.

    >>> element("p", "1 < 2 ", element("b", "indeed"), at={"title": 'say "so"'})
    '<p title="say &quot;so&quot;">1 &lt; 2 <b>indeed</b></p>'
    """
    attributes = "".join(f' {key}="{escaped(str(value))}"' for key, value in (at or {}).items())
    return Html(f"<{name}{attributes}>{joined(*inside)}</{name}>")


def joined(*parts: str) -> Html:
    return Html("".join(map(escaped, parts)))


def escaped(text: str) -> Html:
    """Text as markup; half characters and control characters, which no page may hold, as U+FFFD."""
    return text if isinstance(text, Html) else Html(html.escape(_CONTROL.sub("\ufffd", text)))


def section(title: str, *inside: str) -> Html:
    """A part of a page, found by its title; nothing where there is nothing in it."""
    body = joined(*inside)
    return element("section", element("h2", title), body, at={"id": anchor(title)}) if body else Html()


def anchor(title: str) -> str:
    """
    >>> anchor("Where it was right")
    'where-it-was-right'
    """
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def details(summary: str, *inside: str) -> Html:
    """What is shown when it is asked for."""
    return element("details", element("summary", summary), *inside)


def picture(figure: Html) -> str:
    """The picture in a figure as a file of its own, SVG, without what hovers; Markdown shows it."""
    found = re.search(r'<svg viewBox="0 0 (\d+) (\d+)"([^>]*)>(.*)</svg>', figure, re.DOTALL)
    assert found, "a figure has a picture, whose attributes begin with its size"
    width, height, attributes, inside = found.groups()
    style = f"{_STYLE}svg{{width:{width}px;height:{height}px;background:var(--paper)}}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"{attributes}>'
    return f"{head}<style>{style}</style>{re.sub('<title>.*?</title>', '', inside, flags=re.DOTALL)}</svg>\n"


def whole(title: str, *body: str) -> str:
    """A page of these parts, with links to its sections where there are several."""
    inside = joined(*body)
    titles = re.findall(r'<section id="([^"]*)"><h2>(.*?)</h2>', inside)
    links = [element("a", Html(text), at={"href": f"#{name}"}) for name, text in titles]
    nav = element("nav", *links, at={"aria-label": "Sections"}) if links[1:] else ""
    head = joined(
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        element("title", title),
        element("style", Html(_STYLE)),
    )
    main = element("main", element("h1", title), nav, inside)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{main}</body></html>\n'


def write(path: Path, page: str) -> None:
    """Writes a page whole, or not at all. Raises WriteError."""
    write_atomically(path_of(path), page)
