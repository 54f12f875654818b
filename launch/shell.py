"""Commands of this machine: run, or only shown. Launchers are given one of the two: what is shown is what would run."""

import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emojax_command import LaunchError


@dataclass(frozen=True)
class Answer:
    code: int = 0
    out: str = ""  # what it printed, where that was asked for
    err: str = ""


Run = Callable[[Sequence[str], bool], Answer]  # (command, whether its output is wanted or goes to the terminal)


def run(command: Sequence[str], wanted: bool) -> Answer:
    """Prints it, but where it is a question. Raises LaunchError where the program is not installed."""
    if shutil.which(command[0]) is None:
        raise LaunchError(f"{command[0]} is not on the PATH; install it, or look at what would be run by --dry-run")
    if not wanted:
        print(f"+ {shlex.join(command)}", flush=True)
    pipe = subprocess.PIPE if wanted else None
    done = subprocess.run(command, stdout=pipe, stderr=pipe, text=True, check=False)
    return Answer(done.returncode, done.stdout or "", done.stderr or "")


def show(command: Sequence[str], wanted: bool) -> Answer:
    """Prints it as a shell takes it, on one line, and does nothing else."""
    print(shlex.join(command))
    return Answer()


def show_file(path: str, text: str) -> None:
    """Prints a file that would be written, as the shell command that writes it."""
    print(f"cat > {shlex.quote(path)} <<'END'\n{text.rstrip()}\nEND")
