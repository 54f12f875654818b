"""What lies in a dataset's folder: walked once, found by name, for no two copies of a dataset nest alike."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

AUDIO = frozenset((".wav", ".flac", ".mp3", ".ogg", ".m4a"))
VIDEO = frozenset((".mp4", ".avi", ".flv", ".mkv", ".mov", ".webm"))
_POINTER = 200  # bytes; what Git leaves in place of a large file is shorter


class DatasetError(ValueError):
    """A dataset on disk that cannot be read as it should be: which file, what was looked for, and what to do."""


@dataclass(frozen=True)
class Tree:
    root: Path
    names: Mapping[str, Sequence[Path]]  # files by name, of several the one nearest to the root first
    stems: Mapping[str, Sequence[Path]]  # sound and film by name without suffix, likewise
    pointers: Sequence[Path]  # Git LFS pointers, which are no files

    def file(self, name: str, under: str = "") -> Path | None:
        """The file of that name in folders whose path matches, the nearest to the root; None: there is none."""
        return next((path for path in self.names.get(name, ()) if self.lies(path, under)), None)

    def needed(self, name: str, under: str = "") -> Path:
        """The same; raises DatasetError where there is none."""
        found = self.file(name, under)
        if found is None:
            raise DatasetError(f"{self.root}: no {name} in it or below; give the folder that holds it as --root")
        return found

    def matching(self, pattern: str) -> list[Path]:
        """All files whose whole name matches, sorted."""
        return sorted(path for name, paths in self.names.items() if re.fullmatch(pattern, name) for path in paths)

    def audio(self, stem: str, under: str = "") -> Path | None:
        """A sound file of that name, else a film, whose sound is read."""
        return self.media(stem, AUDIO, under) or self.media(stem, VIDEO, under)

    def video(self, stem: str, under: str = "") -> Path | None:
        return self.media(stem, VIDEO, under)

    def media(self, stem: str, suffixes: Iterable[str], under: str = "") -> Path | None:
        found = (p for p in self.stems.get(stem, ()) if p.suffix.lower() in suffixes and self.lies(p, under))
        return next(found, None)

    def lies(self, path: Path, under: str) -> bool:
        """Whether the path of its folder, from the root on, matches the pattern somewhere."""
        return not under or re.search(under, self.place(path.parent)) is not None

    def place(self, path: Path) -> str:
        """The path from the root, which itself is named, too: it may be the folder that tells the split."""
        return path.relative_to(self.root.parent).as_posix()


def walk(root: Path) -> Tree:
    """Every file below a folder, links followed, but what macOS leaves beside them (`._x`).

    Raises:
      DatasetError: there is no such folder.
    """
    root = Path(os.path.abspath(root))
    if not root.is_dir():
        raise DatasetError(f"--root {root}: no such folder")
    names: dict[str, list[Path]] = defaultdict(list)
    stems: dict[str, list[Path]] = defaultdict(list)
    pointers: list[Path] = []
    seen: set[str] = set()
    for folder, below, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:  # a link back up
            below.clear()
            continue
        seen.add(real)
        for name in files:
            path = Path(folder, name)
            if name.startswith("._"):
                continue
            if path.suffix.lower() in AUDIO | VIDEO:
                if _is_pointer(path):
                    pointers.append(path)
                    continue
                stems[path.stem].append(path)
            names[name].append(path)
    for found in (*names.values(), *stems.values()):
        found.sort(key=lambda path: (len(path.parts), str(path)))
    return Tree(root, names, stems, sorted(pointers))


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size < _POINTER and file.read(40).startswith(b"version https://git-lfs")
    except OSError:
        return False
