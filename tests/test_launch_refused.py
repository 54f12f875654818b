"""What cannot be launched is refused before anything is asked for: what, got, wanted, what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

import emojax_command
import gke
import gke_jobset
import shell
import slurm
import tpu
import tpu_slices
from emojax_command import LaunchError
from gke_jobset import Gke
from slurm import Slurm
from tpu_commands import Tpu

LAUNCH = Path(__file__).parents[1] / "launch"
TRAIN = ["train", "--out", "gs://bucket/run1"]
SHARED = ["train", "--out", "/data/run1"]


def refuses_to_run(command, wanted):
    raise AssertionError(f"{command} was run")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--name", "a"], "put it behind `--`"),
        (["--"], "got 'nothing', wanted one of train, sft, grpo, dpo"),
        (["--", "caption", "--model", "m"], "got 'caption'"),
        (["--", *TRAIN, "--processes", "4"], "--processes behind `--`"),
        (["--", *TRAIN, "--coordinator=a:1"], "--coordinator behind `--`"),
        (["--", *TRAIN, "--overwrite"], "would erase itself"),
    ],
)
def test_what_stands_behind_the_dashes(argv: list[str], says: str) -> None:
    with pytest.raises(LaunchError) as e:
        emojax_command.read(argv)
    assert says in str(e.value)


def test_the_words_are_those_given_and_resume_is_said_once() -> None:
    for stage in (TRAIN, [*TRAIN, "--resume"]):
        words = emojax_command.started(emojax_command.read(["--", "emojax", *stage])[1], 4)
        assert words == ["emojax", *TRAIN, "--resume", "--processes", "4"]


@pytest.mark.parametrize("stage", [["train"], ["train", "--out", "runs/a"], ["train", "--out=gs://"], ["sft", "--out"]])
def test_a_run_must_outlive_its_machines(stage: list[str]) -> None:
    with pytest.raises(LaunchError, match=r"wanted gs://BUCKET/\.\.\. or an absolute path"):
        emojax_command.out_of(stage)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("v9:4x4", "got 'v9', wanted one of v4, v5e, v5p, v6e, tpu7x"),
        ("v5litepod-16", "as in v5e:4x4"),
        ("v5e:4x16", "slices are 1x1, 2x2"),
        ("v5e:4x4x4", "slices are 1x1, 2x2"),
        ("v5e", "got no shape"),
        ("v5p:4x4x6", "multiples of 4"),
        ("v5p:8x4x4", "ascending"),
        ("v5p:0x4x4", "multiples of 4"),
        ("v4:16x16x20", "at most 4096 chips"),
        ("v5p:4x4", "got 4x4"),
    ],
)
def test_shapes_that_are_not_lent(name: str, says: str) -> None:
    with pytest.raises(LaunchError) as e:
        tpu_slices.parse(name)
    assert says in str(e.value)


RUN1 = {"name": "run1", "zone": "z", "tpu": "v5e:4x4"}
IMAGE = {"name": "run1", "image": "i"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Tpu(**{**RUN1, "name": "Run_1"}), "--name 'Run_1': wanted 1 to 40"),
        (Tpu(**{**RUN1, "name": "r" * 41}), "wanted 1 to 40"),
        (Tpu(**{**RUN1, "tpu": "tpu7x:2x2x2"}), "use launch/gke.py"),
        (Tpu(**RUN1, slices=0), "--slices 0: wanted 1 or more"),
        (Tpu(**RUN1, spot=True, reserved=True), "exclude each other"),
        (Gke(**IMAGE), "one of --tpu and --gpu"),
        (Gke(**IMAGE, tpu="v5e:4x4", gpu="nvidia-l4"), "one of --tpu and --gpu"),
        (Gke(**IMAGE, tpu="v5e:2x2", slices=2), "cannot be joined"),
        (Gke(**IMAGE, tpu="v5e:4x4", nodes=4), "is for --gpu"),
        (Gke(**IMAGE, gpu="nvidia-l4", slices=2), "is for --tpu"),
        (Gke(**IMAGE, gpu="nvidia-l4", xpk="c"), "--xpk wants --tpu"),
        (Gke(**IMAGE, gpu="nvidia-l4", mount="disk"), "wanted CLAIM:/path"),
        (Gke(**IMAGE, gpu="nvidia-l4", restarts=-1), "--restarts -1: wanted 0 or more"),
        (Slurm("run1", nodes=0), "--nodes 0"),
        (Slurm("run1", sbatch=("--partition=a",)), "without dashes"),
        (Slurm("run1", sbatch=("exclusive",)), "wanted NAME=VALUE"),
        (Slurm("run1", logs=Path("my logs")), "--logs 'my logs'"),
    ],
)
def test_options_that_cannot_be(options: Tpu | Gke | Slurm, says: str) -> None:
    launch = {Tpu: tpu.launch, Gke: gke.launch, Slurm: slurm.launch}[type(options)]
    with pytest.raises(LaunchError) as e:
        launch(options, TRAIN, refuses_to_run)
    assert says in str(e.value)


@pytest.mark.parametrize(
    ("mount", "kept"), [(None, False), ("disk:/dat", False), ("disk:/data", True), ("disk:/data/", True)]
)
def test_a_path_in_a_container_must_be_on_the_disk_that_is_mounted(mount: str | None, kept: bool) -> None:
    g = Gke(**IMAGE, gpu="nvidia-l4", mount=mount)
    if kept:
        assert gke_jobset.checked(g, SHARED).pods == 1
    else:
        with pytest.raises(LaunchError, match="inside the container"):
            gke_jobset.checked(g, SHARED)


def test_a_program_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LaunchError, match="gcloud is not on the PATH"):
        shell.run(["gcloud"], False)


@pytest.mark.parametrize("script", ["tpu.py", "gke.py", "slurm.py"])
def test_errors_are_one_line_and_exit_code_2(script: str) -> None:
    done = subprocess.run([sys.executable, LAUNCH / script, "--name", "a"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("launch: no command")
    assert done.stderr.count("\n") == 1
