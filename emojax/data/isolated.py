"""A function of a media file, run where it may die: `call(decode_audio, path, 4.0)`.

Decoders are C libraries that read what strangers wrote. A file that crashes one, or keeps it for ever, ends a child
process that does nothing else, and is an error that names the file; the next file has another child. A child imports
the decoders alone, no jax, so it starts in a quarter of a second; it is kept for the next call, and ends with its
parent. There are as many as there are threads that call at once.
"""

import atexit
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from emojax.data.container import MediaError

T = TypeVar("T")
log = logging.getLogger(__name__)
_TRIES = 2  # a child may also die of something else: memory that another process took, an operator's kill
LIMIT = ContextVar("seconds for a file", default=300.0)  # an hour of video takes some ten
_PARENTS = (signal.SIGINT, signal.SIGTERM)  # are for the parent to answer, who may need what is being decoded
_KEPT = 8  # children that wait for a next call
_LINES = 3  # of what a library said about a file


@dataclass(frozen=True)
class _Child:
    process: subprocess.Popen
    words: Connection
    said: int  # descriptor of a pipe: what its libraries print


_idle: list[_Child] = []


def call(function: Callable[..., T], path: Path, *args: Any) -> T:
    """`function(path, *args)` in a child process; both and the result are pickled.

    Raises:
      MediaError: whatever the function raises; the file ended the process, twice; or it took longer than LIMIT.
      RuntimeError: a child cannot be started.
    """
    why = ""
    for _ in range(_TRIES):
        child = _idle.pop() if _idle else _start()
        kept = False
        try:
            child.words.send((function, path, args))
            if not child.words.poll(limit := LIMIT.get()):
                raise MediaError(path, f"is not read after {limit:g} s")
            done, result = child.words.recv()
            kept = True
        except (EOFError, ConnectionError):
            why = _death(child.process.wait())
            continue
        finally:
            said = _said(child)
            _idle.append(child) if kept and len(_idle) < _KEPT else _end(child)
        if said:
            log.warning("%s: %s", path, said)
        if not done:
            raise MediaError(*result)
        return result
    raise MediaError(path, f"ends the process that decodes it ({why})")


def _death(code: int) -> str:
    """How a process ended."""
    return f"signal {-code}, {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"


def _said(child: _Child) -> str:
    try:
        text = os.read(child.said, 1 << 16).decode(errors="replace")
    except BlockingIOError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    more = f" (and {len(lines) - _LINES} lines more)" if len(lines) > _LINES else ""
    return "; ".join(lines[:_LINES]) + more


def _start() -> _Child:
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)  # a library that prints without end is not waited for
    # not multiprocessing's spawn, which runs the parent's main script again
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from emojax.data import isolated; isolated.serve({theirs.fileno()})"
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PARENTS)  # of this thread; inherited
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=write,
            pass_fds=[theirs.fileno()],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # no threads for sums of channels
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        os.close(write)
    child = _Child(process, Connection(ours.detach()), read)
    try:
        child.words.recv()
    except (EOFError, ConnectionError):
        code = process.wait()
        said = _said(child)
        _end(child)
        raise RuntimeError(f"the process that decodes files cannot be started ({_death(code)}): {said}") from None
    return child


def _end(child: _Child) -> None:
    child.process.kill()
    child.process.wait()
    child.words.close()
    os.close(child.said)


@atexit.register
def _end_all() -> None:
    while _idle:
        _end(_idle.pop())


os.register_at_fork(after_in_child=_idle.clear)  # they answer the parent


def serve(fd: int) -> None:
    """In a child: answers until the parent is gone, whatever it is doing then."""
    import av  # noqa: F401  here, so that a library that is not there is no file's fault
    import soundfile  # noqa: F401
    import soxr  # noqa: F401

    words = Connection(fd)
    threading.Thread(target=_end_with_parent, args=(fd,), daemon=True).start()
    words.send(None)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            function, path, args = words.recv()
            try:
                answer = True, function(path, *args)
            except MediaError as e:
                answer = False, (e.path, e.why)
            except Exception as e:
                answer = False, (path, f"cannot be read ({type(e).__name__}: {e})")
            words.send(answer)


def _end_with_parent(fd: int) -> None:
    import select

    gone = select.poll()
    gone.register(fd, 0)  # hanging up is told of unasked
    gone.poll()
    os._exit(1)
