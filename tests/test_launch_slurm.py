"""The sbatch file, run by bash with programs in SLURM's place: what goes back to the queue and what does not."""

import re
import subprocess
from pathlib import Path

import pytest

import slurm
from slurm import Slurm

STAGE = ["train", "--out", "/data/run1"]


@pytest.fixture
def job(tmp_path: Path):
    """Runs the job once: (exit code of srun, what else srun does) -> (exit code, whether it was queued again)."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "job").write_text(slurm.script(Slurm("run1", nodes=2, gpus_per_node=4, restarts=2), STAGE))

    def run(code: int, also: str = "") -> tuple[int, bool]:
        programs = {"srun": f"{also}\nexit {code}", "scontrol": 'echo "$*" >requeued'}
        for name, text in programs.items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
            (tmp_path / name).chmod(0o755)
        (tmp_path / "requeued").unlink(missing_ok=True)
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7"}
        ended = subprocess.run(["bash", "job"], cwd=tmp_path, env=env, capture_output=True, check=False).returncode
        asked = (tmp_path / "requeued").exists()
        assert not asked or (tmp_path / "requeued").read_text() == "requeue 7\n"
        return ended, asked

    return run


def test_what_is_done_or_a_users_error_is_not_queued_again(job) -> None:
    assert job(0) == (0, False)
    assert job(2) == (2, False)


def test_a_stop_with_a_checkpoint_is_queued_again_however_often(job) -> None:
    assert [job(75) for _ in range(5)] == [(0, True)] * 5


def test_crashes_are_queued_again_so_often_and_no_more(job) -> None:
    assert [job(code)[1] for code in (1, 75, 139, 75, 134)] == [True, True, True, True, False]
    assert job(1) == (1, False)


def test_a_job_that_slurm_ends_is_left_to_slurm(job) -> None:
    """scancel must not bring the job back; a preempted one SLURM queues itself (--requeue)."""
    assert job(75, "kill -TERM $PPID") == (75, False)
    assert job(143, "kill -TERM $PPID") == (143, False)


def test_one_process_a_gpu_and_the_count_is_asserted() -> None:
    s = Slurm("run1", nodes=3, gpus_per_node=4, cpus_per_gpu=6, sbatch=("partition=gpu",))
    text = slurm.script(s, STAGE)
    head, body = re.fullmatch(r"((?:#[^\n]*\n)+)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    options = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in head.splitlines()[2:])
    assert "#SBATCH" not in body, "SLURM stops reading at the first command"
    assert (options["nodes"], options["ntasks-per-node"], options["gpus-per-node"]) == ("3", "4", "4")
    assert options["partition"] == "gpu"
    assert "gpus-per-task" not in options, "each process would see one GPU, and JAX would take the one of its rank"
    assert re.search(r"srun .*--cpus-per-task=6 ", body), "srun does not take it from sbatch (SLURM 22.05 and later)"
    assert "--processes 12\n" in body
    assert options["signal"] == f"TERM@{s.grace}", "to the processes; with B: to the shell only"
