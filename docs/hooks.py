"""MkDocs hook: tables of every setting and type, made from the source, and the papers at the root as pages.

Fields, types, defaults, comments and what is refused come from `emojax/config` and `emojax/types.py`, so that no page
drifts from them.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAPERS = {"BENCHMARKS.md": "benchmarks.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
PAPER_OF = {page: paper for paper, page in PAPERS.items()}
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the papers."""
    for paper, page in PAPERS.items():
        files.append(File.generated(config, page, content=(ROOT / paper).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fills in the tables, and turns links to files outside `docs/` into links to pages, or into plain text."""
    source = PAPER_OF.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    markdown = _LINK.sub(lambda link: _relinked(link, source), markdown)
    for mark, made in (("configuration", configuration), ("types", types), ("refused", refused)):
        line = f"<!-- tables of the {mark} -->"
        markdown = markdown.replace(line, made()) if line in markdown else markdown
    return markdown


def _relinked(link: re.Match[str], source: str) -> str:
    words, target, anchor = link.group(1), link.group(2), link.group(3) or ""
    path = (ROOT / source).parent.joinpath(target).resolve()
    if "://" in target or not path.exists() or not path.is_relative_to(ROOT):
        return link.group(0)  # mkdocs tells of those that lead nowhere
    at = path.relative_to(ROOT).as_posix()
    up = "../" * (source.count("/") - 1)
    if at in PAPERS:
        return f"[{words}]({up}{PAPERS[at]}{anchor})"
    if at.startswith("docs/"):
        return link.group(0) if source.startswith("docs/") else f"[{words}]({at.removeprefix('docs/')}{anchor})"
    return words


@dataclass
class Field:
    """A field of a dataclass, as its source has it."""

    name: str
    type: str
    default: str
    comment: str


@dataclass
class Sizes:
    """A dataclass of `emojax/config`."""

    name: str
    doc: str
    fields: list[Field]
    parts: list[tuple[str, ast.expr]]  # fields that may hold other dataclasses, by their annotation
    paths: list[str] = field(default_factory=list)  # where it stands in a configuration


def configuration() -> str:
    """One table a dataclass, those of the configuration's own tree first, in its order."""
    classes, unions = _classes()
    _walk(classes, unions, "Config", "")
    order = dict.fromkeys([*_reached(classes, unions, "Config"), *classes])
    return "\n\n".join(_table(classes[name], _where(classes[name])) for name in order)


def types() -> str:
    """One table a tree of `emojax/types.py`."""
    classes, _ = _read(ROOT / "emojax/types.py")
    return "\n\n".join(_table(made, "") for made in classes.values())


def refused() -> str:
    """What `emojax.config.inert` refuses, in its words."""
    from emojax.config.inert import CORPUS, INERT, SENSELESS

    lines = ["| field | does nothing with |", "|---|---|"]
    for inert in (*INERT, CORPUS):
        lines.append(f"| {', '.join(map(_code, inert.fields))} | {_cell(inert.why)} |")
    return "\n".join([*lines, "", "Nor is what nobody can mean:", "", *(f"- {_cell(each.why)}" for each in SENSELESS)])


def _where(made: Sizes) -> str:
    """The place of a dataclass in the configuration, and how it is chosen there."""
    family = made.name.removesuffix("Config")
    if not family:
        return "The top: `--set steps=100`."
    if not made.paths:
        return ""
    if family == made.name:
        return f"At {', '.join(f'`{path}`' for path in made.paths)}."
    return f"Chosen by {', '.join(f'`{path}.family={family}`' for path in made.paths)}."


def _table(made: Sizes, where: str) -> str:
    lines = [f"## {made.name}", "", where, "", made.doc, ""]
    defaults = any(f.default for f in made.fields)
    if made.fields:
        lines += ["| field | type | default | |", "|---|---|---|---|"] if defaults else ["| field | |", "|---|---|"]
    for f in made.fields:
        cells = [_code(f.type), _code(f.default)] if defaults else []
        lines.append(f"| {' | '.join([_code(f.name), *cells, _cell(f.comment)])} |")
    return "\n".join(lines)


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


def _cell(text: str) -> str:
    return re.sub(r"([|*\[\]_<])", r"\\\1", text)


def _classes() -> tuple[dict[str, Sizes], dict[str, ast.expr]]:
    """The dataclasses of `emojax/config` by name, and the unions of them."""
    classes: dict[str, Sizes] = {}
    unions: dict[str, ast.expr] = {}
    for path in sorted((ROOT / "emojax/config").glob("*.py")):
        own, own_unions = _read(path)
        classes, unions = classes | own, unions | own_unions
    return classes, unions


def _read(path: Path) -> tuple[dict[str, Sizes], dict[str, ast.expr]]:
    """The dataclasses of a file by name, and its unions."""
    text = path.read_text(encoding="utf-8")
    comments, classes, unions = _comments(text), {}, {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
            unions |= {t.id: node.value for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(d) for d in node.decorator_list):
            classes[node.name] = _sizes(node, comments)
    return classes, unions


def _comments(text: str) -> dict[int, tuple[str, bool]]:
    """Of each line with a comment: its text, and whether it stands alone."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            found[token.start[0]] = token.string.lstrip("# "), not token.line[: token.start[1]].strip()
    return found


def _sizes(node: ast.ClassDef, comments: dict[int, tuple[str, bool]]) -> Sizes:
    made = Sizes(node.name, ast.get_docstring(node) or "", [], [])
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        kind = ast.unparse(item.annotation)
        if kind.startswith("ClassVar"):
            continue
        made.parts.append((item.target.id, item.annotation))
        made.fields.append(Field(item.target.id, kind, _default(item.value), _comment(item, comments)))
    return made


def _comment(item: ast.AnnAssign, comments: dict[int, tuple[str, bool]]) -> str:
    """The comments in the lines of a field, and those that stand alone just above it."""
    above, line = [], item.lineno - 1
    while line in comments and comments[line][1]:
        above.insert(0, comments[line][0])
        line -= 1
    beside = [comments[n][0] for n in range(item.lineno, (item.end_lineno or item.lineno) + 1) if n in comments]
    return " ".join([*above, *beside])


def _default(value: ast.expr | None) -> str:
    if value is None:
        return ""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        factory = next(k.value for k in value.keywords if k.arg == "default_factory")
        return ast.unparse(factory.body) if isinstance(factory, ast.Lambda) else f"{ast.unparse(factory)}()"
    return ast.unparse(value)


def _named(kind: ast.expr, classes: dict[str, Sizes], unions: dict[str, ast.expr]) -> Iterator[str]:
    """The dataclasses that a field of this annotation may hold itself."""
    if isinstance(kind, ast.BinOp):
        yield from _named(kind.left, classes, unions)
        yield from _named(kind.right, classes, unions)
    elif isinstance(kind, ast.Name) and kind.id in unions:
        yield from _named(unions[kind.id], classes, unions)
    elif isinstance(kind, ast.Name) and kind.id in classes:
        yield kind.id


def _walk(classes: dict[str, Sizes], unions: dict[str, ast.expr], name: str, path: str) -> None:
    for part, kind in classes[name].parts:
        for other in _named(kind, classes, unions):
            classes[other].paths.append(f"{path}{part}")
            _walk(classes, unions, other, f"{path}{part}.")


def _reached(classes: dict[str, Sizes], unions: dict[str, ast.expr], name: str) -> Iterator[str]:
    """A dataclass, then those that its fields may hold, in their order, level by level."""
    level = [name]
    while level:
        yield from level
        level = [other for each in level for _, kind in classes[each].parts for other in _named(kind, classes, unions)]
