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
_TRIES = 5  # of a question that Google did not answer


def follow(t: Tpu, words: Sequence[str], run: Run, sleep: Callable[[float], None]) -> int:
    """From whatever there is to the end of the run. The exit code is that of `emojax` on the first host.

    Every start is the same `words`: what is lost between two of them is the steps since the last checkpoint.

    Raises:
      LaunchError: a request was refused, code is not committed, or Google does not answer.
    """
    crashes, packed, requested = 0, False, False
    while True:
        now = state(t, run, sleep)
        if now is None:
            if not packed:
                pack(t, run)  # once, before it costs: what a preempted run goes on with is what it began with
            _must(run, gcloud.create(t))
            packed, requested = True, True
        elif now == "FAILED" and requested:
            why, then = shlex.join(gcloud.describe(t)[:-1]), shlex.join(gcloud.delete(t))
            raise LaunchError(f"the request was refused; why: {why}; then: {then}")
        elif now in _LOST:
            run(gcloud.delete(t), False)
        elif now != "ACTIVE":
            sleep(t.poll)
        else:
            requested = False
            if ask(t, run) != "running":
                if not packed:
                    pack(t, run)
                packed = True
                ended = start(t, words, run)
            else:
                ended = "running"
            if ended == "running":
                run(gcloud.host(t, "0", "follow"), False)  # until the run ends, or the connection
                ended = ask(t, run)
            if ended in (str(DONE), str(USERS_ERROR)):
                return int(ended)
            sleep(t.poll)  # a machine that goes down still answers for a while
            if ended in ("running", "lost", str(STOPPED)) or state(t, run, sleep) != "ACTIVE":
                continue
            crashes += 1
            print(f"launch: crash {crashes}, exit code {ended}; {t.restarts} restarts are allowed", flush=True)
            if crashes > t.restarts:
                return int(ended) if ended.isdigit() else 1


def state(t: Tpu, run: Run, sleep: Callable[[float], None]) -> str | None:
    """Of the queued resource; None where there is none. Raises LaunchError where Google does not answer."""
    answer = Answer()
    for _ in range(_TRIES):
        answer = run(gcloud.describe(t), True)
        if answer.code == 0:
            return answer.out.strip()
        if "NOT_FOUND" in answer.err:
            return None
        sleep(t.poll)
    raise LaunchError(f"no answer about {t.name}: {answer.err.strip()}; a run goes on: the same command attaches to it")


def ask(t: Tpu, run: Run) -> str:
    """The first host: `running`, `none`, or the exit code of `emojax`; `lost` where it cannot be reached."""
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
