"""What lies in a run's directory, and what may lie there: `--overwrite` removes what runs write, and nothing else."""

import fnmatch
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from emojax import storage
from emojax.config import Config, FeatureFilesConfig
from emojax.data.clips import Clip
from emojax.errors import RunError
from emojax.training import lock

_WHOLE = ("config.json", "run.json", "tokenizer.json", "sessions.jsonl", "metrics.jsonl", "samples.jsonl")
_WHOLE += ("report.json", "report.md", "scores.jsonl", "report.html")  # files that are written beside their place first
BEGUN = ("processes", "config.json", lock.FILE, *(storage.LEFT.format(name) for name in (*_WHOLE, "processes")))
"""Files that are left by a run that was killed before it was one."""
FILES = (
    *(name for name in (*BEGUN, *_WHOLE) if name not in ("run.json", lock.FILE)),  # these two go last
    *("stalls.txt", "stalls-*.txt", "captions-*.jsonl", "captions-*.jsonl.settings.json", "captions-*.jsonl.lock"),
    storage.LEFT.format("captions-*.jsonl.settings.json"),
)
FOLDERS = ("checkpoints", "start", "tensorboard", "profile", "record", "damaged")
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


def require_apart(out: Path, read: Mapping[str, str | Path | None], clips: Iterable[Clip] = ()) -> None:
    """Raises RunError where `out` is, holds or lies in what is read: a file or directory by what names it ("--init",
    "data.manifest"; None or nothing: there is none), or the media of clips."""
    here = _whole(out)
    for name, path in read.items():
        there = _whole(storage.path_of(path)) if path else None
        if there and (here == there or here in there.parents or there in here.parents):
            raise RunError(f"--out {out} must not be, hold or lie in {name} {path}, which is read; name another place")
    folders: dict[Path, Path] = {}  # of the media: there are far fewer
    for clip in clips:
        for path in (clip.audio, clip.video):
            if not isinstance(path, Path):
                continue
            folder = folders.get(path.parent) or folders.setdefault(path.parent, path.parent.resolve())
            if here == folder or here in folder.parents or (here.name == path.name and here.parent == folder):
                raise RunError(
                    f"--out {out} must not be or hold media that are read: {path} of clip {clip.id!r}; name another "
                    "place"
                )


def reads(cfg: Config) -> dict[str, str]:
    """What a configuration reads, by the name of its field: the manifest, features, weights that are no hub's."""
    model = cfg.model
    parts = {"model.audio": model.audio, "model.video": model.video, "model.decoder": model.decoder}
    files = {"data.manifest": cfg.data.manifest, "data.features": cfg.data.features, "dpo.pairs": cfg.dpo.pairs}
    files |= {"grpo.samples": cfg.grpo.samples}
    files |= {f"{name}.weights": part.weights for name, part in parts.items() if part}
    files |= {f"{name}.path": part.path for name, part in parts.items() if isinstance(part, FeatureFilesConfig)}
    return {name: path for name, path in (files | {"reward.model": cfg.reward.model}).items() if Path(path).exists()}


def _whole(path: Path) -> Path:
    return path if storage.in_bucket(path) else path.resolve()
