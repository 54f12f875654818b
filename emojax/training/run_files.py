"""What lies in a run's directory, and what may lie there: `--overwrite` removes what runs write, and nothing else."""

import fnmatch
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from emojax import storage
from emojax.errors import RunError
from emojax.training import lock

_WHOLE = ("config.json", "run.json", "tokenizer.json", "sessions.jsonl", "metrics.jsonl", "samples.jsonl")
_WHOLE += ("report.json", "report.md")  # files that are written beside their place first
BEGUN = ("processes", "config.json", lock.FILE, *(storage.LEFT.format(name) for name in (*_WHOLE, "processes")))
"""Files that are left by a run that was killed before it was one."""
FILES = (
    *(name for name in (*BEGUN, *_WHOLE) if name not in ("run.json", lock.FILE)),  # these two go last
    *("stalls.txt", "stalls-*.txt", "captions-*.jsonl", "captions-*.jsonl.settings.json", "captions-*.jsonl.lock"),
    storage.LEFT.format("captions-*.jsonl.settings.json"),
)
FOLDERS = ("checkpoints", "start", "tensorboard", "profile", "damaged")
STAGES = ("sft", "grpo")  # of a run of both


def clear(run: Path) -> None:
    """Removes a run's own files; what else lies there stays. `run.json`, which says that it is a run, goes last.

    Raises:
      RunError: another process writes one of its stages; nothing is removed.
    """
    stages = [run / name for name in STAGES if (run / name / "run.json").exists()]
    with ExitStack() as locks:
        for stage in stages:
            locks.enter_context(lock.held(stage / lock.FILE, stage))
        for stage in stages:
            clear(stage)
        for path in run.iterdir():
            if path.name in FOLDERS and path.is_dir():
                storage.remove(path)
            elif path.is_file() and matches(path.name, FILES):
                path.unlink()
        (run / "run.json").unlink(missing_ok=True)
    for stage in stages:
        with suppress(OSError):  # something else lies there; in a bucket there are no folders
            stage.rmdir()


def only_begun(run: Path) -> bool:
    """Whether nothing lies there but what is left by a run that was killed before it was one."""
    return all(matches(path.name, BEGUN) for path in run.iterdir())


def matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def require_apart(out: Path, init: Path | None, manifest: str) -> None:
    """Raises RunError where a new run would lie where it reads: it must not hold its manifest, nor be, hold or lie in
    the run that it starts from."""
    here = _whole(out)
    if init is not None:
        there = _whole(init)
        if here == there or here in there.parents or there in here.parents:
            raise RunError(
                f"--out {out} must not be, hold or lie in --init {init}, which is read; name another directory"
            )
    if manifest and here in _whole(storage.path_of(manifest)).parents:
        raise RunError(f"--out {out} must not hold data.manifest={manifest}, which is read; name another directory")


def _whole(path: Path) -> Path:
    return path if storage.in_bucket(path) else path.resolve()
