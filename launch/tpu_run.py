"""The life of a run on queued resources: asked for, started, followed, preempted, asked for again.

No step needs to know the one before it: each goes by what Google and the first host say. So the launcher itself may be
stopped and started."""

import shlex
from collections.abc import Callable, Sequence

import tpu_commands as gcloud
from emojax_command import DONE, STOPPED, USERS_ERROR, LaunchError
from shell import Answer, Run
from tpu_commands import Tpu

_LOST = ("SUSPENDED", "FAILED")  # states of a queued resource that is never given anything again
_TRIES = 5  # of a question that is not answered
_GOES_ON = "a run goes on, and costs: the same command attaches to it"


def follow(t: Tpu, words: Sequence[str], run: Run, sleep: Callable[[float], None]) -> int:
    """From whatever there is to the end of the run. The exit code is that of `emojax` on the first host.

    Every start is the same `words`: what is lost between two of them is the steps since the last checkpoint.

    Raises:
      LaunchError: a request was refused, code is not committed, or Google or the first host does not answer.
    """
    crashes, silent, packed, requested, before = 0, 0, False, False, ""
    while True:
        now = state(t, run, sleep)
        if now != before:
            print(f"# {t.name}: {now or 'not there'}", flush=True)
        before = now
        if now is None:
            if not packed:
                pack(t, run)  # once, before it costs: what a preempted run goes on with is what it began with
            _must(run, gcloud.create(t))
            packed, requested, silent = True, True, 0
        elif now == "FAILED" and requested:
            why, then = shlex.join(gcloud.describe(t)[:-1]), shlex.join(gcloud.delete(t))
            raise LaunchError(f"the request was refused; why: {why}; then: {then}")
        elif now in _LOST:
            run(gcloud.delete(t), False)
        elif now != "ACTIVE":
            sleep(t.poll)
        else:
            requested = False
            run_is = ask(t, run)
            if run_is not in ("running", "lost"):
                if not packed:
                    pack(t, run)
                packed = True
                run_is = start(t, words, run)
            if run_is == "running":
                run(gcloud.host(t, "0", "follow"), False)  # until the run ends, or the connection
                run_is = ask(t, run)
                if run_is in (str(DONE), str(USERS_ERROR)):
                    return int(run_is)
            sleep(t.poll)  # a machine that goes down still answers for a while
            silent = silent + 1 if run_is == "lost" else 0
            if run_is in ("running", str(STOPPED)) or state(t, run, sleep) != "ACTIVE":
                continue
            if run_is != "lost":
                crashes += 1
                print(f"# {t.name}: crash {crashes}, exit code {run_is}; {t.restarts} restarts are allowed", flush=True)
            if crashes > t.restarts:
                return int(run_is) if run_is.isdigit() else 1
            if silent == _TRIES:
                raise LaunchError(f"{t.name} is ACTIVE and its first host cannot be reached; {_GOES_ON}")


def state(t: Tpu, run: Run, sleep: Callable[[float], None]) -> str | None:
    """State of the queued resource; None where there is none. Raises LaunchError where Google does not answer."""
    answer = Answer()
    for _ in range(_TRIES):
        answer = run(gcloud.describe(t), True)
        if answer.code == 0:
            return answer.out.strip()
        if "NOT_FOUND" in answer.err:
            return None
        print(f"# {t.name}: {answer.err.strip()}", flush=True)
        sleep(t.poll)
    raise LaunchError(f"no answer about {t.name}: {answer.err.strip()}; {_GOES_ON}")


def ask(t: Tpu, run: Run) -> str:
    """The first host: `running`, `none`, the exit code of `emojax`, or `lost`: it cannot be reached."""
    answer = run(gcloud.ask(t), True)
    return answer.out.split()[-1] if answer.code == 0 and answer.out.split() else "lost"


def pack(t: Tpu, run: Run) -> None:
    """The committed code in one file. Raises LaunchError where that is not all of it."""
    if run(gcloud.uncommitted(), True).out.strip():
        raise LaunchError("changes that are not committed would not be taken along; commit them")
    _must(run, gcloud.archive(t))


def start(t: Tpu, words: Sequence[str], run: Run) -> str:
    """Code and packages on all hosts, then `emojax`: `running`, or what stood in the way."""
    for step in (gcloud.copy(t), gcloud.prepare(t), gcloud.host(t, "all", "start", *words)):
        if answer := run(step, False).code:
            return f"{answer} of {shlex.join(step)}"
    return "running"


def _must(run: Run, command: Sequence[str]) -> None:
    if answer := run(command, False).code:
        raise LaunchError(f"exit code {answer} of {shlex.join(command)}; its message is above")


def end(t: Tpu, run: Run) -> None:
    """The slices go back. Raises LaunchError where they do not: they would go on costing."""
    _must(run, gcloud.delete(t))
