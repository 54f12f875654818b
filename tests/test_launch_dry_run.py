"""Dry runs are the golden files, and are what a shell takes."""

import shlex
import subprocess
from pathlib import Path

import pytest

from support import launch_goldens

LAUNCH = Path(__file__).parents[1] / "launch"
CASES = sorted(launch_goldens.CASES)


@pytest.mark.parametrize("case", CASES)
def test_a_dry_run_prints_its_golden_file(case: str) -> None:
    golden = (launch_goldens.FOLDER / f"{case}.sh").read_text()
    assert launch_goldens.dry_run(case) == golden, "if this change is meant: python tests/support/launch_goldens.py"


def test_there_is_a_golden_file_for_every_case_and_no_other() -> None:
    assert sorted(path.stem for path in launch_goldens.FOLDER.iterdir()) == CASES


@pytest.mark.parametrize("case", CASES)
def test_bash_takes_what_is_printed(case: str) -> None:
    subprocess.run(["bash", "-n", str(launch_goldens.FOLDER / f"{case}.sh")], check=True)


@pytest.mark.parametrize("case", CASES)
def test_the_stage_arrives_word_by_word(case: str, tmp_path: Path) -> None:
    """Through all the quoting: what is printed is run by bash, with programs that note what they are given."""
    stage = shlex.split(launch_goldens.CASES[case].split(" -- ")[1])
    for program in ("gcloud", "kubectl", "xpk", "sbatch", "git", "mkdir", "sleep"):
        (tmp_path / program).write_text('#!/bin/bash\nfor word; do printf "%s\\0" "$word"; done\n')
        (tmp_path / program).chmod(0o755)
    (tmp_path / "emojax").write_text('#!/bin/bash\nprintf "%s\\n" "$@" >"$OUT"\n')
    (tmp_path / "emojax").chmod(0o755)
    (tmp_path / "srun").write_text('#!/bin/bash\nwhile [ "$1" != emojax ]; do shift; done; "$@"; exit 2\n')
    (tmp_path / "srun").chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "OUT": str(tmp_path / "words"), "SLURM_JOB_ID": "7"}
    printed = subprocess.run(
        ["bash", "-c", launch_goldens.dry_run(case)], cwd=tmp_path, env=env, capture_output=True, check=True
    ).stdout
    given = printed.decode().split("\0")
    if case.startswith("slurm"):
        script = (tmp_path / "run1.sbatch").read_text().replace("source /data", "true /data")
        (tmp_path / "run1.sbatch").write_text(script)
        assert subprocess.run(["bash", "run1.sbatch"], cwd=tmp_path, env=env, check=False).returncode == 2
        words = (tmp_path / "words").read_text().splitlines()
    elif case == "gke_xpk":
        words = shlex.split(next(word for word in given if "--command=" in word).removeprefix("--command="))[1:]
    elif case.startswith("gke"):
        import yaml

        pod = yaml.safe_load((tmp_path / "run1.jobset.yaml").read_text())
        words = pod["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]["args"]
        assert case != "gke_gpu" or words[-1] == "$(PROCESS)", "for Kubernetes to expand"
    else:
        command = next(word for word in given if "tpu_host.sh start" in word).removeprefix("--command=")
        words = shlex.split(command)[4:]
    assert words[: len(stage)] == stage
    assert words[len(stage) : len(stage) + 2] == ["--resume", "--processes"]


def test_the_scripts_for_hosts_and_containers_are_sound() -> None:
    subprocess.run(["bash", "-n", str(LAUNCH / "tpu_host.sh")], check=True)
    for name in ("Dockerfile.tpu", "Dockerfile.cuda"):
        lines = [line.split() for line in (LAUNCH / name).read_text().splitlines() if line and line[0] != "#"]
        copied = [source for words in lines if words[0] == "COPY" for source in words[1:-1]]
        assert all((LAUNCH.parent / source).exists() for source in copied)
        ignored = (LAUNCH.parent / ".dockerignore").read_text().splitlines()
        assert {f"!{source}" for source in copied} <= set(ignored), "the build would not see it"
        (user,) = [words[1] for words in lines if words[0] == "USER"]
        assert user != "root"
        assert lines[-1] == ["ENTRYPOINT", '["emojax"]'], "a shell would keep SIGTERM"
