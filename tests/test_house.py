"""The house: what lies at its root, imports that never go back up the order of its rooms, short lists, short files."""

import ast
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import emojax
from emojax.config import presets
from support.long import LONG

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "emojax"
FOUNDATION = ("errors", "types", "storage", "param")
# a file imports from its own room and from those before it
ROOMS = ["config", "parallel", "hub", "data", "datasets", "corpus", "nn", "encoders", "decoder", "text", "rewards"]
ROOMS += ["training", "evaluation", "export", "captioning", "serving", "reproduce", "report", "planning", "bench"]
ROOMS += ["api", "commands"]
PUBLIC = {name: home.partition(".")[0] for name, home in emojax._HOME.items()} | {"__version__": "errors"}
MOST_PARAMETERS = 8
LONGER: dict[str, str] = {}  # "room/file.py:function": why it takes more
MOST_LINES = 300


@functools.cache
def read(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def floor(name: str) -> int:
    """The place of a room, of a file at the root or of a public name in the order."""
    name = PUBLIC.get(name, name)
    if name in FOUNDATION:
        return 0
    return 1 + ROOMS.index(name) if name in ROOMS else 1 + len(ROOMS)


def imported(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and room of every import of emojax, wherever it stands in the file."""
    for node in ast.walk(module):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            if first == "emojax":
                yield node.lineno, rest.partition(".")[0]


def upward(path: Path, module: ast.Module) -> list[str]:
    """Imports of a file of the package that go up."""
    place = path.relative_to(HOUSE)
    here = floor(place.with_suffix("").parts[0])
    found = [(line, room) for line, room in imported(module) if floor(room) > here]
    return [f"{place}:{line} imports {room or 'emojax'}" for line, room in found]


def test_the_root_holds_what_is_used_everywhere() -> None:
    here = {path.name for path in HOUSE.iterdir() if path.is_file()}
    assert here == {"__init__.py", "cli.py", *(f"{name}.py" for name in FOUNDATION), "py.typed"}


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {path.parent.relative_to(HOUSE).parts[0] for path in HOUSE.rglob("*.py") if path.parent != HOUSE}
    assert rooms <= set(ROOMS)


def test_imports_never_go_back_up() -> None:
    assert [line for path in files("emojax") for line in upward(path, read(path))] == []


@pytest.mark.parametrize(
    "source",
    [
        "from emojax.training import loop",
        "import emojax.training.loop",
        "def f():\n    from emojax import training",
        "if TYPE_CHECKING:\n    from emojax.commands.train import sft",
        "from emojax import Captioner",
        "import emojax",
    ],
)
def test_an_import_that_goes_up_is_found(source: str) -> None:
    assert upward(HOUSE / "nn" / "attention.py", ast.parse(source))
    allowed = (
        "import jax\nfrom emojax import param, Config\nfrom emojax.nn import rope\nfrom emojax.data.text import read"
    )
    assert not upward(HOUSE / "nn" / "attention.py", ast.parse(allowed))


def test_no_function_takes_more_than_eight_parameters() -> None:
    """The flags of a command are its parameters, so those of emojax/commands are not counted."""
    longer = {}
    for path in files("emojax"):
        place = path.relative_to(HOUSE)
        for node in ast.walk(read(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and place.parts[0] != "commands":
                a = node.args
                count = len(a.posonlyargs) + len(a.args) + len(a.kwonlyargs) + bool(a.vararg) + bool(a.kwarg)
                if count > MOST_PARAMETERS:
                    longer[f"{place}:{node.name}"] = count
    assert longer.keys() == LONGER.keys()


def test_no_file_is_long() -> None:
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in files("emojax", "tests", "launch", "configs")}
    assert {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("written", ["tiny.json", "tiny.py"])
def test_a_configuration_of_before_the_rooms_is_read(written: str) -> None:
    """As emojax 0.1 wrote it into a run, and as a preset in Python that imports what was then there.

    A run goes on with the epsilon that was then fixed.
    """
    fixed = ["sft.optimizer.epsilon=1e-6", "grpo.optimizer.epsilon=1e-6"] if written.endswith(".json") else []
    assert presets.load(str(ROOT / "tests" / "support" / "old" / written)) == presets.load("tiny", fixed)


def test_the_corpus_of_a_run_from_before_its_seed_was_its_own_is_the_same(tmp_path: Path) -> None:
    """Its seed was the run's, which now changes weights, order and noise alone."""
    cfg = presets.load("tiny", ["seed=3"])
    assert cfg.data.corpus.seed == 0
    values = json.loads(presets.dumps(cfg))
    del values["data"]["corpus"]["seed"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert presets.read_json(tmp_path / "config.json") == presets.override(cfg, ["data.corpus.seed=3"])


def test_what_is_listed_as_long_is_there() -> None:
    for name in LONG:
        file, _, function = name.partition("[")[0].partition("::")
        text = (ROOT / "tests" / f"{file}.py").read_text()
        assert f"def {function}(" in text if function else "def test_" in text, name
