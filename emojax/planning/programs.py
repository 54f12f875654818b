"""A configuration's program as `plan` compiles it: lowered for a mesh of devices, and counted by hand."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from emojax import captioning, param, rewards
from emojax.config import Config, ConfigError
from emojax.corpus import source, synthetic
from emojax.data.text import train_tokenizer
from emojax.decoder import pretrained
from emojax.hub.locate import local
from emojax.parallel import sharding
from emojax.planning import flops
from emojax.planning.proposals import ProgramName
from emojax.rewards import sentence
from emojax.training import aot
from emojax.training.program import Program, dpo_program, grpo_program, sft_program
from emojax.training.stage_mesh import stage_mesh
from emojax.types import Tree

CAPTIONED = 16  # clips at once in the caption program, or as many more as the devices need


@dataclass(frozen=True)
class PlannedProgram:
    mesh: jax.sharding.Mesh
    buckets: aot.LoweredBuckets  # of training programs one a length bucket; the last is the one that is looked at
    arguments: Tree  # abstract, of the longest bucket; of the caption program not looked at
    trained: int  # parameters
    operations: dict[str, float]  # of a step, by phase
    clips: int  # that a step takes
    captions: int  # that a step writes

    @property
    def longest(self) -> jax.stages.Lowered:
        return list(self.buckets.lowered.values())[-1]


@dataclass(frozen=True)
class Judge:
    """The reward, and what was assumed of it."""

    model: rewards.RewardModel
    static: rewards.RewardStatic
    assumed: list[str]


def make_mesh(cfg: Config, program: ProgramName, devices: Sequence[Any]) -> jax.sharding.Mesh:
    """That of a run; clips to caption are as many as the mesh wants. Raises ConfigError where none does."""
    if program != "caption":
        return stage_mesh(cfg, program, devices)
    sft = dataclasses.replace(cfg.sft, batch=len(devices), micro_batch=0)
    grpo = dataclasses.replace(cfg.grpo, batch=len(devices), rollout_batch=0, micro_batch=0, mini_batch=0)
    return sharding.make_mesh(dataclasses.replace(cfg, sft=sft, grpo=grpo), devices)


def lower(cfg: Config, program: ProgramName, devices: Sequence[Any], judge: Judge | None) -> PlannedProgram:
    """Raises ConfigError where no mesh divides the configuration. The cold start and DPO have no judge."""
    mesh = make_mesh(cfg, program, devices)
    seconds = cfg.data.audio_seconds[-1]
    if program == "sft":
        operations = {"step": flops.sft_flops(cfg, seconds)}
        return _training(sft_program(cfg, mesh), operations, cfg.sft.batch, 0)
    if program == "dpo":
        return _training(dpo_program(cfg, mesh), {"step": flops.dpo_flops(cfg, seconds)}, cfg.dpo.batch, 0)
    assert judge is not None, "the programs that write captions have one"
    if program == "caption":
        rows = mesh.shape["data"] * mesh.shape["fsdp"]
        clips = math.ceil(CAPTIONED / rows) * rows
        lowered = captioning.lower(cfg, mesh, judge.model, judge.static, clips)
        one = aot.LoweredBuckets({(): lowered}, aot.fingerprint([lowered]))
        operations = flops.caption_phases(cfg, judge.static, seconds, clips)
        return PlannedProgram(mesh, one, (), 0, operations, clips, clips)
    operations, clips = flops.grpo_phases(cfg, judge.static, seconds), cfg.grpo.rolled
    return _training(grpo_program(cfg, mesh, judge.model, judge.static), operations, clips, clips * cfg.grpo.captions)


def _training(planned: Program, operations: dict[str, float], clips: int, captions: int) -> PlannedProgram:
    arguments = (planned.state, planned.frozen, planned.batch, planned.key)
    trained = param.count(planned.state.params)
    return PlannedProgram(planned.mesh, aot.lower(planned), arguments, trained, operations, clips, captions)


def judge(cfg: Config, program: ProgramName = "grpo") -> Judge:
    """The reward of a program that writes captions; shapes alone, where a preset gives the sizes of files that are not
    at hand.

    Raises:
      ConfigError: a file is not at hand, and the configuration does not say what to take it for.
    """
    decoder = cfg.model.decoder
    if program == "caption":
        cfg = dataclasses.replace(cfg, reward=rewards.only_emotions(cfg.reward))
    absent = [decoder.weights] if decoder.weights and not local(decoder.weights) else []
    if cfg.reward.sizes and not sentence.at_hand(cfg.reward.model):
        absent.append(cfg.reward.model)
    if not absent:
        return Judge(*rewards.build(rewards.make_reader(cfg.reward, _tokenizer(cfg), end=decoder.end_token)), absent)
    if cfg.reward.sizes is None:
        raise ConfigError(f"{', '.join(absent)}: not at hand, and reward.sizes does not say what to take it for")
    encoders = [part.weights for part in (cfg.model.audio, cfg.model.video) if part and part.weights]
    absent += [weights for weights in encoders if not local(weights)]
    return Judge(*rewards.abstract(rewards.abstract_reader(cfg.reward, decoder.end_token), decoder.vocab), absent)


def _tokenizer(cfg: Config) -> Any:
    """The tokenizer that training would use; the built-in corpus is worded, not rendered."""
    if cfg.model.decoder.weights:
        return pretrained.tokenizer(cfg)
    if cfg.data.manifest:
        texts = source.texts(source.split(source.manifest(cfg), "train"))
    else:
        records = synthetic.describe(cfg.data.corpus)
        train = [record for record in records if record["split"] == "train"]
        texts = [text for record in train for text in (*record["captions"], record["transcript"])]
    return train_tokenizer(texts, cfg.model.decoder.vocab)
