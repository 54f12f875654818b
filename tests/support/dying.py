"""Functions of a file that end, keep or embarrass the process that runs them."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path


def process(path: Path) -> int:
    return os.getpid()


def crash(path: Path) -> None:
    with path.open("a") as file:
        file.write("crash\n")
    os.kill(os.getpid(), signal.SIGSEGV)


def crash_once(path: Path) -> str:
    if not path.exists():
        crash(path)
    return "read"


def hang(path: Path) -> None:
    time.sleep(60)


def fail(path: Path) -> None:
    raise AttributeError("'NoneType' object has no attribute 'decode'")


def grumble(path: Path) -> str:
    with contextlib.suppress(BlockingIOError):
        for _ in range(3000):  # more than a pipe holds
            os.write(2, b"Warning: Xing stream size off\n")
    return "read"


def refuse(path: Path) -> None:
    sys.exit(3)
