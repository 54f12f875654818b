"""`emojax bench all`: ours and the peers' scripts in turn, the same work on the same machine, and the ratios.

A machine's speed drifts, so a ratio is the median of those of the rounds: in each, everything runs once.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emojax.config import ConfigError

Bench = Literal["grpo", "sft", "caption"]
SCRIPTS: dict[Bench, tuple[str, ...]] = {
    "grpo": ("tunix_grpo.py", "trl_grpo.py"),
    "sft": ("torch_sft.py",),
    "caption": ("hf_generate.py",),
}
SETTINGS = {"a": {"prompts": 8, "group": 8, "prompt-len": 48}, "b": {"prompts": 4, "group": 8, "prompt-len": 256}}


@dataclass(frozen=True)
class Work:
    peers: Path  # directory of the scripts
    benches: tuple[Bench, ...] = ("grpo", "sft", "caption")
    settings: tuple[Literal["a", "b"], ...] = ("a", "b")  # prefixes of 48 and of 256 tokens
    rounds: int = 3
    steps: int = 4  # counted, of each run
    python: str = sys.executable  # that has torch and transformers
    trl_python: str = sys.executable  # that has trl and sentence-transformers
    tunix_python: str = sys.executable  # that has google-tunix


def main(work: Work) -> None:
    """Prints a JSON line for each run, then one for each peer with the ratios of ours to it."""
    for script in (name for bench in work.benches for name in SCRIPTS[bench]):
        if not (work.peers / script).is_file():
            raise ConfigError(f"--peers {work.peers} has no {script}: give the directory of the peers' scripts")
    for line in measure(work):
        print(json.dumps(line), flush=True)


def measure(work: Work) -> Iterator[dict[str, Any]]:
    """The lines of all runs, then those of ratios; a peer that fails once does not run again."""
    told = []
    for bench in work.benches:
        for setting in work.settings:
            flags = _flags(bench, setting, work.steps)
            ours, theirs = [], {script: [] for script in SCRIPTS[bench]}
            for _ in range(work.rounds):
                yield from (line := [_run([sys.executable, "-m", "emojax.cli", "bench", bench, *flags])])
                ours += line
                for script, lines in theirs.items():
                    if not any("error" in line for line in lines):
                        yield from (line := [_run([_python(work, script), str(work.peers / script), *flags])])
                        lines += line
            told += [_compared(bench, setting, script, ours, lines) for script, lines in theirs.items()]
    yield from told


def _flags(bench: Bench, setting: str, steps: int) -> list[str]:
    sizes = SETTINGS[setting] | {"completion-len": 48, "steps": steps}
    if bench != "grpo":
        sizes = {name: size for name, size in sizes.items() if name not in ("prompts", "group")}
    return [part for name, size in sizes.items() for part in (f"--{name}", str(size))]


def _python(work: Work, script: str) -> str:
    return {"trl_grpo.py": work.trl_python, "tunix_grpo.py": work.tunix_python}.get(script, work.python)


def _run(command: Sequence[str]) -> dict[str, Any]:
    """The JSON line that a benchmark prints last, or what went wrong."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as e:
        return {"command": list(command), "error": str(e)}
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"peer"')]
    if done.returncode == 0 and lines:
        return json.loads(lines[-1])
    said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
    return {"command": list(command), "error": said}


def _compared(
    bench: str, setting: str, script: str, ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Ratios of ours to theirs, medians over the rounds."""
    told: dict[str, Any] = {"bench": bench, "setting": setting, "script": script}
    failed = [line["error"] for line in (*ours, *theirs) if "error" in line]
    if failed:
        return told | {"error": failed[0]}

    def ratio(name: str) -> float:
        pairs = zip(ours, theirs, strict=True)
        return round(statistics.median(our[name] / their[name] for our, their in pairs), 3)

    def median(lines: Sequence[dict[str, Any]]) -> float:
        return round(statistics.median(line["median_step_s"] for line in lines), 4)

    return told | {
        "ours_s": median(ours),
        "theirs_s": median(theirs),
        "seconds_ratio": ratio("median_step_s"),
        "memory_ratio": ratio("peak_rss_mb"),
    }
