"""A study: the same run in several ways and by several seeds, each compared with the plain one of its seed.

Every run is a process of its own, for flags, devices and interpreters are chosen when one starts. A run that is there
already, with all of its steps, is not made again.
"""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emojax.config import presets
from emojax.errors import RunError
from emojax.reproduce.compare import Comparison, compare
from emojax.reproduce.studies import PLAIN, Given, Variant
from emojax.storage import write_atomically
from emojax.training import records
from emojax.training.record_files import ABOUT, FOLDER


@dataclass(frozen=True)
class Result:
    """A variant by the side of the plain run of the same seed."""

    variant: Variant
    seed: int
    found: Comparison


def run(
    given: Given,
    wanted: Sequence[Variant],
    out: Path,
    seeds: Sequence[int],
    init: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Result]:
    """Trains all of them in `out` and compares. Raises RunError where a run fails: its last lines."""
    results = []
    for seed in seeds:
        plain = records.read(_train(given, PLAIN, out / f"seed-{seed}" / "plain", seed, init, say))
        for n, variant in enumerate(wanted, 1):
            there = _train(given, variant, out / f"seed-{seed}" / f"{n}-{_plain(variant.name)}", seed, init, say)
            results.append(Result(variant, seed, compare(plain, records.read(there))))
    return results


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)[-40:].strip("-")


def _train(given: Given, variant: Variant, out: Path, seed: int, init: str | None, say: Callable[[str], None]) -> Path:
    """Its record, made or there already: of the same configuration, made in the same way, and whole."""
    record, config, how = out / FOLDER, out.with_suffix(".json"), out.with_suffix(".how.json")
    own = [f"seed={seed}", f"steps={given.steps}", f"sft_steps={given.steps}", *variant.settings]
    own += [f"grpo.samples={out.parent / 'plain'}"] if variant.replay else []
    texts = {
        config: presets.dumps(presets.override(given.cfg, own)),
        how: json.dumps({**dataclasses.asdict(variant), "stage": given.stage, "init": init}),
    }
    as_wanted = all(path.exists() and path.read_text() == text for path, text in texts.items())
    if as_wanted and (record / ABOUT).exists() and given.steps in records.read(record).rows:
        return record
    out.parent.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        write_atomically(path, text)
    stops = [variant.stop, given.steps] if variant.stop else [given.steps]
    for n, stop in enumerate(stops):
        say(f"seed {seed}, {variant.name}: {given.steps} steps of {given.stage}")
        words = [given.stage, "--config", str(config), "--out", str(out), "--record", "--until", str(stop)]
        words += ["--init", init] if init else []
        words += ["--resume"] if n else ["--overwrite"]
        _start(words, variant, out)
    return record


def _start(words: Sequence[str], variant: Variant, out: Path) -> None:
    env = dict(os.environ)
    flags = [env.get("XLA_FLAGS", ""), variant.flags]
    if variant.devices:
        flags.append(f"--xla_force_host_platform_device_count={variant.devices}")
        env |= {"JAX_PLATFORMS": "cpu", "PJRT_NPROC": "64"}
    env["XLA_FLAGS"] = " ".join(filter(None, flags))
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [env.get("PYTHONPATH")])])
    command = [variant.python or sys.executable, "-m", "emojax.cli", *words]
    port = _free_port() if variant.processes > 1 else 0
    log = out.with_suffix(".log")
    with log.open("a") as file:
        started = []
        for process in range(variant.processes):
            of_several = ["--processes", str(variant.processes), "--coordinator", f"localhost:{port}"]
            of_several += ["--process", str(process)]
            more = of_several if port else []
            started.append(subprocess.Popen([*command, *more], env=env, stdout=file, stderr=subprocess.STDOUT))
        codes = [each.wait() for each in started]
    if any(codes):
        last = " ".join(log.read_text(errors="replace").splitlines()[-1:])
        raise RunError(f"the run `{variant.name}` of the study ended with {max(codes)}; see {log}: {last}")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]
