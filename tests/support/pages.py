"""A page of HTML as a tree, by Python's own parser: what stands in it is read back."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = ("br", "meta")


@dataclass
class Node:
    name: str
    at: dict[str, str | None] = field(default_factory=dict)
    inside: "list[Node | str]" = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(one if isinstance(one, str) else one.text for one in self.inside)

    def all(self, name: str = "") -> "Iterator[Node]":
        for one in self.inside:
            if isinstance(one, Node):
                if name in ("", one.name):
                    yield one
                yield from one.all(name)

    def one(self, name: str, text: str) -> "Node":
        """The only element of a name that begins with a text."""
        (found,) = (node for node in self.all(name) if node.text.startswith(text))
        return found


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Node("")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        assert len(node.at) == len(attrs), f"<{tag}> has an attribute twice"
        self.open[-1].inside.append(node)
        if tag not in _VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag, f"</{tag}> ends what is not open"

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def tree(page: str) -> Node:
    """Raises AssertionError where elements do not end as they begin."""
    parser = _Tree()
    parser.feed(page)
    parser.close()
    assert len(parser.open) == 1
    return parser.open[0]


def table(node: Node) -> tuple[list[str], list[list[str]]]:
    """The headings and the rows of the only table in an element."""
    (found,) = node.all("table")
    head, *rows = [[cell.text for cell in row.all() if cell.name in ("th", "td")] for row in found.all("tr")]
    return head, rows
