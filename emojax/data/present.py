"""Paths of a manifest as files: whether each is there, asked for a million of them.

A folder that is asked of often is listed once instead: a look at every file is a call to the system, over a network a
slow one. A name that is not in the list is looked at by itself, for a file system may spell it otherwise.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

_OFTEN = 50  # names asked of a folder before it is listed


@dataclass
class _Folder:
    text: str
    path: Path
    asked: int = 0
    names: frozenset[str] = frozenset()  # of files in it, once it was listed

    def holds(self, name: str) -> bool:
        self.asked += 1
        if self.asked == _OFTEN:
            self.names = _files(self.text)
        return name in self.names or os.path.isfile(f"{self.text}/{name}")


def _files(folder: str) -> frozenset[str]:
    """The names of the files in a folder, of links to files, too; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (OSError, ValueError):
        return frozenset()


@dataclass
class Files:
    """Files by paths that are relative to a folder."""

    root: str
    _folders: dict[str, _Folder] = field(default_factory=dict)

    def find(self, path: str) -> tuple[Path, bool]:
        """Where it leads, and whether a file is there."""
        folder, _, name = (path if path[0] == "/" else f"{self.root}/{path}").rpartition("/")
        found = self._folders.get(folder)
        if found is None:
            found = self._folders[folder] = _Folder(folder, Path(folder or "/"))
        return found.path / name, found.holds(name)
