"""Cloud TPU: queued resources, from the request to the deletion.

    python launch/tpu.py --name run1 --zone us-west4-a --tpu v5e:4x4 --spot -- train --config base --out gs://B/run1

Asks for the slices, waits for them, takes the committed code to every host, installs it, starts `emojax` on all of them
and shows the log of the first. Preempted slices are asked for again, and the run goes on from its last checkpoint. The
slices are deleted when the run has ended. Ctrl-C leaves the run alone: the same command attaches to it again.
"""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence

import emojax_command
import shell
import tpu_commands
import tpu_run
from shell import Answer, Run
from tpu_commands import Tpu


def launch(t: Tpu, stage: list[str], run: Run = shell.run, sleep: Callable[[float], None] = time.sleep) -> int:
    """The whole life of a run; its exit code. The slices are deleted at its end, unless `keep`."""
    words = tpu_commands.checked(t, stage)
    delete = shlex.join(tpu_commands.delete(t))
    try:
        ended = tpu_run.follow(t, words, run, sleep)
    except KeyboardInterrupt:
        print(f"\nlaunch: the run goes on, and costs. The same command attaches to it. This ends it:\n  {delete}")
        return 130
    if t.keep:
        print(f"launch: the slices are kept, and cost. This ends that:\n  {delete}")
    else:
        tpu_run.end(t, run)
    return ended


def ideal(t: Tpu) -> Run:
    """Shows the commands, and answers them as in a launch where nothing goes wrong."""
    states: Iterator[Answer] = iter([Answer(1, err="NOT_FOUND"), Answer(out="WAITING_FOR_RESOURCES")])
    asked: Iterator[Answer] = iter([Answer(out="none")])

    def run(command: Sequence[str], wanted: bool) -> Answer:
        shell.show(command, wanted)
        if list(command) == tpu_commands.describe(t):
            return next(states, Answer(out="ACTIVE"))
        return next(asked, Answer(out="0")) if list(command) == tpu_commands.ask(t) else Answer()

    return run


def main(t: Tpu, stage: list[str]) -> int:
    if not t.dry_run:
        return launch(t, stage)
    launch(t, stage, ideal(t), lambda seconds: print(f"sleep {seconds:g}  # and ask again, until it is ACTIVE"))
    print("# preempted meanwhile (SUSPENDED or FAILED): delete, and again from create on, with the same commands")
    return 0


if __name__ == "__main__":
    emojax_command.main(Tpu, main, __doc__)
