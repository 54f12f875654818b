"""SLURM: GPU nodes, one process a GPU.

    python launch/slurm.py --name run1 --nodes 2 --gpus-per-node 8 -- train --config base --out /scratch/run1

Writes NAME.sbatch and submits it. A job that is preempted, or reaches its time limit, saves a checkpoint, goes back to
the queue and goes on from it; one that crashes too, up to `--restarts` times; a user's error ends it.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import emojax_command
import shell
from emojax_command import LaunchError
from shell import Run


@dataclass(frozen=True)
class Slurm:
    """Options of the launcher."""

    name: str  # of the job
    nodes: int = 1
    gpus_per_node: int = 8
    cpus_per_gpu: int = 8
    time: str = "24:00:00"  # limit of one go; the job goes on after it
    grace: int = 120  # seconds that a checkpoint is given before the limit
    sbatch: tuple[str, ...] = ()  # more options of sbatch, as in partition=gpu account=lab
    setup: tuple[str, ...] = ()  # shell lines before the start, as in 'source venv/bin/activate'
    logs: Path = Path("logs")  # a folder that all nodes share: a file a node, one of the job, and its crashes
    restarts: int = emojax_command.RESTARTS  # after crashes; preemptions and time limits are not counted
    dry_run: bool = False  # print the file and the commands, and do nothing


def checked(s: Slurm, stage: list[str]) -> list[str]:
    """The words that every GPU's process starts. Raises LaunchError before anything is written."""
    emojax_command.label(s.name)
    emojax_command.at_least(1, nodes=s.nodes, gpus_per_node=s.gpus_per_node, cpus_per_gpu=s.cpus_per_gpu, grace=s.grace)
    emojax_command.at_least(0, restarts=s.restarts)
    emojax_command.out_of(stage)
    if not re.fullmatch(r"[\w./-]+", str(s.logs)):
        raise LaunchError(f"--logs {str(s.logs)!r}: SLURM wants a path of letters, digits and ._-/ only")
    for option in s.sbatch:
        name, equals, value = option.partition("=")
        if not (name.strip("-") == name and name and equals and value and "\n" not in option):
            raise LaunchError(f"--sbatch {option!r}: wanted NAME=VALUE without dashes, as in partition=gpu")
    return emojax_command.started(stage, s.nodes * s.gpus_per_node)


def script(s: Slurm, stage: list[str]) -> str:
    """The sbatch file."""
    words = shlex.join(checked(s, stage))
    more = "".join(f"#SBATCH --{option}\n" for option in s.sbatch)
    setup = "".join(f"{line}\n" for line in s.setup)
    return f"""#!/bin/bash
# Written by launch/slurm.py. Exit codes of emojax: 0 done, 2 a user's error, 75 stopped with a complete checkpoint.
#SBATCH --job-name={s.name}
#SBATCH --nodes={s.nodes}
#SBATCH --ntasks-per-node={s.gpus_per_node}
#SBATCH --gpus-per-node={s.gpus_per_node}
#SBATCH --cpus-per-task={s.cpus_per_gpu}
#SBATCH --time={s.time}
#SBATCH --requeue
#SBATCH --signal=TERM@{s.grace}
#SBATCH --open-mode=append
#SBATCH --output={s.logs}/%x-%j.log
{more}
# --gpus-per-node and no --gpus-per-task: JAX reads SLURM's variables, and wants each process to see all GPUs of its
# node, of which it takes the one of its rank there. --signal reaches the processes, not this shell.
set -uo pipefail
{setup}
# SLURM signals this shell only where it ends the job itself (scancel, preemption, the limit); then it also says what
# comes next. A handler, not `trap ''`: what is ignored would be ignored by srun too.
ended=
trap 'ended=1' TERM

# Not --kill-on-bad-exit: who is a moment ahead would end those that still save. JAX ends the others of a lost process.
srun --kill-on-bad-exit=0 --cpus-per-task={s.cpus_per_gpu} --open-mode=append \\
    --output={s.logs}/%x-%j-%N.log \\
    {words}
code=$?

crashes={s.logs}/{s.name}-$SLURM_JOB_ID.crashes
case $code in
    0 | 2) exit $code ;;
    75) ;;
    *) echo "$(date -Is) exit code $code" >>"$crashes" ;;
esac
if [ -n "$ended" ]; then exit $code; fi
if [ -s "$crashes" ] && [ "$(wc -l <"$crashes")" -gt {s.restarts} ]; then
    echo "given up: {s.restarts} restarts are allowed, the crashes are in $crashes" >&2
    exit $code
fi
scontrol requeue "$SLURM_JOB_ID"
"""


def launch(s: Slurm, stage: list[str], run: Run = shell.run) -> int:
    text, path = script(s, stage), f"{s.name}.sbatch"
    make = ["mkdir", "-p", str(s.logs)]  # SLURM does not, and says nothing
    submit = ["sbatch", path]
    if s.dry_run:
        shell.show_file(path, text)
        shell.show(make, False)
        shell.show(submit, False)
        return 0
    Path(path).write_text(text)
    return run(make, False).code or run(submit, False).code


if __name__ == "__main__":
    emojax_command.main(Slurm, launch, __doc__)
