"""Starts one run as several processes of this machine: `python launch/local.py -n 4 -- emojax train --config tiny`.

Each process gets its CPU devices, or a GPU, and the flags that tell it who it is. Their lines come with their numbers.
When one ends in error the others are ended, too. Exit codes are emojax's:

0    done
2    an error of the user's; never started again
75   stopped by SIGTERM, after a complete checkpoint; go on with --resume
else a crash; with --restarts all are started again, with --resume
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Annotated

import tyro

USER_ERROR = 2


@dataclass(frozen=True)
class Local:
    """Flags of the launcher; the command follows after `--`."""

    n: Annotated[int, tyro.conf.arg(aliases=("-n",))]  # processes
    devices: int = 1  # CPU devices of each
    gpu: bool = False  # one GPU each instead
    restarts: int = 0  # how often all are started again after a crash
    grace: float = 30  # seconds from asking a process to end to ending it
    port: int = 0  # of process 0's coordination service; 0: a free one
    dry_run: bool = False  # print the commands and their environment, start nothing


def environment(local: Local, process: int, given: Mapping[str, str]) -> dict[str, str]:
    """What process number `process` has in its environment beside what is there."""
    if local.gpu:
        gpus = given.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(local.n)))
        return {"CUDA_VISIBLE_DEVICES": gpus.split(",")[process]}
    flags = f"{given.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={local.devices}".strip()
    # a collective of CPU devices holds a thread of XLA's one pool until every device has come: there must be enough
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PJRT_NPROC": given.get("PJRT_NPROC", "64")}


def command(local: Local, asked: Sequence[str], process: int, port: int | str, again: bool) -> list[str]:
    """What process number `process` runs; `again`: to go on with what a crash left."""
    if again:
        asked = [*(word for word in asked if word not in ("--resume", "--overwrite")), "--resume"]
    who = ["--processes", str(local.n), "--coordinator", f"localhost:{port}", "--process", str(process)]
    return [*asked, *who]


def run(local: Local, asked: Sequence[str], again: bool, stop: list[int]) -> int:
    """Starts all and waits for them; the exit code of the first that failed. `stop` has the signals we got."""
    port = local.port or free_port()
    children: list[subprocess.Popen[str]] = []
    for process in range(local.n):
        child = subprocess.Popen(
            command(local, asked, process, port, again),
            env=os.environ | environment(local, process, os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C is passed on once, not sent by the terminal as well
        )
        children.append(child)
    copies = [
        threading.Thread(target=copy, args=(stream, screen, process), daemon=True)
        for process, child in enumerate(children)
        for stream, screen in ((child.stdout, sys.stdout), (child.stderr, sys.stderr))
    ]
    for thread in copies:
        thread.start()
    try:
        code = wait(children, local.grace, stop)
    finally:
        for child in children:
            send(child, signal.SIGKILL)
    for thread in copies:
        thread.join(timeout=5)  # a grandchild may still hold the pipe
    return code


def wait(children: Sequence[subprocess.Popen[str]], grace: float, stop: list[int]) -> int:
    """Until all have ended; the first failure ends the others: SIGTERM, and SIGKILL when `grace` is over."""
    first, until, passed_on = 0, None, 0
    while None in [child.poll() for child in children]:
        for number in stop[passed_on:]:
            for child in children:
                send(child, number)
        passed_on = len(stop)
        failed = next((child.returncode for child in children if child.returncode), 0)
        if failed and until is None:
            first, until = failed, time.monotonic() + grace
            for child in children:
                send(child, signal.SIGTERM)
        if until is not None and time.monotonic() > until:
            for child in children:
                send(child, signal.SIGKILL)
        time.sleep(0.05)
    first = first or next((child.returncode for child in children if child.returncode), 0)
    return 128 - first if first < 0 else first


def send(child: subprocess.Popen[str], number: int) -> None:
    """To the process, which ends its own workers; SIGKILL to these as well."""
    if child.poll() is None:
        if number == signal.SIGKILL:
            os.killpg(child.pid, number)
        else:
            child.send_signal(number)


def copy(stream: IO[str], screen: IO[str], process: int) -> None:
    for line in stream:
        screen.write(f"[{process}] {line}")
        screen.flush()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def main() -> None:
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    local, asked = tyro.cli(Local, args=words[:at], config=(tyro.conf.FlagCreatePairsOff,)), words[at + 1 :]
    if not asked or local.n < 1 or local.devices < 1:
        print(
            f"local.py: got -n {local.n}, --devices {local.devices} and the command {shlex.join(asked)!r}; wanted one "
            "or more of each, and a command after --, as in: local.py -n 4 -- emojax train --config tiny",
            file=sys.stderr,
        )
        sys.exit(USER_ERROR)
    if local.dry_run:
        for process in range(local.n):
            words = command(local, asked, process, local.port or "PORT", again=False)
            named = (f"{name}={shlex.quote(x)}" for name, x in environment(local, process, os.environ).items())
            print(*named, shlex.join(words))
        return
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stop.append(number))
    for attempt in range(local.restarts + 1):
        code = run(local, asked, attempt > 0, stop)
        if code in (0, USER_ERROR) or stop or attempt == local.restarts:
            sys.exit(code)
        print(f"local.py: exit code {code}; all are started again ({attempt + 1} of {local.restarts})", file=sys.stderr)


if __name__ == "__main__":
    main()
