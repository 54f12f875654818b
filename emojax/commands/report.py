"""report: a page of a run, also while it goes on, or of several side by side."""

import sys
from pathlib import Path

import tyro

from emojax.errors import ConfigError, RunError
from emojax.storage import path_of


def report(runs: tyro.conf.Positional[tuple[Path, ...]], out: Path | None = None, overwrite: bool = False) -> None:
    """Write a run's page, report.html in it, as far as the run has come; of several runs one page that compares them.

    Args:
        runs: directories of `train`, `demo`, `sft`, `grpo`, or of `evaluate --out`.
        out: file of HTML to write; of one run `report.html` in it without it.
        overwrite: replace the file `out`.
    """
    from emojax.report import page, run_page, side_by_side

    if not runs:
        raise ConfigError("give the directory of a run, or of several")
    paths = [path_of(run) for run in runs]
    if out is None:
        if paths[1:]:
            raise ConfigError(f"the page of {len(paths)} runs lies in none of them; name a file by --out")
        written = run_page.write(paths[0])
    else:
        written = path_of(out)
        if written.exists() and not overwrite:
            raise RunError(f"{written} exists; replace it by --overwrite, or name another file by --out")
        made = side_by_side.page_of(paths) if paths[1:] else run_page.page_of(run_page.read_run(paths[0]))
        page.write(written, made)
    print(written, file=sys.stderr)
