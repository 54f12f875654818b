"""One writer a run: who begins a second one learns who holds it, at once, instead of spoiling it.

On a disk the operating system keeps the lock (`flock`), and lets go of it when its process ends, however it ends. In a
bucket an object stands for it, a lease: its holder writes it anew as long as it lives, and one that has not changed
for a while is nobody's. The file says who holds it, and is removed at the end.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import secrets
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from emojax import storage
from emojax.errors import RunError
from emojax.parallel import hosts

log = logging.getLogger(__name__)
FILE = "emojax.lock"
RENEW, EXPIRE = 15.0, 60.0  # seconds after which a lease is written anew, and is nobody's
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_held: set[int] = set()  # descriptors; a forked process would keep the lock when this one has ended
os.register_at_fork(after_in_child=lambda: [os.close(fd) for fd in _held])


@contextlib.contextmanager
def run(out: Path) -> Iterator[None]:
    """Holds the run directory `out`, which is made, and removed again where nothing was written to it.

    Of several processes the first one takes the lock.

    Raises:
      RunError: another process holds it: which, and since when. In all processes.
    """
    with contextlib.ExitStack() as stack:
        hosts.by_first(lambda: stack.enter_context(folder(out)), f"take the lock of {out}")
        yield


@contextlib.contextmanager
def folder(out: Path) -> Iterator[None]:
    """Holds a directory for this process alone, as `run` does."""
    if not storage.in_bucket(out) and out.exists() and not out.is_dir():
        yield  # it is no run, which is told elsewhere
        return
    made = [] if storage.in_bucket(out) else [p for p in (out, *out.parents) if not p.exists()]
    try:
        with held(out / FILE, out):
            yield
    finally:
        with contextlib.suppress(OSError):  # something lies in it now
            for path in made:
                path.rmdir()


@contextlib.contextmanager
def held(lock: Path, what: Path) -> Iterator[None]:
    """Holds `what` by the file `lock`.

    Raises:
      RunError: another process holds it. WriteError: the file cannot be written.
    """
    with _lease(lock, what) if storage.in_bucket(lock) else _flock(lock, what):
        yield


@contextlib.contextmanager
def _flock(lock: Path, what: Path) -> Iterator[None]:
    with storage.writing(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        while (fd := _locked(lock, what)) is not None and not _is(lock, fd):
            os.close(fd)  # its holder has just removed it: a new one is to be made
        if fd is not None:
            _held.add(fd)
            os.ftruncate(fd, 0)
            os.pwrite(fd, _me().encode(), 0)
    try:
        yield
    finally:
        if fd is not None:
            if _is(lock, fd):
                lock.unlink()  # while it is held, so that whoever waits with it open sees that it is gone
            _held.discard(fd)
            os.close(fd)


def _locked(lock: Path, what: Path) -> int | None:
    """The open file of a lock that is ours now; None where the file system has no locks, which is said."""
    fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _refuse_foreign(lock, os.pread(fd, 1 << 16, 0))
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except RunError:
        os.close(fd)
        raise
    except OSError as e:
        os.close(fd)
        if isinstance(e, BlockingIOError):
            raise RunError(_refusal(what, _holder(lock))) from None
        if e.errno not in _NO_LOCKS:
            raise
        log.warning("%s: its file system has no locks; see to it that nothing else writes there", what)
        lock.unlink(missing_ok=True)
        return None
    return fd


def _refuse_foreign(lock: Path, content: bytes) -> None:
    """Raises RunError where a file of the user's has the lock's name; what was left of a lock may be empty."""
    if content.strip(b"\0") and b'"pid"' not in content:
        raise RunError(f"{lock} is no lock of a writer, but stands in its place; move it away, or name another --out")


def _is(lock: Path, fd: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), lock.stat())
    return False


def _me(**more: str) -> str:
    who = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
    return json.dumps({**who, "command": shlex.join(sys.argv), **more})


def _holder(lock: Path) -> str:
    """Who holds a lock, in words; it is asked again while its new holder has not yet said so."""
    for _ in range(20):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            who = json.loads(lock.read_text())
            return f"process {who['pid']} on {who['host']} since {who['since']} ({who['command']})"
        time.sleep(0.05)
    return "another process"


def _refusal(what: Path, holder: str) -> str:
    return f"{what} is being written by {holder}; wait for its end, stop it, or name another --out"


@contextlib.contextmanager
def _lease(lock: Path, what: Path) -> Iterator[None]:
    token, ended = secrets.token_hex(8), threading.Event()
    me = json.loads(_me(token=token))

    def lost() -> bool:
        return lock.exists() and token not in lock.read_text()

    def renew() -> None:
        while not ended.wait(RENEW):
            with contextlib.suppress(Exception):  # the bucket was not reached: once more
                if lost():
                    print(f"emojax: {what} was taken over by {_holder(lock)}", file=sys.stderr, flush=True)
                    os._exit(2)  # as one that is resumed goes on there, not a byte more may be written
                lock.write_text(json.dumps(me | {"renewed": time.time()}))

    _await_free(lock, what)
    with storage.writing(lock):
        lock.write_text(json.dumps(me))
    time.sleep(min(1.0, RENEW))  # of several that come at once the last one's word stays
    if lost():
        raise RunError(_refusal(what, _holder(lock)))
    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if not lost():
            lock.unlink(missing_ok=True)


def _await_free(lock: Path, what: Path) -> None:
    """Returns once the lease is nobody's. Raises RunError where its holder renews it."""
    if not lock.exists():
        return
    _refuse_foreign(lock, lock.read_bytes())
    found, deadline = lock.read_text(), time.monotonic() + EXPIRE
    log.warning("%s was being written by %s; looking for %.0f s whether it still is", what, _holder(lock), EXPIRE)
    while time.monotonic() < deadline:
        time.sleep(min(1.0, RENEW))
        if not lock.exists():
            return
        if lock.read_text() != found:
            raise RunError(_refusal(what, _holder(lock)))
