"""Training from Python: `emojax.sft`, `emojax.grpo`, both with their report by `emojax.train`, and `emojax.dpo`."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emojax.api import experiment
from emojax.api.progress import bars
from emojax.config import Config
from emojax.corpus import source
from emojax.data.clips import Clip
from emojax.parallel import hosts
from emojax.report import run_page
from emojax.storage import path_of
from emojax.training import lock, stages
from emojax.training.initial import Init
from emojax.training.run import RunOptions
from emojax.training.stop import listening


def clips(cfg: Config, split: str) -> list[Clip]:
    """The clips of a split of a configuration: of its manifest, or of the built-in corpus, which is made if need be.

    Raises ConfigError where there are none, and as `read_manifest`.
    """
    return source.split(source.manifest(cfg), split)


def sft(
    cfg: Config,
    out: str | Path,
    *,
    init: Init | None = None,
    resume: bool = False,
    overwrite: bool = False,
    record: bool = False,
    quiet: bool = False,
) -> Path:
    """Trains the cold start: maximum likelihood of the reference captions. Returns the run's directory.

    Args:
      out: directory of the run: `emojax.load(out)` is its captioner.
      init: captioner to begin with, a run's or an exported one; None: pretrained and random weights, as `cfg` says.
      resume: go on with the run in `out`; its configuration may be longer (`steps`) than it was.
      overwrite: replace the run in `out`.
      record: keep what every step read and made, for `emojax compare`.
      quiet: show no progress.
    Raises:
      ConfigError, ManifestError, RunError: settings, clips or a directory that cannot be used as asked.
      Stopped: Ctrl-C or SIGTERM came; the run is complete up to a step, and `resume` goes on.
      FileNotFoundError, ValueError: pretrained weights that are not there, or that do not fit.
    """
    out = path_of(out)
    with bars(not quiet and hosts.first()) as track:
        options, bar = RunOptions(record=record), track("cold start")
        stages.sft(cfg, out, init=init, resume=resume, overwrite=overwrite, options=options, progress=bar)
    return out


def grpo(
    cfg: Config,
    out: str | Path,
    *,
    init: Init | None,
    resume: bool = False,
    overwrite: bool = False,
    record: bool = False,
    quiet: bool = False,
) -> Path:
    """Trains by Emo-GRPO from the captioner `init`; its arguments, its result and what it raises are those of `sft`."""
    out = path_of(out)
    with bars(not quiet and hosts.first()) as track:
        options, bar = RunOptions(record=record), track("Emo-GRPO")
        stages.grpo(cfg, out, init=init, resume=resume, overwrite=overwrite, options=options, progress=bar)
    return out


def dpo(
    cfg: Config,
    out: str | Path,
    *,
    init: Init | None,
    resume: bool = False,
    overwrite: bool = False,
    record: bool = False,
    quiet: bool = False,
) -> Path:
    """Trains by DPO, from the captioner `init`, on the pairs that `cfg.dpo.pairs` or the manifest has; its arguments,
    its result and what it raises are those of `sft`."""
    out = path_of(out)
    with bars(not quiet and hosts.first()) as track:
        options, bar = RunOptions(record=record), track("DPO")
        stages.dpo(cfg, out, init=init, resume=resume, overwrite=overwrite, options=options, progress=bar)
    return out


@listening()
def train(
    cfg: Config,
    out: str | Path,
    *,
    init: Init | None = None,
    resume: bool = False,
    overwrite: bool = False,
    record: bool = False,
    quiet: bool = False,
) -> Mapping[str, Mapping[str, Any]]:
    """Trains both stages, captions the test split by each, and scores them beside the floors.

    Args, and what it raises: as of `sft`.
    Returns:
      The rows of the report: "constant", "nearest" (floors), "sft", "grpo"; `emojax.table` shows them. `out` holds
      the page `report.html`, `report.md`, `report.json`, `scores.jsonl`, the captions, and the runs `sft` and `grpo`.
    """
    out, began = path_of(out), time.time()
    with lock.run(out), bars(not quiet and hosts.first()) as track:
        options = RunOptions(record=record, began=began)
        experiment.train(cfg, out, track, init=init, resume=resume, overwrite=overwrite, options=options)
        rows = experiment.report(cfg, out, track, ablate=False, began=began)
        if rows is not None:
            run_page.write(out)
    return rows or {}
