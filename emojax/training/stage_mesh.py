"""The mesh of a stage: what the configuration leaves open is chosen so that weights and optimizer fit each device."""

from collections.abc import Sequence
from typing import Any

import jax

from emojax.config import Config
from emojax.decoder.captioner import compute_dtype
from emojax.encoders.features import drop_encoders
from emojax.parallel import sharding
from emojax.parallel.meshes import Sizes, Stage
from emojax.training import adapters, freeze
from emojax.types import Tree

MASTER, GRADIENT = 4, 4  # bytes of a weight that is trained, float32
MOMENTS = {"adamw": 8, "lion": 4, "adafactor": 4, "muon": 8}  # and of what an optimizer keeps of it, at most
_FROZEN = {"float32": 4, "bfloat16": 2, "int8": 1}


def stage_mesh(cfg: Config, stage: Stage, devices: Sequence[Any] | None = None) -> jax.sharding.Mesh:
    """Mesh of the program that trains a stage. Raises ConfigError as `sharding.make_mesh`."""
    return sharding.make_mesh(cfg, devices, stage, lambda sizes: bytes_held(cfg, stage, sizes))


def bytes_held(cfg: Config, stage: Stage, sizes: Sizes) -> float:
    """Bytes of weights, optimizer and copies of weights on a device, at the moment of a step when they are the most."""
    at, working = sizes._asdict(), compute_dtype(cfg).itemsize
    declared = adapters.declare(cfg)
    encoders = drop_encoders(declared.encoders, cfg)

    def held(tree: Tree, each: int, **also: int) -> float:
        return each * sharding.weights_held(tree, at | also)

    if stage == "sft":
        trained, frozen = freeze.split(declared, cfg.sft.freeze)
        return (
            held(trained, MASTER + MOMENTS[cfg.sft.optimizer.kind] + GRADIENT)
            + held(frozen, _FROZEN[cfg.frozen_precision])
            + held(declared.decoder, working)
            + held(encoders, working)
        )
    if stage == "dpo":
        trained, _ = freeze.split_policy(declared, cfg.dpo)
        return (
            held(trained, MASTER + MOMENTS[cfg.dpo.optimizer.kind] + GRADIENT)
            + held((encoders, declared.decoder), _FROZEN[cfg.frozen_precision])
            + held((declared.decoder, declared.decoder, encoders), working)  # of both policies
        )
    trained, rest = freeze.split_policy(declared, cfg.grpo)
    held_whole = declared if cfg.grpo.keeps_reference else rest
    encoders, reference = drop_encoders(held_whole.encoders, cfg), held_whole.decoder
    moving = MASTER if cfg.grpo.reference_every else 0
    always = held(trained, MASTER + MOMENTS[cfg.grpo.optimizer.kind] + moving)
    always += held((encoders, reference), _FROZEN[cfg.frozen_precision])
    rollout = held(declared.decoder, working, fsdp=1)  # `sharding.gathered`
    update = held(trained, GRADIENT) + held(declared.decoder, working) + held(reference, working)  # of both policies
    return always + max(rollout, update)
