"""compare: why two runs differ."""

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

from emojax.errors import RunError
from emojax.storage import path_of, write_atomically


def compare(
    a: tyro.conf.Positional[Path],
    b: tyro.conf.Positional[Path],
    page: Path | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Compare two runs that were trained with --record: the first step and leaf where they part, and how far.

    Ends with 0 where they are the same, with 1 where they differ, with 2 where they cannot be compared.

    Args:
        a: a run's directory, or the `record` in it.
        b: likewise.
        page: file of HTML to write, with plots.
        as_json: print JSON.
    """
    from emojax.reproduce import records, tell
    from emojax.reproduce.compare import compare
    from emojax.reproduce.page import page as page_of

    one, other = (records.find(path_of(path)) for path in (a, b))
    stages = [stage for stage in one if stage in other]
    if len(one) == len(other) == 1:
        (here,), (there,) = one.values(), other.values()
        pairs = {"": (here, there)}
    else:
        pairs = {stage: (one[stage], other[stage]) for stage in stages}
    if not pairs:
        raise RunError(
            f"{a} holds records of {_named(one)}, {b} of {_named(other)}: no stage in common; name a stage's run"
        )
    found = {stage: compare(records.read(here), records.read(there)) for stage, (here, there) in pairs.items()}
    names = str(a), str(b)
    if page is not None:
        write_atomically(path_of(page), page_of(found, names))
    if as_json:
        print(json.dumps({stage or comparison.stage: tell.as_json(comparison) for stage, comparison in found.items()}))
    else:
        parts = ["\n".join(tell.lines(comparison, names)) for comparison in found.values()]
        titles = [f"{stage}: " if stage else "" for stage in found]
        print("\n\n".join(title + part for title, part in zip(titles, parts, strict=True)))
    sys.exit(0 if all(comparison.same for comparison in found.values()) else 1)


def _named(found: dict[str, Path]) -> str:
    return " and ".join(f"`{stage}`" if stage else "one stage" for stage in found)
