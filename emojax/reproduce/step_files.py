"""The file of one step's operations or waypoints: a zip with a sum over each part, as `numpy.load` reads it, too.

about.json      what it is of, names of arguments, operations, scopes, kinds of values
NAME.npy        numbers of rows and values, one after another; of lists of lists NAME-ends.npy, too
tensors/NAME    of values that were kept, their bytes; equal ones once
"""

import functools
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emojax.errors import RunError, shown
from emojax.reproduce.operations import Done, Operation, Scope, Written
from emojax.storage import parse_json, replacing
from emojax.training.sketch import WORDS

FORMAT = 1
OPERATIONS, WAYPOINTS = "operations", "waypoints"
_SAID = ("of", "stage", "step", "config", "session", "proof")  # beside the format
_TYPES = (str, int, dict, dict)


@dataclass(frozen=True)
class StepRecord:
    """One step of a run, operation by operation or by its waypoints."""

    path: Path
    of: str  # operations or waypoints
    stage: str
    step: int
    config: dict[str, Any]
    sessions: list[dict[str, Any]]  # one: what it was made with
    proof: str  # whether it is the run's own step
    written: Written

    @functools.cached_property
    def _file(self) -> zipfile.ZipFile:
        """Opened once: its list of parts is long."""
        return zipfile.ZipFile(self.path)

    def tensor(self, name: str) -> np.ndarray | None:
        """None: it was not kept. Raises RunError where it is damaged."""
        dtype, _, shape = name.partition("-")[2].rstrip("]").partition("[")
        try:
            data = self._file.read(f"tensors/{name}")
            return np.frombuffer(data, np.dtype(dtype)).reshape([int(n) for n in shape.split(",") if n])
        except KeyError:
            return None
        except _BROKEN as e:
            raise _damaged(self.path, str(e)) from None


_BROKEN = (ValueError, TypeError, IndexError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


class StepFile:
    """What a file is written to while the step is evaluated."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file, self._kept = file, set[str]()

    def keep(self, name: str, x: np.ndarray) -> None:
        if name not in self._kept:
            self._kept.add(name)
            self._file.writestr(f"tensors/{name}", np.ascontiguousarray(x).tobytes())

    def close(self, written: Written, about: Mapping[str, Any]) -> None:
        kinds = sorted(set(written.kinds))
        told = {
            "format": FORMAT,
            **about,
            "arguments": written.arguments,
            "operations": [astuple(each) for each in written.operations],
            "scopes": [astuple(each) for each in written.scopes],
            "kinds": kinds,
        }
        self._file.writestr("about.json", json.dumps(told))
        numbers = {n: i for i, n in enumerate(kinds)}
        self._numbers("kinds", np.array([numbers[each] for each in written.kinds], np.int32))
        self._numbers("words", np.array(written.words, np.uint32).reshape(-1, WORDS))
        self._numbers("operation", np.array([row.operation for row in written.rows], np.int32))
        self._lists("producers", written.producers)
        for name in ("turns", "inputs", "outputs"):
            self._lists(name, [getattr(row, name) for row in written.rows])

    def _lists(self, name: str, lists: Sequence[Sequence[int]]) -> None:
        self._numbers(name, np.array([n for each in lists for n in each], np.int32))
        self._numbers(f"{name}-ends", np.cumsum([len(each) for each in lists], dtype=np.int64))

    def _numbers(self, name: str, x: np.ndarray) -> None:
        with self._file.open(f"{name}.npy", "w") as part:
            np.lib.format.write_array(part, x, allow_pickle=False)


@contextmanager
def writing(path: Path) -> Iterator[StepFile]:
    """The file is there when all of it is. Raises WriteError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as new, zipfile.ZipFile(new, "w") as file:
        yield StepFile(file)


def read(path: Path) -> StepRecord:
    """Raises RunError: it is not there, no such file, or damaged."""
    if not path.is_file():
        raise RunError(f"{path}: no such file; `emojax record RUN --step N --ops` writes one")
    try:
        with zipfile.ZipFile(path) as file:
            return _read(path, file)
    except KeyError as e:
        raise _damaged(path, f"it lacks {e}") from None
    except _BROKEN as e:
        raise _damaged(path, str(e)) from None


def _damaged(path: Path, why: str) -> RunError:
    return RunError(
        f"{path} cannot be read as the record of a step: {why.rstrip('.')}; get it again, or record it again"
    )


def _read(path: Path, file: zipfile.ZipFile) -> StepRecord:
    told = parse_json(file.read("about.json"), "about.json")
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        form = told.get("format") if isinstance(told, dict) else told
        raise ValueError(f"its format is {shown(form)}, this emojax reads {FORMAT}")
    of, stage, step, config, session, proof = (told[name] for name in _SAID)
    if not (
        isinstance(stage, str) and isinstance(step, int) and isinstance(config, dict) and isinstance(session, dict)
    ):
        raise ValueError("wanted a stage, a step, a configuration and what it was made with")
    operations = [
        Operation(scope, primitive, line, function, backward, tuple(outputs))
        for scope, primitive, line, function, backward, outputs in told["operations"]
    ]
    scopes = [Scope(parent, role) for parent, role in told["scopes"]]
    turns, inputs, outputs = (_lists(file, name) for name in ("turns", "inputs", "outputs"))
    done = _numbers(file, "operation").tolist()
    rows = [Done(*each) for each in zip(done, turns, inputs, outputs, strict=True)]
    kinds, words = [told["kinds"][n] for n in _numbers(file, "kinds").tolist()], _numbers(file, "words")
    producers = _lists(file, "producers")
    written = Written(list(told["arguments"]), operations, scopes, rows, list(words), kinds, producers)
    _check(written)
    return StepRecord(path, of, stage, step, config, [session], str(proof), written)


def _check(written: Written) -> None:
    """Raises ValueError where a number names nothing."""
    values, rows = len(written.words), len(written.rows)
    whole = len(written.kinds) == len(written.producers) == values and len(written.arguments) <= values
    whole &= all(word.shape == (WORDS,) for word in written.words)
    whole &= all(-1 <= scope.parent < len(written.operations) for scope in written.scopes)
    whole &= all(0 <= each.scope < len(written.scopes) for each in written.operations)
    whole &= all(0 <= row.operation < len(written.operations) for row in written.rows)
    whole &= all(0 <= n < values for row in written.rows for n in (*row.inputs, *row.outputs))
    whole &= all(-len(written.arguments) <= n < rows for each in written.producers for n in each)
    if not whole:
        raise ValueError("its parts do not belong together")


def _lists(file: zipfile.ZipFile, name: str) -> list[tuple[int, ...]]:
    flat, ends = _numbers(file, name).tolist(), _numbers(file, f"{name}-ends").tolist()
    return [tuple(flat[begin:end]) for begin, end in zip([0, *ends[:-1]], ends, strict=True)] if ends else []


def _numbers(file: zipfile.ZipFile, name: str) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(file.read(f"{name}.npy")), allow_pickle=False)
