"""A run directory: opened, refused, resumed. It is self-contained.

config.json       the whole configuration             metrics.jsonl    a line a step
run.json          the stage                           samples.jsonl    sampled captions (Emo-GRPO)
tokenizer.json    the decoder's tokenizer             tensorboard/     the same metrics
start/            the captioner Emo-GRPO began with   checkpoints/     complete training states
"""

import json
import shutil
from pathlib import Path
from typing import Any

from emojax import presets
from emojax.config import Config

_BEGUN = ("config.json", "config.json.new", "run.json.new")  # left by a run killed before it was one


class RunError(RuntimeError):
    """A run directory that cannot be used as asked, or a run that had to stop."""


def write_atomically(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)


def open_run(out: Path, stage: str, cfg: Config, resume: bool, overwrite: bool) -> None:
    """Makes the run directory or takes up the one that is there.

    Raises:
      RunError: a run is there and neither `resume` nor `overwrite` is asked for; or it has another configuration; or
        `out` holds something that is no run.
    """
    if (out / "run.json").exists():
        if overwrite:
            shutil.rmtree(out)
        elif not resume:
            raise RunError(f"{out} already holds a run; go on with it by --resume, or replace it by --overwrite")
        else:
            _same(out, stage, cfg)
            return
    elif out.exists() and (not out.is_dir() or any(p.name not in _BEGUN for p in out.iterdir())):
        raise RunError(f"{out} holds something that is no run; name a new or an empty directory by --out")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "config.json", presets.dumps(cfg))
    write_atomically(out / "run.json", json.dumps({"stage": stage}))  # last: from now on it is a run


def _same(out: Path, stage: str, cfg: Config) -> None:
    was = json.loads((out / "run.json").read_text())["stage"]
    if was != stage:
        raise RunError(f"{out} is a run of `{was}`, not of `{stage}`")
    theirs = presets.read_json(out / "config.json")  # fields that are newer than the run have their defaults
    differ = differences(json.loads(presets.dumps(theirs)), json.loads(presets.dumps(cfg)))
    if differ:
        raise RunError(
            f"{out} was begun with another configuration, a resumed run would not be the unbroken one:\n"
            + "\n".join(differ)
            + "\nresume it with its own (leave out --config and --set), or start another run"
        )


def differences(there: Any, here: Any) -> list[str]:
    """A line for every value that is another one in the first JSON tree than in the second; None: it is not there."""
    then, now = _flat(there), _flat(here)
    changed = [name for name in now | then if then.get(name) != now.get(name)]
    return [f"  {name}: {then.get(name)!r} there, {now.get(name)!r} now" for name in changed]


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix.rstrip("."): node}
    return {k: v for name, value in node.items() for k, v in _flat(value, f"{prefix}{name}.").items()}


def stage_of(run: Path) -> str:
    """Raises RunError where there is no run."""
    path = run / "run.json"
    if not path.exists():
        raise RunError(f"{run} is no run directory: it has no run.json; name what --out named when it was trained")
    return json.loads(path.read_text())["stage"]


def trained(run: Path) -> Path:
    """The stage whose captioner a run stands for: of `emojax train` and `emojax demo` the last one begun."""
    if stage_of(run) in ("sft", "grpo"):
        return run
    stages = [run / name for name in ("grpo", "sft") if (run / name / "run.json").exists()]
    if not stages:
        raise RunError(f"{run} has not trained anything yet; go on with it by --resume")
    return stages[0]
