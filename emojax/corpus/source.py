"""The clips of a configuration: a manifest's, or the built-in corpus's, made once and kept in the user's cache."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from emojax import storage
from emojax.config import Config, ConfigError
from emojax.corpus import synthetic
from emojax.data import tfds
from emojax.data.clips import Clip, read_manifest
from emojax.storage import cache_folder


def manifest(cfg: Config, progress: Callable[[int, int], None] | None = None) -> Path:
    """The path of the manifest; the built-in corpus is rendered first if it is not in the cache yet.

    Of several processes on one machine one renders it while the others wait.
    """
    if cfg.data.manifest:
        check(cfg)
        return Path(cfg.data.manifest)
    spec = json.dumps([synthetic.FORMAT, asdict(cfg.data.corpus)], sort_keys=True)
    folder = cache_folder() / f"corpus-{hashlib.sha256(spec.encode()).hexdigest()[:12]}"
    with _alone(folder.with_suffix(".lock")):
        return synthetic.make_corpus(folder, cfg.data.corpus, progress=progress)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Waits until no other process of this machine is in here; one that dies is out."""
    import fcntl

    with storage.writing(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check(cfg: Config) -> None:
    """Raises ConfigError where the configuration names a manifest that is not there: before a run is begun."""
    name = cfg.data.manifest
    if not name or Path(name).is_file():
        return
    try:
        found = tfds.is_dataset(Path(name))
    except ValueError as e:
        raise ConfigError(f"data.manifest={name}: {e}") from None
    if not found:
        wanted = "give the path of a JSONL manifest, a directory that TFDS wrote, or tfds:NAME"
        raise ConfigError(f"data.manifest: no file at {name}; {wanted}")


def split(path: Path, name: str) -> list[Clip]:
    """The clips of one split.

    Raises:
      ConfigError: it has none.
    """
    clips = read_manifest(path, name)
    if not clips:
        raise ConfigError(f"{path} has no clip whose split is {name!r}")
    return clips


def texts(clips: Sequence[Clip]) -> list[str]:
    """All that the decoder reads or writes: captions and transcripts."""
    return [text for clip in clips for text in (*clip.captions, *([clip.transcript] if clip.transcript else []))]
