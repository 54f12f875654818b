"""demo, sft, grpo, dpo, train: from a configuration to a run directory."""

import json
import shlex
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from emojax.config import Config
from emojax.storage import path_of

if TYPE_CHECKING:
    from emojax.training.run import RunOptions

Set = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]],
    tyro.conf.arg(name="set", metavar="NAME=VALUE", help="override a field of the configuration; may be repeated"),
]


@dataclass(frozen=True)
class Run:
    """Flags of every stage."""

    out: Path | None = None  # directory of the run; runs/ and the configuration's name without it
    config: str | None = None  # a preset's name or a file; `demo` without it
    set_: Set = ()
    resume: bool = False  # go on with the run in `out`
    overwrite: bool = False  # replace the run in `out`
    profile: str | None = None  # FIRST:LAST, steps of which a trace is written to `profile` in the run
    record: bool = False  # keep in `record` what every step read and made, for `emojax compare`; the bits stay the same
    executable: Path | None = None  # programs compiled by `emojax plan --save`; none is compiled then
    compile_cache: str | None = None  # directory of compiled programs, or `none`; the user's cache on TPU and GPU
    deterministic: bool = False  # on GPU the same bits, run to run; slower (CPU and TPU give them as they are)
    processes: int | None = None  # of a run of several: how many there must be
    coordinator: str | None = None  # HOST:PORT of process 0; without it the cluster says (Cloud TPU, GKE, SLURM)
    process: int | None = None  # the number of this one, from 0
    timeout: float = 300  # seconds within which all processes must have come

    def __post_init__(self) -> None:
        if self.out is not None:
            object.__setattr__(self, "out", path_of(self.out))


Flags = Annotated[Run, tyro.conf.arg(name="")]


def _configuration(run: Run, command: str, init: str | None = None) -> Config:
    """The preset or file; without one that of the run that is resumed, or of the captioner to begin with, or `demo`.

    Every process comes with the same one, before any of them writes or compiles anything.
    """
    from emojax.config import presets
    from emojax.parallel import hosts
    from emojax.training import initial

    hosts.initialize(run.processes, run.coordinator, run.process, run.timeout)
    own = run.out / "config.json" if run.out else None
    if run.config is not None:
        cfg = presets.load(run.config, run.set_)
    elif run.resume and own is not None and own.exists():
        cfg = presets.load(str(own), run.set_)
    elif init is not None:
        cfg = presets.changed(initial.config(init), run.set_)
    else:
        cfg = presets.load("demo", run.set_)
    hosts.agree("configuration", _facts(run, f"{command} --init {init}", cfg))
    return cfg


def _facts(run: Run, command: str, cfg: Config) -> dict[str, str]:
    """What all processes of a run must have in common."""
    import jax
    import jaxlib.version
    from flax.traverse_util import flatten_dict

    from emojax import __version__
    from emojax.config import presets

    fields = {name: str(value) for name, value in flatten_dict(json.loads(presets.dumps(cfg)), sep=".").items()}
    asked = {
        "command": command,
        "--out": str(run.out),
        "--record": str(run.record),
        "--resume": str(run.resume),
        "--overwrite": str(run.overwrite),
    }
    versions = {"emojax": __version__, "jax": jax.__version__, "jaxlib": jaxlib.version.__version__}
    return fields | asked | versions


def run_options(run: Run, began: float, until: int | None = None) -> "RunOptions":
    """To be called before anything compiles; `began` is `time.time()` when the command did."""
    from emojax.parallel import compile_cache, xla
    from emojax.training import trace
    from emojax.training.run import RunOptions

    profile = trace.steps_of(run.profile) if run.profile else None
    xla.set_environment(run.deterministic)  # before devices are looked for, as the next line does
    compile_cache.use(run.compile_cache)
    return RunOptions(run.executable, profile, run.record, until, began)


def _tell(**runs: Path) -> None:
    """Where the seconds of the runs went, all sessions together, and where their curves are."""
    from emojax.parallel import hosts
    from emojax.training import goodput, session

    if hosts.first():
        for line in goodput.lines({name: session.marks(run) for name, run in runs.items()}):
            print(line, file=sys.stderr)
        out = shlex.quote(str(runs.get("report", next(iter(runs.values())))))
        page = f"{out}/report.html" if "report" in runs else f"emojax report {out}"
        print(f"page: {page}; curves: tensorboard --logdir {out} (pip install tensorboard)", file=sys.stderr)


def demo(
    out: Path | None = None, seed: int = 0, fast: bool = False, resume: bool = False, overwrite: bool = False
) -> None:
    """Make the built-in corpus, train on it (cold start, then Emo-GRPO), caption held-out speakers, report.

    Args:
        out: directory of the run; emojax-demo without it, emojax-demo-fast with --fast.
        seed: of the weights, the order of clips and the noise; the corpus stays the same.
        fast: everything, smaller: under two minutes.
        resume: go on with the run in `out`.
        overwrite: replace the run in `out`.
    """
    from rich.console import Console

    if out is None:
        out = Path("emojax-demo-fast" if fast else "emojax-demo")
    begun = resume and (out / "config.json").exists()
    preset = {} if begun else {"config": "demo_fast" if fast else "demo", "set_": (f"seed={seed}",)}
    _train_and_report(Run(out=out, resume=resume, overwrite=overwrite, **preset), ablate=True)
    console = Console()
    console.print("##" + (out / "report.md").read_text().partition("##")[2].rstrip(), markup=False)
    console.print("\nCaption a clip of your own:", style="bold")
    console.print(f"  emojax caption --model {shlex.quote(str(out))} YOUR_CLIP.mp4", soft_wrap=True, markup=False)


def sft(run: Flags, init: str | None = None, until: int | None = None) -> None:
    """Train the cold start: maximum likelihood of the reference captions.

    Args:
        init: captioner to begin with, whose configuration it has without --config: run directory, exported one or hub
            id; without it pretrained and random weights.
        until: step after which this session ends, complete; --resume goes on.
    """
    began = time.time()
    from emojax.api.progress import bars
    from emojax.parallel import hosts
    from emojax.training import stages
    from emojax.training.stop import listening

    with listening():
        cfg = _configuration(run, f"sft --until {until}", init)
        options, out = run_options(run, began, until), run.out or Path("runs", cfg.name, "sft")
        with bars(hosts.first()) as track:
            bar = track("cold start")
            stages.sft(cfg, out, init=init, resume=run.resume, overwrite=run.overwrite, options=options, progress=bar)
    _tell(sft=out)


def grpo(run: Flags, init: str | None = None, until: int | None = None) -> None:
    """Train by Emo-GRPO from a cold start.

    Args:
        init: captioner to begin with, whose configuration it has without --config: run directory, exported one or hub
            id; without it pretrained and random weights.
        until: step after which this session ends, complete; --resume goes on.
    """
    began = time.time()
    from emojax.api.progress import bars
    from emojax.parallel import hosts
    from emojax.training import stages
    from emojax.training.stop import listening

    with listening():
        cfg = _configuration(run, f"grpo --until {until}", init)
        options, out = run_options(run, began, until), run.out or Path("runs", cfg.name, "grpo")
        _tell_of_no_init(init, out, "Emo-GRPO")
        with bars(hosts.first()) as track:
            bar = track("Emo-GRPO")
            stages.grpo(cfg, out, init=init, resume=run.resume, overwrite=run.overwrite, options=options, progress=bar)
    _tell(grpo=out)


def dpo(run: Flags, init: str | None = None, until: int | None = None) -> None:
    """Train by DPO, from pairs of captions: those of `dpo.pairs`, a file or a run of Emo-GRPO, or of the manifest.

    Args:
        init: captioner to begin with, whose configuration it has without --config, and the reference policy: run
            directory, exported one or hub id; without it pretrained and random weights.
        until: step after which this session ends, complete; --resume goes on.
    """
    began = time.time()
    from emojax.api.progress import bars
    from emojax.parallel import hosts
    from emojax.training import stages
    from emojax.training.stop import listening

    with listening():
        cfg = _configuration(run, f"dpo --until {until}", init)
        options, out = run_options(run, began, until), run.out or Path("runs", cfg.name, "dpo")
        _tell_of_no_init(init, out, "DPO")
        with bars(hosts.first()) as track:
            bar = track("DPO")
            stages.dpo(cfg, out, init=init, resume=run.resume, overwrite=run.overwrite, options=options, progress=bar)
    _tell(dpo=out)


def _tell_of_no_init(init: str | None, out: Path, stage: str) -> None:
    from emojax.parallel import hosts

    if init is None and hosts.first() and not (out / "start").exists():
        print(f"no --init: {stage} begins with random weights, not with a cold start", file=sys.stderr)


def train(run: Flags, init: str | None = None) -> None:
    """Train both stages, caption the test split and report.

    Args:
        init: captioner that the cold start begins with, as of `sft`.
    """
    _train_and_report(run, ablate=False, init=init)


def _train_and_report(run: Run, ablate: bool, init: str | None = None) -> None:
    began = time.time()
    from rich.console import Console

    from emojax.api import experiment
    from emojax.api.progress import bars
    from emojax.evaluation import table
    from emojax.parallel import hosts
    from emojax.report import run_page
    from emojax.training import lock
    from emojax.training.session import Session
    from emojax.training.stop import listening

    with listening():
        cfg = _configuration(run, "train", init)
        options, out = run_options(run, began), run.out or Path("runs", cfg.name)
        with lock.run(out), bars(hosts.first()) as track:
            experiment.train(
                cfg,
                out,
                track,
                init=init,
                resume=run.resume,
                overwrite=run.overwrite,
                options=options,
                ablate=ablate,
            )
            with closing(Session(out, time.time(), 0)) as session:  # that counts as one step
                with session.doing("evaluation"):
                    rows = experiment.report(cfg, out, track, ablate=ablate, began=began)
                session.mark(1)
            if rows is not None:
                run_page.write(out)
    _tell(sft=out / "sft", grpo=out / "grpo", report=out)
    if rows is not None:
        Console(width=None if sys.stdout.isatty() else 140).print(table(rows))
