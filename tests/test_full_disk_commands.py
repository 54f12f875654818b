"""Whole commands on a disk that is full at random moments: one line, and the same end after room is made."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load

from emojax.config import Corpus
from emojax.corpus.synthetic import make_corpus
from support.small_disk import mounted
from support.xla_flags import CHEAP
from test_cli import files

ROOT = Path(__file__).parents[1]
TRIALS = 6  # of each of five commands
PAGE = 4096  # bytes that a disk gives out at once
# no sentence model: what it computes takes most of a command's time, and it writes nothing
TINY = ("--config", "tiny", "--set", "steps=2", "--set", "checkpoint_every=1", "--set", "reward.parts=rouge_l")


def emojax(*args: str | Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": CHEAP}
    command = [sys.executable, "-m", "emojax.cli", *map(str, args)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=1800)


def asked(command: str, at: Path) -> list[str | Path]:
    """The command without its output; what it reads is made in the folder `at`."""
    run, manifest = at / "run", at / "corpus" / "manifest.jsonl"
    if command in ("caption", "encode"):
        make_corpus(at / "corpus", Corpus(clips=24, speakers=6, seconds=1.0, frame_size=32, fps=6), processes=1)
    if command in ("caption", "export"):
        done = emojax("sft", *TINY, "--out", run)
        assert done.returncode == 0, done.stderr[-2000:]
    match command:
        case "train":
            return ["train", *TINY]
        case "caption":
            return ["caption", "--model", run, "--manifest", manifest]
        case "encode":
            return ["encode", *TINY[:2], "--manifest", manifest, "--file", "8", "--batch-size", "8"]
        case "export":
            return ["export", run]
        case _:
            return ["synth", "--clips", "24", "--speakers", "6"]


def told(out: Path) -> Any:
    """What is in an output, without times and the order in which captions were made."""
    found: dict[str, Any] = {}
    for name, data in files(out).items() if out.is_dir() else [(out.name, out.read_bytes())]:
        if name.endswith("metrics.jsonl"):
            rows = [json.loads(line) for line in data.splitlines()]
            found[name] = [{key: value for key, value in row.items() if key != "step_seconds"} for row in rows]
        elif name.endswith(".safetensors"):  # whose metadata stand in any order
            tensors, about = load(data), json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
            found[name] = {key: x.tobytes() for key, x in tensors.items()} | about
        elif name.endswith(".jsonl") and "captions" in name:
            found[name] = sorted(data.splitlines())
        elif "/" not in name or name.split("/")[0] in ("decoder", "media"):
            found[name] = data
    for timed in ("sessions.jsonl", "report.json", "report.md", "report.html"):
        found.pop(timed, None)
    return found


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("command", ["train", "caption", "encode", "export", "synth"])
def test_a_disk_that_is_full_at_a_random_moment(command: str, tmp_path: Path) -> None:
    call = asked(command, tmp_path / "given")
    name, again = "captions.jsonl" if command == "caption" else "out", ["--resume"] * (command in ("train", "caption"))
    done = emojax(*call, "--out", tmp_path / "whole" / name)
    assert done.returncode == 0, done.stderr[-2000:]
    wanted = told(tmp_path / "whole" / name)
    pages = sum(-(-len(data) // PAGE) for data in files(tmp_path / "whole").values())
    r = random.Random(command)
    for trial in range(TRIALS):
        with mounted(tmp_path / f"disk{trial}") as disk:
            disk.hold(PAGE * r.randrange(1, pages * 4 // 5))
            full = emojax(*call, "--out", disk.path / name)
            lines = [line for line in full.stderr.splitlines() if line.startswith("emojax: ")]
            assert (full.returncode, len(lines)) == (2, 1), full.stderr[-3000:]
            assert "could not be written: No space left on device (" in lines[0]
            assert "MB free there); make room, then " in lines[0]
            assert "Traceback" not in full.stderr
            disk.make_room()
            done = emojax(*call, *again, "--out", disk.path / name)
            assert done.returncode == 0, done.stderr[-2000:]
            assert told(disk.path / name) == wanted
            assert not [left for left in files(disk.path) if left.endswith((".new", ".lock"))]
