"""What README and docs/ say can be done: commands parse, those without a mark are run, links lead to files.

A mark is an HTML comment on the line before a block of commands, `<!-- needs: weights -->`: what the test lacks.
"""

import functools
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import run_pages
from support.xla_flags import CHEAP

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, *sorted((ROOT / "docs" / "api").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "launch/README.md"]
NEEDS = {"cluster", "weights", "accelerator", "network", "a fresh environment", "a dataset", "tfds", "a browser"}
EMOJAX = (["emojax"], ["python", "-m", "emojax.cli"])


@dataclass(frozen=True)
class Command:
    """One command of a page: its words, the line it stands in, and what it needs, if that is marked."""

    page: str
    line: int
    words: tuple[str, ...]
    needs: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"

    @property
    def stage(self) -> list[str] | None:
        """The words after `emojax`, here or behind a launcher's `--`; None: the command is another program's."""
        words = list(self.words)
        if words[:1] == ["python"] and words[1:2] and words[1].startswith("launch/"):
            words = words[words.index("--") + 1 :]
            return words[1:] if words[0] == "emojax" else words
        return next((words[len(start) :] for start in EMOJAX if words[: len(start)] == start), None)


def commands_of(text: str, page: str) -> list[Command]:
    """The commands in a page's ```bash and ```sh blocks, and in bare blocks that begin with emojax or python -m."""
    lines, found, number = text.splitlines(), [], 0
    while number < len(lines):
        fence = re.fullmatch(r"\s*```(\S*)\s*", lines[number])
        if not fence:
            number += 1
            continue
        end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == "```")
        mark = re.fullmatch(r"<!-- needs: (.+) -->", lines[number - 1].strip()) if number else None
        body = lines[number + 1 : end]
        shell = fence[1] in ("bash", "sh") or (not fence[1] and re.match(r"emojax |python -m ", (body or [""])[0]))
        if shell:
            found += _commands(body, number + 2, page, mark[1] if mark else None)
        number = end + 1
    return found


def _commands(body: list[str], first: int, page: str, needs: str | None) -> list[Command]:
    found, open_line = [], ""
    for number, line in enumerate(body, first):
        if line.endswith("\\"):
            open_line += line[:-1] + " "
            continue
        words, open_line = shlex.split(open_line + line, comments=True), ""
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            found.append(Command(page, number, tuple(words[:end]), needs))
            words = words[end + 1 :]
    return found


COMMANDS = [c for page in PAGES for c in commands_of(page.read_text(), page.relative_to(ROOT).as_posix())]
STAGES = [c for c in COMMANDS if c.stage is not None]
LAUNCHES = [c for c in COMMANDS if c.words[:1] == ("python",) and c.words[1].startswith("launch/")]
RUN = list(dict.fromkeys(c.page for c in COMMANDS if c.needs is None))


def test_every_command_is_run_or_marked_with_what_it_needs() -> None:
    assert len(STAGES) > 30, "the pages have commands, and they are found"
    unknown = [str(c) for c in COMMANDS if c.needs is not None and c.needs not in NEEDS]
    assert not unknown, f"marks are of {sorted(NEEDS)}"
    others = [str(c) for c in COMMANDS if c.needs is None and (c.stage is None or c.words[0] != "emojax")]
    assert not others, "this test runs the command `emojax` only: mark the others"


@pytest.mark.parametrize("page", list(dict.fromkeys(c.page for c in STAGES)))
def test_every_command_parses(page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By the parser of `emojax`, its functions replaced: flags, their values, presets, and the fields of --set."""
    from emojax import cli

    called: list[dict[str, Any]] = []

    def recorded(function: Any) -> Any:
        @functools.wraps(function)
        def record(**flags: Any) -> None:
            called.append(flags)

        return record

    monkeypatch.setattr(cli, "COMMANDS", {name: recorded(f) for name, f in cli.COMMANDS.items()})
    monkeypatch.setenv("EMOJAX_TRACEBACK", "1")  # errors come here, instead of ending the process
    wrong = []
    for command in (c for c in STAGES if c.page == page):
        words = [word.replace("gs://", "/") for word in command.stage or ()]  # no bucket is looked for
        monkeypatch.setattr(sys, "argv", ["emojax", *words])
        try:
            cli.main()
            _configure(called.pop())
        except (SystemExit, ValueError) as e:
            wrong.append(f"{command}\n{capsys.readouterr().err or e}")
    assert not wrong, "\n".join(wrong)


def _configure(flags: dict[str, Any]) -> None:
    """Loads the preset of a command with its overrides; a file that a page speaks of is the reader's: `demo` then."""
    from emojax.config import presets

    holder = next((f for f in flags.values() if hasattr(f, "set_")), None)
    get = flags.get if holder is None else lambda name: getattr(holder, name)
    config = get("config") or "demo" if holder is not None or "config" in flags else None
    if config is not None:
        presets.load("demo" if "/" in config or "." in config else config, get("set_") or ())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_setting_that_prose_names_exists(page: Path) -> None:
    """In `--set NAME=VALUE` between backticks; capital letters stand for what the reader puts there."""
    from emojax.config import presets

    prose = re.sub(r"```(?:bash|sh|python|json).*?```", "", page.read_text(), flags=re.DOTALL)
    for code in re.findall(r"`+([^`]*--set [^`]*)`+", prose):
        items = [
            item.strip("'") for item in re.findall(r"--set (\S+)", code) if not item.isupper() and "PART" not in item
        ]
        presets.load("demo", [item for item in items if "NAME" not in item])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_field_that_prose_names_exists(page: Path) -> None:
    """`grpo.beta`, `data.manifest`: the path of a field or of a part, of some preset."""
    from emojax.config import presets

    there = {path for name in ("demo", "mecap_r1", "bart") for path in presets._paths(presets.load(name))}
    there |= {path[:n] for path in there for n in range(len(path)) if path[n] == "."}
    named = re.findall(r"`((?:sft|grpo|dpo|reward|data|model|lora|mesh)\.[a-z_.]+)(?:=[^`]*)?`", page.read_text())
    assert not [name for name in named if name not in there and not name.endswith(".py")]


@pytest.mark.parametrize("command", LAUNCHES, ids=lambda c: f"{c.words[1]}-{c.line}")
def test_every_launch_is_printed_by_its_dry_run(command: Command) -> None:
    words = list(command.words[1:])
    words.insert(words.index("--"), "--dry-run")
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (command.stage or [""])[0] in done.stdout


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) < 900


@pytest.mark.parametrize("page", LINKED, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [t.partition("#") for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t]
    missing = [t for t, _, _ in targets if t and not (page.parent / t).exists()]
    there = [(t, h, page.parent / t if t else page) for t, _, h in targets if h and t not in missing]
    missing += [f"{t}#{h}" for t, h, file in there if h not in _headings(file)]
    assert not missing


def _headings(page: Path) -> set[str]:
    """The anchors of a page, as both GitHub and MkDocs make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower())) for title in titles}


@pytest.mark.parametrize("page", LINKED, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"(?<![\w/.])(?:\w+/)+\w+\.py\b", page.read_text())
    missing = [name for name in named if not any((at / name).is_file() for at in (ROOT, ROOT / "emojax"))]
    assert not missing


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What went wrong on each page. One process runs all commands, so that compiled programs are shared."""
    folder = tmp_path_factory.mktemp("docs")
    run_pages.cut_reward(folder / "reward")
    pages = {page: [c.stage for c in COMMANDS if c.page == page and c.needs is None and c.stage] for page in RUN}
    (folder / "pages.json").write_text(json.dumps({"begin": run_pages.BEGIN} | pages))
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": CHEAP,
        "XDG_CACHE_HOME": str(folder / "cache"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "EMOJAX_TRACEBACK": "1",  # errors are noted, and the process does not end
    }
    done = subprocess.run([sys.executable, run_pages.__file__], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads((folder / "failures.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run_in_their_order(page: str, failures: dict[str, str]) -> None:
    """Those without a mark, page by page in one directory, as a reader would; none twice that pages have in common.

    Every preset is `tiny` here, cut to a few steps, with a reward model cut down from MiniLM: what is shown is that the
    commands fit each other and end well, not what they give at full size.
    """
    assert page not in failures, failures[page]
