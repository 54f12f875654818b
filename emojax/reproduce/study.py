"""A study: the same run in several ways and by several seeds, each compared with the plain one of its seed.

Every run is a process of its own, for flags, devices and interpreters are chosen when one starts. A run that is there
already, with all of its steps, is not made again.
"""

import dataclasses
import html
import math
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emojax.config import presets
from emojax.errors import RunError
from emojax.reproduce import records, tell
from emojax.reproduce.compare import Comparison, compare
from emojax.reproduce.page import plot, whole
from emojax.reproduce.studies import PLAIN, Given, Variant
from emojax.storage import write_atomically
from emojax.training.record_files import FOLDER

# of Student, 97.5 %, for 1, 2, ... degrees of freedom
_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


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
        plain = _train(given, PLAIN, out / f"seed-{seed}" / "plain", seed, init, say)
        for n, variant in enumerate(wanted, 1):
            there = _train(given, variant, out / f"seed-{seed}" / f"{n}-{_plain(variant.name)}", seed, init, say)
            results.append(Result(variant, seed, compare(records.read(plain), records.read(there))))
    return results


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)[-40:].strip("-")


def _train(given: Given, variant: Variant, out: Path, seed: int, init: str | None, say: Callable[[str], None]) -> Path:
    """Its record."""
    record = out / FOLDER
    if (out / "run.json").exists() and record.exists() and given.steps in records.read(record).rows:
        return record
    own = [f"seed={seed}", f"steps={given.steps}", f"sft_steps={given.steps}", *variant.settings]
    write_atomically(_config(out), presets.dumps(presets.override(given.cfg, own)))
    stops = [variant.stop, given.steps] if variant.stop else [given.steps]
    for n, stop in enumerate(stops):
        say(f"seed {seed}, {variant.name}: {given.steps} steps of {given.stage}")
        words = [given.stage, "--config", str(_config(out)), "--out", str(out), "--record", "--until", str(stop)]
        words += ["--init", init] if init else []
        words += ["--resume"] if n else ["--overwrite"]
        _start(words, variant, out)
    return record


def _config(out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    return out.with_suffix(".json")


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


def lines(given: Given, results: Sequence[Result], difference: float | None = None) -> list[str]:
    """The table, and, last, what is noise.

    Args:
      difference: of the metric at the end, between two runs, of which the last line says whether it is larger than
        noise.
    """
    metric = "reward" if given.stage == "grpo" else "loss"
    head = ["", "parts first at", "distance / moved", f"change of the {metric}", "first other token"]
    rows = [head]
    for name in dict.fromkeys(result.variant.name for result in results):
        rows.append(_row([result for result in results if result.variant.name == name], metric))
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    told = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*told, "", _noise(results, metric, difference)]


def _row(results: Sequence[Result], metric: str) -> list[str]:
    founds = [result.found for result in results]
    parted = [found.first[0] for found in founds if found.first]
    first = min(parted, key=lambda one: one.step, default=None)
    where = "never: the same bits" if first is None else f"step {first.step}, {first.leaf}"
    ratios = [found.gaps[-1].ratio for found in founds]
    ratio = f"{statistics.mean(ratios):.1e}" + (f" [{min(ratios):.1e}, {max(ratios):.1e}]" if ratios[1:] else "")
    tokens = [gap.step for found in founds for gap in found.gaps if gap.tokens and gap.tokens.other][:1]
    token = "" if founds[0].gaps[-1].tokens is None else f"step {tokens[0]}" if tokens else "none"
    changes = [ends[1] - ends[0] for found in founds if (ends := _ends(found, metric)) is not None]
    return [results[0].variant.name, where, ratio, interval(changes), token]


def interval(values: Sequence[float]) -> str:
    """Mean and, of several, 95 % of Student's distribution."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:+.2g}"
    spread = _t(len(values)) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):+.2g} ± {spread:.1g}"


def _t(n: int) -> float:
    return _T[n - 2] if n - 2 < len(_T) else 1.96


def _ends(found: Comparison, metric: str) -> tuple[float, float] | None:
    return found.gaps[-1].metrics.get(metric)


def _noise(results: Sequence[Result], metric: str, difference: float | None) -> str:
    """From the plain runs of all seeds."""
    plain = {r.seed: ends[0] for r in results if (ends := _ends(r.found, metric)) is not None}
    if len(plain) < 2:
        return f"noise is not known: it is the spread of the {metric} over seeds, and there is one; ask for --seeds 3"
    deviation = statistics.stdev(plain.values())
    noise = _t(len(plain)) * deviation * math.sqrt(2)  # of the difference of two runs
    told = f"between seeds the {metric} at the end has a deviation of {deviation:.2g} ({len(plain)} seeds)"
    if difference is None:
        return f"{told}: two runs that differ by less than {noise:.2g} differ by no more than noise"
    verdict = "larger" if abs(difference) > noise else "no larger"
    return f"{told}: a difference of {difference:g} between two runs is {verdict} than noise ({noise:.2g})"


def page(title: str, given: Given, results: Sequence[Result], difference: float | None) -> str:
    """The table as HTML, and of every seed how far the weights are apart over the steps."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    body.append(f"<pre>{html.escape(chr(10).join(lines(given, results, difference)))}</pre>")
    for seed in dict.fromkeys(result.seed for result in results):
        own = [result for result in results if result.seed == seed]
        steps = [gap.step for gap in own[0].found.gaps]
        curves = {r.variant.name: [gap.ratio for gap in r.found.gaps] for r in own if r.found.steps == steps}
        body.append(plot(f"seed {seed}: distance of the weights / distance moved", steps, curves))
    return whole(title, body)


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [
        {"variant": dataclasses.asdict(result.variant), "seed": result.seed, **tell.as_json(result.found)}
        for result in results
    ]
