"""A trained captioner from where it is (a run's directory, an exported one, a hub id), on all devices of this host."""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from emojax import param, rewards
from emojax.captioning.captioner import Captioner, caption
from emojax.config import Config, Mesh, presets
from emojax.decoder import captioner
from emojax.encoders.features import drop_encoders
from emojax.errors import RunError
from emojax.hub import tokenizer_files
from emojax.parallel import chips, sharding
from emojax.storage import path_of
from emojax.training import adapters, exported, initial
from emojax.training.features import check_features, check_weights
from emojax.training.program import abstract_batch, with_shardings
from emojax.training.run import trained

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SHARE = 0.6  # of a device's memory that a copy of the weights may take; else they are sharded


def load(model: str | Path, features: str | Path = "", checkpoint: str = "last") -> Captioner:
    """A trained captioner: of a run directory, or exported, as a directory or a hub id.

    Args:
      checkpoint: of a run: "last", "best" (by the reward; of a cold start, by the loss), or its step.
      features: a directory that `emojax encode` wrote with the captioner's encoders: clips are read from there, and the
        encoders are left out. Empty: media are read, also by a captioner that was trained from features.
    Raises:
      ConfigError, ValueError: features of other settings or weights, or that are damaged.
      RunError: a run that has no such checkpoint; a checkpoint asked of an exported captioner, which is of one.
      FileNotFoundError: there is neither a run nor an exported captioner.
    """
    cfg, params, tokenizer, mesh = restore(model, checkpoint=checkpoint)
    cfg = dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, features=str(features)))
    folder = check_features(cfg)
    check_weights(folder, params.encoders, cfg)
    params = dataclasses.replace(params, encoders=drop_encoders(params.encoders, cfg))
    try:
        reward, static = rewards.build(rewards.make_reader(rewards.only_emotions(cfg.reward), tokenizer))
    except FileNotFoundError as e:
        warnings.warn(f"captions come without emotion coordinates: {e}", stacklevel=2)
        reward, static = None, None
    return Captioner(cfg, params, tokenizer, jax.device_put(reward, sharding.replicated(mesh)), static, mesh, folder)


def restore(
    model: str | Path, merge: bool = True, checkpoint: str = "last", devices: Sequence[Any] | None = None
) -> tuple[Config, captioner.Params, "Tokenizer", jax.sharding.Mesh]:
    """What `load` reads, without the reward model; raises as it does.

    Args:
      merge: False: a run keeps its adapters apart.
      devices: None: all of this host.
    """
    devices = devices or jax.local_devices()
    if initial.is_run(model) or not (there := exported.find(str(model))):
        at = trained(path_of(model))
        cfg = dataclasses.replace(presets.read_json(at / "config.json"), mesh=Mesh())
        mesh = make_mesh(cfg, devices)
        params = initial.run_captioner(at, cfg, mesh, checkpoint)
        params = adapters.merged(params) if merge else params
        return cfg, params, tokenizer_files.read(at / "tokenizer.json"), mesh
    if checkpoint != "last":
        raise RunError(
            f"{model} is an exported captioner, which has one checkpoint; leave out --checkpoint {checkpoint}"
        )
    return exported.read(there, make_mesh(initial.config(model), devices))


def make_mesh(cfg: Config, devices: Sequence[Any]) -> jax.sharding.Mesh:
    """Every device captions clips of its own by a copy of the weights, or, where a copy takes too much of its memory,
    by its share of them."""
    sft, grpo = (dataclasses.replace(stage, batch=len(devices), micro_batch=0) for stage in (cfg.sft, cfg.grpo))
    weights, room = 4 * param.count(captioner.declare(cfg)), chips.memory(devices[0])
    whole = room is None or weights <= _SHARE * room
    mesh = Mesh(data=len(devices)) if whole else Mesh(fsdp=len(devices))
    return sharding.make_mesh(dataclasses.replace(cfg, sft=sft, grpo=grpo, mesh=mesh), devices)


def lower(
    cfg: Config, mesh: jax.sharding.Mesh, reward: rewards.RewardModel, static: rewards.RewardStatic, clips: int
) -> jax.stages.Lowered:
    """The captioning program by shapes alone, greedy, for `emojax plan`."""
    declared = captioner.declare(cfg)
    declared = dataclasses.replace(declared, encoders=drop_encoders(declared.encoders, cfg))
    params = with_shardings(param.abstract(declared), sharding.shardings(declared, mesh))
    batch = with_shardings(abstract_batch(cfg, clips, cfg.data.audio_seconds[-1]), sharding.by_clip(mesh, clips))
    everywhere = sharding.replicated(mesh)
    key = with_shardings(jax.eval_shape(lambda: jax.random.key(0)), everywhere)
    with jax.set_mesh(mesh):
        return caption.lower(
            params, with_shardings(reward, everywhere), batch, key, cfg=cfg, static=static, samples=1, sampling=None
        )
