"""A run directory: opened, refused, resumed. It is self-contained.

config.json       the whole configuration             metrics.jsonl    a line a step
run.json          the stage, and of each session its   samples.jsonl    captions of some steps
                  provenance (provenance.py)
tokenizer.json    the decoder's tokenizer             tensorboard/     the same metrics
start/            the captioner Emo-GRPO or DPO began with  checkpoints/     complete training states
record/           what --record keeps of each step

Of several processes the first one makes it and writes all of it but `start/` and `checkpoints/`, which all write; so it
lies on storage that all of them see.
"""

import json
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from emojax import storage
from emojax.config import Config, presets
from emojax.errors import RunError
from emojax.parallel import hosts
from emojax.storage import read_object, write_atomically
from emojax.training import checkpoint, run_files
from emojax.training.program import stage_steps

log = logging.getLogger(__name__)
_WHERE = ("mesh",)  # fields that say where a run is computed, not what
_HOW_LONG = ("steps", "sft_steps")
_CHANGEABLE = (  # fields that a resumed run may have otherwise than it began with
    *_HOW_LONG,
    *("checkpoint_every", "checkpoint_minutes", "keep", "keep_best", "sample_every", "max_skipped"),
    *("data.workers", "data.cache_gb", "data.strict"),
)
_SEEN = "processes"  # while a run is opened by several processes: a number that all of them must find


@dataclass(frozen=True)
class RunOptions:
    """How a run is run. Nothing here changes what it computes, so nothing here is part of its configuration."""

    executable: Path | None = None  # that `emojax plan --save` wrote, used instead of compiling
    profile: tuple[int, int] | None = None  # steps, the first and the last, of which a trace is written
    record: bool = False  # every leaf of every step is sketched: see record.py
    until: int | None = None  # the step that the session ends after, where the run is longer
    began: float | None = None  # time.time() when the command began; None: when the stage did
    # is shown each step's number, its Program and its arguments, before it is taken
    looked_at: Callable[[int, Any, tuple[Any, ...]], None] | None = None


def open_run(out: Path, stage: str, cfg: Config, resume: bool, overwrite: bool, init: str | Path | None = None) -> None:
    """Makes the run directory or takes up the one that is there; of several processes all call it.

    What was begun and has not taken a step is no run: it is made anew, whatever stopped it.

    Raises:
      RunError: a run is there and neither `resume` nor `overwrite` is asked for; or it has another configuration; or
        `out` holds something that is no run; or not all processes see it.
    """
    about = {"stage": stage} | ({} if init is None else {"init": _anywhere(init)})
    hosts.by_first(lambda: _open(out, about, cfg, resume, overwrite), f"open {out}")
    if jax.process_count() > 1:
        _require_shared(out)


def _require_shared(out: Path) -> None:
    """Raises RunError in every process where one does not see what the first one wrote."""
    path = out / _SEEN
    token = int(multihost_utils.broadcast_one_to_all(np.int32(secrets.randbits(31))))
    hosts.by_first(lambda: write_atomically(path, str(token)), f"write {path}")
    sees = path.exists() and path.read_text() == str(token)
    unseen = np.flatnonzero(~multihost_utils.process_allgather(np.array(sees)).ravel()).tolist()
    hosts.by_first(path.unlink, f"remove {path}")
    if unseen:
        who = f"process {unseen[0]} does" if len(unseen) == 1 else f"processes {', '.join(map(str, unseen))} do"
        raise RunError(f"{who} not see {out} as process 0 wrote it: --out must be on storage that all processes share")


def _anywhere(init: str | Path) -> str:
    """A name that holds in every folder: that of a path, or a hub id."""
    path = storage.path_of(init)
    return str(storage.absolute(path)) if path.exists() else str(init)


def init_of(run: Path) -> str | None:
    """The captioner that it was begun from."""
    init = read_object(run / "run.json").get("init")
    return init if isinstance(init, str) else None


def _open(out: Path, about: dict[str, str], cfg: Config, resume: bool, overwrite: bool) -> None:
    if (out / "run.json").exists():
        if not overwrite and stepped(out):
            if not resume:
                raise RunError(f"{out} already holds a run; resume it with --resume, or replace it by --overwrite")
            _resumed(out, about["stage"], cfg)
            return
        if resume and (was := init_of(out)):
            about = {"init": was} | about
        run_files.clear(out)
    elif out.exists() and not (out.is_dir() and run_files.only_begun(out)):
        raise RunError(f"{out} holds something that is no run; name a new or an empty directory by --out")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "config.json", presets.dumps(cfg))
    write_atomically(out / "run.json", json.dumps(about))  # last: from now on it is a run


def stepped(run: Path) -> bool:
    """Whether a step of it, or of one of its stages, was taken: else there is nothing to resume, or to be sorry for."""
    told = _holds_anything(run / "metrics.jsonl")
    stages = [run / name for name in run_files.STAGES if (run / name / "run.json").exists()]
    return told or bool(checkpoint.steps(run)) or any(map(stepped, stages))


def _holds_anything(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open("rb") as file:
        return bool(file.read(1))


def _resumed(out: Path, stage: str, cfg: Config) -> None:
    """Raises RunError where the run would not be the one that was begun; another length of it is written down."""
    was = stage_of(out)
    if was != stage:
        raise RunError(f"{out} is a run of `{was}`, not of `{stage}`")
    theirs = presets.read_json(out / "config.json")  # fields that are newer than the run have their defaults
    there, here = json.loads(presets.dumps(theirs)), json.loads(presets.dumps(cfg))
    if differ := differences(*({name: part[name] for name in _WHERE} for part in (there, here))):
        log.warning(
            "%s is resumed on another mesh: the same samples' noise, and sums in another order, so numbers agree with "
            "the unbroken run's to rounding only:\n%s",
            out,
            "\n".join(differ),
        )
    then, now = ({n: v for n, v in flat(part).items() if n.split(".")[0] not in _WHERE} for part in (there, here))
    kept = [{n: v for n, v in part.items() if n not in _CHANGEABLE} for part in (then, now)]
    if differ := differences(*kept):
        raise RunError(
            f"{out} was begun with another configuration: a resumed run would not be the unbroken one:\n"
            + "\n".join(differ)
            + f"\nresume it with its own (leave out --config; --set may change {', '.join(_CHANGEABLE)}), or start "
            "another run, from this one by --init"
        )
    if then != now:
        _lengthen(out, stage, cfg, differences(then, now))


def _lengthen(out: Path, stage: str, cfg: Config, differ: Sequence[str]) -> None:
    wanted, done = stage_steps(cfg, stage), max(checkpoint.steps(out), default=0)
    if done > wanted:
        raise RunError(f"{out} has taken {done} steps, and {wanted} are asked for; set steps to {done} or more")
    write_atomically(out / "config.json", presets.dumps(cfg))
    if any(name in line for name in _HOW_LONG for line in differ):
        log.warning(
            "%s is made another length; its learning rate goes on as in a run of that length:\n%s",
            *(out, "\n".join(differ)),
        )


def differences(there: Any, here: Any) -> list[str]:
    """A line for every value that is another one in the first JSON tree than in the second; None: it is not there."""
    then, now = flat(there), flat(here)
    changed = [name for name in now | then if then.get(name) != now.get(name)]
    return [f"  {name}: {then.get(name)!r} there, {now.get(name)!r} now" for name in changed]


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Values of a JSON tree by their dotted names; lists are values."""
    if not isinstance(node, dict):
        return {prefix.rstrip("."): node}
    return {k: v for name, value in node.items() for k, v in flat(value, f"{prefix}{name}.").items()}


def stage_of(run: Path) -> str:
    """Raises RunError where there is no run."""
    path = run / "run.json"
    if not path.exists():
        raise RunError(f"{run} is no run directory: it has no run.json; name what --out named when it was trained")
    stage = read_object(path).get("stage")
    if not isinstance(stage, str):
        raise RunError(f'{path}: wanted "stage", the name of a stage, got {stage!r}')
    return stage


def trained(run: Path) -> Path:
    """The stage whose captioner a run stands for: of `emojax train` and `emojax demo` the last one begun."""
    run = storage.path_of(run)
    if stage_of(run) in ("sft", "grpo", "dpo"):
        return run
    stages = [run / name for name in ("grpo", "sft") if (run / name / "run.json").exists()]
    if not stages:
        raise RunError(f"{run} has not trained anything yet; resume it with --resume")
    return stages[0]
