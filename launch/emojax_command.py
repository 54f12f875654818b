"""What every launcher starts on every host: a stage of `emojax`, the same words on all of them, safe to start again."""

import itertools
import re
import sys
from collections.abc import Callable
from typing import TypeVar

STAGES = ("train", "sft", "grpo", "dpo")
DONE, USERS_ERROR, STOPPED = 0, 2, 75  # exit codes, as docs/pods.md has them; after any other the run crashed
RESTARTS = 10  # after crashes; the next crash ends the run
_OURS = ("--processes", "--process", "--coordinator")  # what a launcher knows and a user does not

T = TypeVar("T")


class LaunchError(ValueError):
    """A launch that cannot be: the message says what, got, wanted, and what to do."""


def read(argv: list[str]) -> tuple[list[str], list[str]]:
    """The launcher's own arguments, and the stage with its flags: what stands behind the first `--`.

    Raises:
      LaunchError: no stage there, one that does not train, or flags with which it could not be started again.
    """
    if "--" not in argv:
        if "-h" in argv or "--help" in argv:
            return argv, []
        raise LaunchError("no command to start; put it behind `--`, as in `... -- train --config base --out OUT`")
    at = argv.index("--")
    stage = argv[at + 1 :]
    if stage[:1] == ["emojax"]:
        stage = stage[1:]
    got = stage[0] if stage else "nothing"
    if got not in STAGES:
        raise LaunchError(f"behind `--` got {got!r}, wanted one of {', '.join(STAGES)}: what trains")
    flags = {word.split("=")[0] for word in stage}
    if taken := sorted(flags.intersection(_OURS)):
        raise LaunchError(f"{', '.join(taken)} behind `--`: the launcher counts the processes itself; leave it out")
    if "--overwrite" in flags:
        raise LaunchError("--overwrite behind `--`: a restarted run would erase itself; name another --out")
    return argv[:at], stage


def out_of(stage: list[str]) -> str:
    """Where the run's directory is.

    Raises:
      LaunchError: it is not said, or it is a path that another host or the next start would not find.
    """
    pairs = [*itertools.pairwise(stage), *(tuple(word.split("=", 1)) for word in stage if "=" in word)]
    named = [value for flag, value in pairs if flag == "--out"]
    wanted = "wanted gs://BUCKET/... or an absolute path on a disk that all hosts share"
    if not named:
        raise LaunchError(f"no --out behind `--`; {wanted}: it must outlive the machines")
    if not re.match(r"gs://.|/.", named[-1]):
        raise LaunchError(f"--out {named[-1]!r} is a path of one machine; {wanted}")
    return named[-1]


def started(stage: list[str], processes: int, *more: str) -> list[str]:
    """The words for every host. The same at the first start and after a crash: `--resume` begins what is not begun."""
    resume = [] if "--resume" in stage else ["--resume"]
    return ["emojax", *stage, *resume, "--processes", str(processes), *more]


def label(name: str, what: str = "--name") -> str:
    """Names become host names: a DNS label (RFC 1123), with room for what is put behind them.

    Raises:
      LaunchError: it is none.
    """
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name):
        raise LaunchError(f"{what} {name!r}: wanted 1 to 40 of a-z, 0-9 and -, the first a letter, the last no -")
    return name


def at_least(least: int, **counts: int) -> None:
    """Raises LaunchError for a smaller count; it names the option."""
    for name, count in counts.items():
        if count < least:
            raise LaunchError(f"--{name.replace('_', '-')} {count}: wanted {least} or more")


def main(options: type[T], launch: Callable[[T, list[str]], int], doc: str | None) -> None:
    """The command line of a launcher: `launcher options -- stage flags`. Errors are one line and exit code 2."""
    import tyro

    try:
        own, stage = read(sys.argv[1:])
        parsed = tyro.cli(options, args=own, description=doc, config=(tyro.conf.FlagCreatePairsOff,))
        sys.exit(launch(parsed, stage))
    except LaunchError as e:
        print(f"launch: {e}", file=sys.stderr)
        sys.exit(USERS_ERROR)
