"""What a stage may begin from: the captioner of a run, or an exported one. Its configuration, tokenizer and weights."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from emojax import param, storage
from emojax.config import Config, presets
from emojax.decoder import captioner
from emojax.errors import RunError
from emojax.hub import tokenizer_files
from emojax.training import adapters, checkpoint, exported, freeze
from emojax.training.program import abstract_weights
from emojax.training.run import differences, stage_of, trained

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Init = str | Path  # a run's directory, an exported captioner's, or its hub id


def is_run(init: Init) -> bool:
    return (storage.path_of(init) / "run.json").exists()


def config(init: Init) -> Config:
    """Raises RunError, FileNotFoundError: there is neither a run nor an exported captioner."""
    at, own = _at(init)
    return presets.read_json(at / ("config.json" if own else exported.CONFIG))


def tokenizer(init: Init) -> "Tokenizer":
    at, own = _at(init)
    return tokenizer_files.read(at / "tokenizer.json") if own else exported.tokenizer(at)


def require_same(init: Init, cfg: Config) -> None:
    """Raises RunError where it has another model than `cfg`."""
    _require_same(init, config(init), cfg)


def _require_same(init: Init, theirs: Config, cfg: Config) -> None:
    if differ := differences(_shape(theirs), _shape(cfg)):
        raise RunError(
            f"{init} has another model than this configuration:\n"
            + "\n".join(differ)
            + "\nleave out --config to take its own, or use the same `model`, `data.frame_size` and names of "
            "`reward.concepts`"
        )


def _shape(cfg: Config) -> dict[str, Any]:
    """What weights depend on; not where those of pretrained parts were read from."""
    parts = {name: part for name in ("audio", "video", "decoder") if (part := getattr(cfg.model, name))}
    blank = {name: dataclasses.replace(part, **dict.fromkeys(_places(part), "")) for name, part in parts.items()}
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, **blank, remat=False))
    plain = json.loads(presets.dumps(cfg))
    names = ", ".join(concept.name for concept in cfg.reward.concepts)
    return {
        "model": plain["model"],
        "data": {"frame_size": cfg.data.frame_size},
        "names of reward.concepts": names,
    }


def _places(part: Any) -> set[str]:
    """Fields that say where its files are."""
    return {"weights", "path"} & {field.name for field in dataclasses.fields(part)}


def begin(init: Init, cfg: Config, mesh: jax.sharding.Mesh) -> captioner.Params:
    """Its captioner with the adapters that `cfg` wants: those that it has, if they are the same; others become part of
    the weights.

    Raises RunError as `require_same`; and where a run has no checkpoint.
    """
    at, own = _at(init)
    if own:
        return adapters.fitted(run_captioner(at, cfg, mesh), config(init).lora, cfg, mesh)
    require_same(init, cfg)
    return adapters.begin(exported.read(at, mesh)[1], cfg, mesh)


def run_captioner(run: Path, cfg: Config, mesh: jax.sharding.Mesh, which: str = "last") -> captioner.Params:
    """The captioner of a checkpoint of a run, with `cfg`'s shapes and the run's own adapters, float32.

    Args:
      which: "last", "best" or a step (`checkpoint.restore_params`).
    Raises:
      RunError: no such checkpoint, or another model.
    """
    theirs = presets.read_json(run / "config.json")
    _require_same(run, theirs, cfg)
    abstract = abstract_weights(adapters.declare(dataclasses.replace(cfg, lora=theirs.lora)), mesh)
    if stage_of(run) == "sft":
        learnt, rest = freeze.split(abstract, theirs.sft.freeze)
    else:
        learnt, rest = freeze.split_policy(abstract, getattr(theirs, stage_of(run)))[0], abstract
    params = checkpoint.restore_params(run, learnt, which)
    start = checkpoint.restore_tree(run / "start", rest) if jax.tree.leaves(rest) else rest
    if stage_of(run) == "sft":
        return param.merge(params, start)
    return captioner.over(params, start)


def _at(init: Init) -> tuple[Path, bool]:
    """The directory, and whether it is a run's."""
    if not is_run(init) and (found := exported.find(str(init))):
        return found, False
    return trained(storage.path_of(init)), True
