"""Features that a run reads instead of media: made by the very encoders, settings and weights that it would run, or
refused."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from emojax import param
from emojax.config import Config, ConfigError, FeatureFilesConfig, family
from emojax.data.clips import Clip
from emojax.data.feature_files import FORMAT, FeatureFolder, check_clips, differences, open_features
from emojax.data.features import FeatureSource, Stream
from emojax.decoder import captioner
from emojax.encoders.features import streams
from emojax.hub.locate import is_path
from emojax.training import adapters, checkpoint, freeze
from emojax.training.program import abstract_batch
from emojax.types import Tree

_FRAMES = ("frames", "frame_size", "frame_resize", "frame_filter")  # the fields of `Data` that say what is seen
_OTHERS = ("tokens", "weights")  # fields of an encoder that its features do not depend on
_LATER = {"position_layers": 1, "registers": 0}  # fields that older features lack, and what they were made with


def extractors(cfg: Config, names: tuple[str, ...], encoders: Tree = None) -> dict[str, Any]:
    """What says how the features of the streams `names` are made, as it is written into every file.

    Args:
      encoders: their weights; without them the hashes are left out.
    """
    made: dict[str, Any] = {}
    for stream in names:
        part = getattr(cfg.model, stream)
        sizes = {
            name: value
            for name, value in dataclasses.asdict(part).items()
            if name not in _OTHERS and not (name in _LATER and _LATER[name] == value)
        }
        if stream == "audio":
            shown = {
                "data.audio_seconds[-1]": cfg.data.audio_seconds[-1]
            }  # where a clip is truncated; buckets only pad
        else:
            shown = {f"data.{name}": getattr(cfg.data, name) for name in _FRAMES}
        made[stream] = {"family": family(part), **sizes, **shown, "name": _name(part.weights)}
        if encoders is not None:
            made[stream]["sha256"] = _sha256(getattr(encoders, stream), cfg)
    about = {"format": FORMAT, "precision": cfg.precision, "frozen_precision": cfg.frozen_precision, "streams": made}
    return json.loads(json.dumps(about))  # as it will be read back


def _name(source: str) -> str:
    """A hub id, or the last part of a path."""
    return Path(source).name if source and is_path(source) else source


def _sha256(weights: Tree, cfg: Config) -> str:
    """SHA-256 of weights as a stage that freezes them has them."""
    dtype = jnp.bfloat16 if cfg.frozen_precision == "bfloat16" else jnp.float32
    return checkpoint.sha256(jax.tree.map(lambda w: w.astype(dtype), adapters.merged(weights)))


def check_features(cfg: Config, stage: str | None = None) -> FeatureFolder | None:
    """Looks at all that can be told of `data.features` before weights are read; None: the run reads media.

    Args:
      stage: that would train; None: none.
    Raises:
      ConfigError: no such directory, features of other settings or another extractor, or of an encoder that the stage
        trains; names the fields.
      ValueError: a damaged file.
    """
    path, wanted = Path(cfg.data.features), streams(cfg)
    if not cfg.data.features:
        return None
    if not wanted:
        raise ConfigError(f"data.features={str(path)!r}: the captioner has no encoder that features could stand in for")
    folder = open_features(path) if path.is_dir() else None
    if folder is None:
        raise ConfigError(f"data.features: {path} holds no features; `emojax encode --out {path}` writes them")
    _refuse(folder, extractors(cfg, wanted))
    if stage is not None:
        declared = adapters.declare(cfg)
        of, what = getattr(cfg, stage), {"sft": "the cold start", "grpo": "Emo-GRPO", "dpo": "DPO"}[stage]
        split = freeze.split(declared, of.freeze) if stage == "sft" else freeze.split_policy(declared, of)
        trained = captioner.over(split[0], jax.tree.map(lambda _: None, declared))
        freezes = f"{stage}.freeze"
        for stream in wanted:
            leaves = jax.tree_util.tree_leaves_with_path(getattr(trained.encoders, stream))
            paths = [param.dotted(at) for at, _ in leaves]
            do = f"add encoders.{stream} to {freezes}"
            if paths == ["mix"]:
                do = f"set {stream}.layer to a number and encode again, or add encoders.{stream}.mix to {freezes}"
            if any(map(freeze.is_adapter, paths)):
                do = f"leave encoders.{stream} out of lora.targets"
            if paths:
                raise ConfigError(
                    f"data.features: {what} trains encoders.{stream}.{paths[0]}, but features of {path} stay "
                    f"as they are; {do}, or read media (data.features=)"
                )
    return folder


def check_weights(folder: FeatureFolder | None, encoders: Tree, cfg: Config) -> None:
    """Raises ConfigError where the features were made with other weights than the encoders' of this run."""
    if folder is not None:
        _refuse(folder, extractors(cfg, streams(cfg), encoders))


def _refuse(folder: FeatureFolder, wanted: dict[str, Any]) -> None:
    if wrong := differences(folder.extractors, wanted):
        raise ConfigError(
            f"data.features: {folder.path} differs from what this run's encoders would make:\n"
            + "\n".join(wrong)
            + "\nencode into another directory with this configuration (`emojax encode`), configure what is there, or "
            "read media (data.features=)"
        )


def feature_source(cfg: Config, clips: Sequence[Clip], folder: FeatureFolder | None) -> FeatureSource:
    """What is read of these clips instead of media.

    Raises:
      ConfigError: clips that were not encoded, and are not recorded as broken.
    """
    if folder is not None:
        check_clips(folder, clips)
        ids = {clip.id for clip in clips}
        folder = dataclasses.replace(  # a worker is sent no more than it needs
            folder,
            clips={name: facts for name, facts in folder.clips.items() if name in ids},
            broken={name: broken for name, broken in folder.broken.items() if name in ids},
        )
    shapes = {seconds: abstract_batch(cfg, 1, seconds) for seconds in cfg.data.audio_seconds}

    def stream(name: str) -> Stream | None:
        part = getattr(cfg.model, name)
        if name not in streams(cfg) and not isinstance(part, FeatureFilesConfig):
            return None
        positions = {seconds: getattr(batch, f"{name}_features").x.shape[1] for seconds, batch in shapes.items()}
        return Stream(name, part.width, positions, part.path if isinstance(part, FeatureFilesConfig) else None)

    return FeatureSource(stream("audio"), stream("video"), folder)
