"""A disk of a few kilobytes: a file system in memory, for tests that fill it. It wants the right to mount."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def _mount(*options: str) -> None:
    subprocess.run(["mount", *options], check=True, capture_output=True)


class Disk:
    def __init__(self, path: Path) -> None:
        self.path = path

    def hold(self, size: int) -> None:
        """So many bytes from now on."""
        _mount("-o", f"remount,rw,size={size}", str(self.path))

    def make_room(self) -> None:
        self.hold(1 << 30)

    def bar(self) -> None:
        """Nothing can be written to it from now on."""
        _mount("-o", "remount,ro", str(self.path))


@contextlib.contextmanager
def mounted(path: Path) -> Iterator[Disk]:
    path.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", "size=64k", "none", str(path))
    except (OSError, subprocess.CalledProcessError) as e:
        pytest.skip(f"no file system can be mounted here: {e}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
