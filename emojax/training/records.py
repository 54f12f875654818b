"""A record as it was written, read and checked: whatever is wrong with it is one line."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emojax.errors import RunError, shown
from emojax.storage import read_object
from emojax.training.record_files import ABOUT, FOLDER, FORMAT, ROWS
from emojax.training.record_rows import Damaged, Layout, Row, parse, table


@dataclass(frozen=True)
class Record:
    path: Path
    stage: str
    config: dict[str, Any]
    sessions: list[dict[str, Any]]  # what each was made with
    layout: Layout
    states: dict[int, Row]  # of states that sessions began with
    rows: dict[int, Row]  # by step, ascending


def find(path: Path) -> dict[str, Path]:
    """The records of a run by stage, of the two stages of `train` or of its one (""); or a record itself.

    Raises:
      RunError: there is none.
    """
    if (path / ABOUT).exists():
        return {"": path}
    if (path / FOLDER / ABOUT).exists():
        return {"": path / FOLDER}
    found = {stage: path / stage / FOLDER for stage in ("sft", "grpo") if (path / stage / FOLDER / ABOUT).exists()}
    if found:
        return found
    if not path.exists():
        raise RunError(f"{path}: no such directory; wanted a run that was trained with --record, or its record")
    if (path / "run.json").exists():
        raise RunError(f"{path} has no record: a run keeps one if it is trained with --record")
    raise RunError(f"{path} is neither a run nor a record; wanted a run that was trained with --record, or its record")


def read(path: Path) -> Record:
    """Raises RunError where it is damaged: what, and where."""
    try:
        about = read_object(path / ABOUT)
        layout = _layout(about)
        stage, config, sessions = about["stage"], about["config"], about["sessions"]
        if not (isinstance(stage, str) and isinstance(config, dict) and sessions and isinstance(sessions, list)):
            raise ValueError("wanted a stage, a configuration and sessions")
        if not all(isinstance(session, dict) for session in sessions):
            raise ValueError(f"wanted sessions that are objects, got {shown(sessions)}")
    except (ValueError, KeyError, TypeError, OSError) as e:
        why = f"it lacks {e}" if isinstance(e, KeyError) else str(e).removeprefix(f"{path / ABOUT}: ")
        raise RunError(f"{path / ABOUT} cannot be read: {why}; get it again from where the run was made") from None
    file = path / ROWS
    if not file.exists():
        raise RunError(f"{file} is not there: a record is {ABOUT} and {ROWS}, copied together")
    states, rows = {}, {}
    for n, numbers in enumerate(table(file.read_bytes(), layout)):
        try:
            row = parse(layout, numbers)
            if rows and row.step <= max(rows) and row.bucket is not None:
                raise Damaged(f"step {row.step} after step {max(rows)}")
        except Damaged:
            where = f"after step {max(rows)}" if rows else "at its beginning"
            raise RunError(
                f"{file} is damaged in row {n + 1}, {where}, or it is no part of {ABOUT} beside it; get both again "
                "from where the run was made"
            ) from None
        if row.bucket is None:
            states[row.step] = row
        else:
            rows[row.step] = row
    return Record(path, stage, config, sessions, layout, states, rows)


def _layout(about: dict[str, Any]) -> Layout:
    if about.get("format") != FORMAT:
        raise ValueError(f"its format is {shown(about.get('format'))}, this emojax reads {FORMAT}")
    told = about["layout"]
    names, dtypes, shapes, samples = (told[field.name] for field in dataclasses.fields(Layout))
    b, g, t = map(int, samples or (0, 0, 0))
    layout = Layout(
        names=tuple(map(str, names)),
        dtypes=tuple(map(str, dtypes)),
        shapes=tuple(tuple(tuple(map(int, shape)) for shape in bucket) for bucket in shapes),
        samples=None if samples is None else (b, g, t),
    )
    if not names or len(layout.dtypes) != len(names) or any(len(bucket) != len(names) for bucket in layout.shapes):
        raise ValueError("its names, types and shapes are not as many")
    return layout
