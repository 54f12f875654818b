"""launch/tpu_host.sh, run by bash: one run a host, which outlives the connection, may save, and tells how it ended."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "launch" / "tpu_host.sh"
# emojax: notes that it began, with which words; told to stop it saves and exits 75; `end` with a code in it lets it end
EMOJAX = """#!/bin/bash
trap 'sleep 0.2; echo saved >>notes; exit 75' TERM
echo "began $*" >>notes
while [ ! -s end ]; do sleep 0.05; done
exit "$(cat end)"
"""
UV = f"""#!/bin/bash
mkdir -p .venv/bin
cat >.venv/bin/emojax <<'END'
{EMOJAX}END
chmod +x .venv/bin/emojax
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., str]]:
    for path, text in {".local/bin/uv": UV, "run1/launch/tpu_host.sh": SCRIPT.read_text()}.items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)

    def call(*words: str) -> str:
        env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        command = ["bash", "run1/launch/tpu_host.sh", *words]
        done = subprocess.run(command, cwd=tmp_path, env=env, check=True, timeout=30, stdout=subprocess.PIPE, text=True)
        return done.stdout

    yield call
    (tmp_path / "run1" / "end").write_text("0")
    shutil.rmtree(tmp_path / "run1" / ".venv", ignore_errors=True)


def notes(tmp_path: Path) -> list[str]:
    path = tmp_path / "run1" / "notes"
    for _ in range(200):
        if path.exists() and path.stat().st_size:
            break
        time.sleep(0.05)
    return path.read_text().splitlines()


def test_a_run_is_started_once_and_tells_how_it_ended(host: Callable[..., str], tmp_path: Path) -> None:
    assert host("ask") == "none\n"
    host("prepare")
    host("start", "emojax", "train", "--set", "a=b c")
    host("start", "emojax", "train", "--set", "a=b c")  # ssh that was tried again
    assert host("ask") == "running\n"
    assert notes(tmp_path) == ["began train --set a=b c"]
    (tmp_path / "run1" / "end").write_text("3")
    host("follow")
    assert host("ask") == "3\n"
    assert notes(tmp_path) == ["began train --set a=b c"]


def test_what_is_left_of_a_run_may_save_before_the_next_one(host: Callable[..., str], tmp_path: Path) -> None:
    host("prepare")
    host("start", "emojax", "train")
    assert notes(tmp_path) == ["began train"]
    host("prepare")
    assert notes(tmp_path) == ["began train", "saved"]
    assert host("ask") == "none\n", "how the last run ended says nothing about the next"


def test_a_machine_that_goes_down_tells_the_run(host: Callable[..., str], tmp_path: Path) -> None:
    host("prepare")
    host("start", "emojax", "train")
    assert notes(tmp_path) == ["began train"]
    os.killpg(int((tmp_path / "run1" / "pid").read_text()), signal.SIGTERM)
    host("follow")
    assert host("ask") == "75\n"
