"""What lies in a run's directory, and what may lie there: `--overwrite` removes what runs write, and nothing else."""

import fnmatch
from pathlib import Path

from emojax import storage
from emojax.errors import RunError

FILES = (
    *("config.json", "tokenizer.json", "metrics.jsonl", "samples.jsonl", "sessions.jsonl", "stalls.txt", "processes"),
    *("report.json", "report.md", "captions-*.jsonl", "captions-*.jsonl.settings.json"),
    # left by a run that was killed while it wrote
    *("config.json.new", "run.json.new", "tokenizer.json.new", "metrics.new", "samples.new", "sessions.jsonl.new"),
)
FOLDERS = ("checkpoints", "start", "tensorboard", "profile", "damaged")
STAGES = ("sft", "grpo")  # of a run of both


def clear(run: Path) -> None:
    """Removes a run's own files; what else lies there stays. `run.json`, which says that it is a run, goes last."""
    for path in sorted(run.iterdir(), key=lambda path: path.name):
        if path.name in STAGES and (path / "run.json").exists():
            clear(path)
            if not any(path.iterdir()):
                storage.remove(path)
        elif path.name in FOLDERS and path.is_dir():
            storage.remove(path)
        elif path.is_file() and any(fnmatch.fnmatchcase(path.name, name) for name in FILES):
            path.unlink()
    (run / "run.json").unlink(missing_ok=True)


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
