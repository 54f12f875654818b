"""Whole commands on a disk that is full at random moments: one line, and the same end after room is made."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.small_disk import mounted
from support.xla_flags import CHEAP
from test_cli import files

ROOT = Path(__file__).parents[1]
TRIALS = 6  # of each of five commands
MARGIN = 4096
SETTINGS = ("--config", "tiny", "--set", "steps=3", "--set", "checkpoint_every=1", "--set", "data.corpus.clips=60")


def emojax(*args: str | Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": CHEAP}
    command = [sys.executable, "-m", "emojax.cli", *map(str, args)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of both stages, and a manifest."""
    at = tmp_path_factory.mktemp("given")
    for command in (("synth", "--clips", "24", "--speakers", "6"), ("train", *SETTINGS)):
        done = emojax(*command, "--out", at / command[0])
        assert done.returncode == 0, done.stderr[-2000:]
    return at / "train", at / "synth" / "manifest.jsonl"


def told(out: Path) -> Any:
    """What is in an output, without times and the order in which captions were made."""
    found: dict[str, Any] = {}
    for name, data in files(out).items() if out.is_dir() else [(out.name, out.read_bytes())]:
        if name.endswith("metrics.jsonl"):
            rows = [json.loads(line) for line in data.splitlines()]
            found[name] = [{key: value for key, value in row.items() if key != "step_seconds"} for row in rows]
        elif name.endswith(".jsonl") and "captions" in name:
            found[name] = sorted(data.splitlines())
        elif "/" not in name or name.split("/")[0] in ("decoder", "media"):
            found[name] = data
    for timed in ("sessions.jsonl", "report.json", "report.md"):
        found.pop(timed, None)
    return found


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("command", ["train", "caption", "encode", "export", "synth"])
def test_a_disk_that_is_full_at_a_random_moment(command: str, given: tuple[Path, Path], tmp_path: Path) -> None:
    run, manifest = given
    asked: list[str | Path] = {
        "train": ["train", *SETTINGS],
        "caption": ["caption", "--model", run, "--manifest", manifest],
        "encode": ["encode", "--model", run, "--manifest", manifest, "--file", "16", "--batch-size", "8"],
        "export": ["export", run],
        "synth": ["synth", "--clips", "24", "--speakers", "6"],
    }[command]
    name, again = (
        ("captions.jsonl" if command == "caption" else "out"),
        ["--resume"] * (command in ("train", "caption")),
    )
    done = emojax(*asked, "--out", tmp_path / name)
    assert done.returncode == 0, done.stderr[-2000:]
    wanted = told(tmp_path / name)
    size = sum(len(data) + MARGIN for data in files(tmp_path).values())
    r = random.Random(command)
    for trial in range(TRIALS):
        with mounted(tmp_path / f"disk{trial}") as disk:
            disk.hold(round(MARGIN + size * 0.8 * r.random()))
            full = emojax(*asked, "--out", disk.path / name)
            lines = [line for line in full.stderr.splitlines() if line.startswith("emojax: ")]
            assert (full.returncode, len(lines)) == (2, 1), full.stderr[-3000:]
            assert "could not be written: No space left on device (" in lines[0]
            assert "MB free there); make room, then " in lines[0]
            assert "Traceback" not in full.stderr
            disk.make_room()
            done = emojax(*asked, *again, "--out", disk.path / name)
            assert done.returncode == 0, done.stderr[-2000:]
            assert told(disk.path / name) == wanted
            assert not [left for left in files(disk.path) if left.endswith((".new", ".lock"))]
