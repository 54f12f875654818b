"""record, compare, study, verify: why runs differ, what moves their numbers, whether a run's are made here, too."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from emojax.commands.train import Set
from emojax.errors import ConfigError, RunError
from emojax.storage import path_of


def compare(
    a: tyro.conf.Positional[Path],
    b: tyro.conf.Positional[Path],
    page: Path | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Compare two runs that were trained with --record: the first step and leaf where they part, and how far.

    Of two files that `emojax record` wrote: the operations where the step parts. Ends with 0 where they are the same,
    with 1 where they differ, with 2 where they cannot be compared.

    Args:
        a: a run's directory, the `record` in it, or a file of one step.
        b: likewise.
        page: file of HTML to write, with plots.
        as_json: print JSON.
    """
    from emojax.report import comparisons
    from emojax.report import page as pages
    from emojax.reproduce import tell
    from emojax.reproduce.compare import compare
    from emojax.training import records

    if path_of(a).is_file() and path_of(b).is_file():
        _compare_steps(path_of(a), path_of(b), page, as_json)
        return
    for path, its in ((a, b), (b, a)):
        if path_of(path).is_file():
            raise RunError(f"{path} is a file of one step, {its} is none; compare two of them, or two runs")
    one, other = (records.find(path_of(path)) for path in (a, b))
    if len(one) == len(other) == 1:
        (here,), (there,) = one.values(), other.values()
        pairs = {"": (here, there)}
    else:
        pairs = {stage: (one[stage], other[stage]) for stage in one if stage in other}
    if not pairs:
        have = f"{a} holds records of {_named(one)}, {b} of {_named(other)}"
        raise RunError(f"{have}: no stage in common; name the run of a stage")
    found = {stage: compare(records.read(here), records.read(there)) for stage, (here, there) in pairs.items()}
    names = str(a), str(b)
    if page is not None:
        pages.write(page, comparisons.comparison(found, names))
    if as_json:
        print(json.dumps({stage or comparison.stage: tell.as_json(comparison) for stage, comparison in found.items()}))
    else:
        parts = ["\n".join(tell.lines(comparison, names)) for comparison in found.values()]
        titles = [f"{stage}: " if stage else "" for stage in found]
        print("\n\n".join(title + part for title, part in zip(titles, parts, strict=True)))
    if not all(comparison.same for comparison in found.values()):
        sys.exit(1)


def _compare_steps(a: Path, b: Path, page: Path | None, as_json: bool) -> None:
    from emojax.report import comparisons
    from emojax.report import page as pages
    from emojax.reproduce import step_files, tell_origins
    from emojax.reproduce.origins import compare_steps

    found, names = compare_steps(step_files.read(a), step_files.read(b)), (str(a), str(b))
    lines = tell_origins.lines(found, names)
    if page is not None:
        pages.write(page, comparisons.text(names, lines))
    print(json.dumps(tell_origins.as_json(found)) if as_json else "\n".join(lines))
    if not found.same:
        sys.exit(1)


def record(
    run: tyro.conf.Positional[Path],
    step: int,
    ops: bool = False,
    out: Path | None = None,
    tensors: bool = False,
    like: Path | None = None,
    set_: Set = (),
    deterministic: bool = False,
) -> None:
    """Take a run's steps again up to one, and record what that one's loops give, or each of its operations.

    It says whether the steps are those of the run's own record. Two such files are laid side by side by `compare`.

    Args:
        run: its directory, of one stage.
        step: which, counted from 1.
        ops: operation by operation, each a program of its own; without it the step as it is, with waypoints.
        out: file to write; RUN/record/step-N.npz, with --ops step-N-ops.npz, with --like step-N-like.npz without it.
        tensors: with --ops: keep all that operations read and made, as `like` of another record wants it.
        like: with --ops: the same step of another run. Each operation is given what it was given there, so that every
            operation that differs is seen, not only the first ones.
        set_: fields that are otherwise here, such as data.manifest or mesh.data.
        deterministic: on GPU, as of `sft`.
    """
    import tempfile

    from emojax.api.progress import bars
    from emojax.parallel import compile_cache, xla
    from emojax.reproduce import replay, step_files
    from emojax.reproduce.record_step import Wanted, record_step
    from emojax.training.record_files import FOLDER

    if step < 1:
        raise ConfigError(f"--step wants 1 or more, got {step}")
    run = path_of(run)
    if len(parts := replay.stages_of(run)) > 1 or parts[0] != run:
        raise RunError(f"{run} has stages; name one: {' or '.join(map(str, parts))}")
    other = None if like is None else step_files.read(path_of(like))
    if (tensors or like) and not ops:
        raise ConfigError("--tensors and --like are of operations: ask for --ops, too")
    file = out or run / FOLDER / f"step-{step}{'-like' if like else '-ops' * ops}.npz"
    xla.set_environment(deterministic)
    compile_cache.use()
    with tempfile.TemporaryDirectory(prefix="emojax-record-") as folder, bars() as track:
        wanted = Wanted(step, file, ops, tensors, other)
        proof = record_step(run, Path(folder) / "run", wanted, set_, track(f"taking {step} steps again"))
    print(f"{file}: {proof}")


Repeated = tyro.conf.UseAppendAction[tuple[str, ...]]


def study(
    name: tyro.conf.Positional[str],
    out: Path,
    config: str = "demo_fast",
    set_: Set = (),
    stage: Literal["sft", "grpo"] = "sft",
    steps: int = 20,
    seeds: int = 1,
    init: str | None = None,
    python: Repeated = (),
    flags: Repeated = (),
    difference: float | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Train a run in several ways that differ in one thing, compare each with the plain run, and say what is noise.

    Args:
        name: rerun, resume, mesh, processes, batch (micro-batches), precision, seed, noise, perturb, gap, flags,
            versions.
        out: directory of the runs and of `study.html`; runs that are there are not made again.
        config: a preset's name or a file.
        stage: which is trained.
        steps: of each run.
        seeds: of how many seeds each run is made.
        init: captioner that the runs begin with, as of `grpo`.
        python: another interpreter with emojax's dependencies, for `versions`; may be repeated.
        flags: of XLA, for `flags`; may be repeated.
        difference: of the loss (of Emo-GRPO the reward) at the end, to say whether it is larger than noise.
        as_json: print JSON.
    """
    from emojax.config import presets
    from emojax.report import comparisons
    from emojax.report import page as pages
    from emojax.reproduce import studies, study_table
    from emojax.reproduce import study as studying

    cfg = presets.load(config, set_)
    if steps < 1 or seeds < 1:
        raise ConfigError(f"a study is of one step and one seed at least; got --steps {steps} --seeds {seeds}")
    given = studies.Given(cfg, stage, steps, python, flags)
    wanted = studies.variants(name, given)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    numbers = range(cfg.seed, cfg.seed + seeds)
    results = studying.run(given, wanted, path_of(out).absolute(), numbers, init, tell)
    title = f"study {name} of {stage}, {cfg.name}, {steps} steps"
    pages.write(path_of(out) / "study.html", comparisons.study(title, given, results, difference))
    if as_json:
        print(json.dumps(study_table.as_json(results)))
    else:
        print("\n".join([title, "", *study_table.lines(given, results, difference)]))


def verify(
    run: tyro.conf.Positional[Path],
    steps: int = 5,
    out: Path | None = None,
    set_: Set = (),
    deterministic: bool = False,
) -> None:
    """Take the first steps of a run again, with what it began with, and say whether this machine reproduces them.

    Ends with 0 where it does, with 1 where it does not, with 2 where that cannot be told.

    Args:
        run: its directory.
        steps: how many.
        out: directory for the steps, to be kept; a temporary one without it.
        set_: fields that are otherwise here, such as data.manifest.
        deterministic: on GPU, as of `sft`.
    """
    import tempfile

    from emojax.api.progress import bars
    from emojax.parallel import compile_cache, xla
    from emojax.reproduce import replay
    from emojax.reproduce import verify as verifying

    if steps < 1:
        raise ConfigError(f"--steps wants 1 or more, got {steps}")
    run = path_of(run)
    parts = replay.stages_of(run)
    if out is not None and out.exists() and any(out.iterdir()):
        raise RunError(f"{out} holds something; name a new or an empty directory by --out")
    xla.set_environment(deterministic)
    compile_cache.use()
    with tempfile.TemporaryDirectory(prefix="emojax-verify-") as folder, bars() as track:
        place = out or Path(folder)
        verdicts = [
            verifying.verify(part, place / part.name, steps, set_, track(f"taking {steps} steps again"))
            for part in parts
        ]
    for verdict in verdicts:
        print("\n".join([f"{verdict.stage}: {verdict.lines[0]}", *verdict.lines[1:]]))
    if not all(verdict.reproduced for verdict in verdicts):
        sys.exit(1)


def _named(found: dict[str, Path]) -> str:
    return " and ".join(f"`{stage}`" if stage else "one stage" for stage in found)
