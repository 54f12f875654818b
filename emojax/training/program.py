"""The training programs: the jitted step with its shardings pinned, and the shapes of its arguments.

The loop runs it and `emojax plan` compiles it from the same shapes, so what was planned is what runs.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from emojax import param, rewards
from emojax.config import Config, ConfigError, Data
from emojax.decoder.captioner import Params
from emojax.encoders import features, media
from emojax.encoders.features import drop_encoders
from emojax.parallel import sharding
from emojax.training import adapters, controls, freeze
from emojax.training.dpo import dpo_step
from emojax.training.grpo import Frozen, grpo_step
from emojax.training.optim import make_optimizer
from emojax.training.roll_out import RewardFunction
from emojax.training.sft import sft_step
from emojax.types import Array, Batch, Metrics, References, TrainState, Tree, batch_shapes

Step = Callable[[TrainState, Tree, Batch, jax.Array], tuple[TrainState, Metrics]]


@dataclass(frozen=True)
class Program:
    """A stage's step and the abstract arguments that it is compiled for, each leaf with its sharding."""

    step: Step  # jitted; donates the state
    begin: Callable[[Tree], TrainState]  # the state before the first step, of what is trained
    score: RewardFunction | None  # the reward inside the step
    optimizer: optax.GradientTransformation
    mesh: jax.sharding.Mesh
    state: TrainState
    frozen: Tree
    buckets: tuple[Batch, ...]  # of each length, ascending
    key: jax.ShapeDtypeStruct

    @property
    def batch(self) -> Batch:
        """Shapes of the batch of the longest clips."""
        return self.buckets[-1]

    @property
    def clips(self) -> int:
        """Rows of a global batch."""
        return jax.tree.leaves(self.batch)[0].shape[0]

    def lower(self, batch: Batch | None = None) -> jax.stages.Lowered:
        """For a batch of one of the buckets; None: the longest."""
        with jax.set_mesh(self.mesh):
            return self.step.lower(self.state, self.frozen, batch or self.batch, self.key)  # pyright: ignore[reportFunctionMemberAccess] a jitted function has it


def sft_program(cfg: Config, mesh: jax.sharding.Mesh) -> Program:
    """The cold start."""
    trained, frozen = freeze.split(adapters.declare(cfg), cfg.sft.freeze)
    optimizer = make_optimizer(cfg.sft.optimizer, stage_steps(cfg, "sft"), trained)
    step = functools.partial(sft_step, cfg=cfg, optimizer=optimizer)
    batches = abstract_batches(cfg, cfg.sft.batch)
    if learnt := media.values_learnt(cfg):
        labels: Any = jax.ShapeDtypeStruct((cfg.sft.batch, len(learnt)), jnp.int32)
        batches = [dataclasses.replace(batch, attributes=labels) for batch in batches]
    frozen = dataclasses.replace(frozen, encoders=drop_encoders(frozen.encoders, cfg))
    frozen = freeze.kept(abstract_weights(frozen, mesh), cfg)
    made = _Made(step, functools.partial(controls.begin, optimizer=optimizer), None, optimizer)
    return _program(made, mesh, trained, frozen, batches)


def grpo_program(
    cfg: Config,
    mesh: jax.sharding.Mesh,
    reward: rewards.RewardModel,
    static: rewards.RewardStatic,
) -> Program:
    """Emo-GRPO with the reward of the configuration; of `reward` only the shapes matter here."""

    def score(model: rewards.RewardModel, ids: Array, mask: Array, refs: References) -> tuple[Array, dict[str, Array]]:
        return rewards.score(model, static, ids, mask, refs)

    return custom_grpo_program(cfg, mesh, reward, score, abstract_references(cfg, static))


def custom_grpo_program(
    cfg: Config,
    mesh: jax.sharding.Mesh,
    reward: Tree,
    score: RewardFunction,
    references: References | None,
) -> Program:
    """Emo-GRPO with a reward function of one's own.

    `reward` are its arrays, `references` the shapes of its references.
    """
    declared = adapters.declare(cfg)
    trained, rest = _policy(declared, cfg, "grpo")
    held = declared if cfg.grpo.keeps_reference else rest
    optimizer = make_optimizer(cfg.grpo.optimizer, stage_steps(cfg, "grpo") * cfg.grpo.updates_a_step, trained)
    step = functools.partial(grpo_step, cfg=cfg, optimizer=optimizer, reward=score)
    given: Any = None
    if cfg.grpo.samples:
        given = jax.ShapeDtypeStruct((cfg.grpo.rolled, cfg.grpo.group, cfg.caption_tokens), jnp.int32)
    shapes = abstract_batches(cfg, cfg.grpo.rolled)
    batches = [dataclasses.replace(batch, references=references, samples=given) for batch in shapes]
    frozen = Frozen(
        encoders=freeze.kept(abstract_weights(drop_encoders(held.encoders, cfg), mesh), cfg),
        reference=freeze.kept(abstract_weights(held.decoder, mesh), cfg),
        reward=with_shardings(reward, sharding.replicated(mesh)),
    )
    begin = functools.partial(controls.begin, optimizer=optimizer, grpo=cfg.grpo)
    return _program(_Made(step, begin, score, optimizer), mesh, trained, frozen, batches)


def dpo_program(cfg: Config, mesh: jax.sharding.Mesh) -> Program:
    """DPO, whose reference policy is the captioner that it began with."""
    declared = adapters.declare(cfg)
    trained, _ = _policy(declared, cfg, "dpo")
    optimizer = make_optimizer(cfg.dpo.optimizer, stage_steps(cfg, "dpo"), trained)
    step = functools.partial(dpo_step, cfg=cfg, optimizer=optimizer)
    reference = dataclasses.replace(declared, encoders=drop_encoders(declared.encoders, cfg))
    frozen = freeze.kept(abstract_weights(reference, mesh), cfg)
    batches = abstract_batches(dataclasses.replace(cfg, data=stage_data(cfg, "dpo")), cfg.dpo.batch)
    made = _Made(step, functools.partial(controls.begin, optimizer=optimizer), None, optimizer)
    return _program(made, mesh, trained, frozen, batches)


def _policy(declared: Params, cfg: Config, stage: Literal["grpo", "dpo"]) -> tuple[Tree, Params]:
    """`freeze.split_policy`. Raises ConfigError where it would train whole weights although adapters are asked for."""
    of, name = (cfg.grpo, "Emo-GRPO") if stage == "grpo" else (cfg.dpo, "DPO")
    trained, rest = freeze.split_policy(declared, of)
    if cfg.lora.targets and not jax.tree.leaves(adapters.of(trained)):
        raise ConfigError(
            f"lora.targets={cfg.lora.targets} name no linear map of what {name} trains, {stage}.train={of.train}: all "
            "of its weights would be trained. Name maps of these parts too, train those with adapters, or give "
            f"{name} no targets (adapters of its cold start then become part of the weights)"
        )
    return trained, rest


def stage_data(cfg: Config, stage: str) -> Data:
    """What a stage's batches are made by: those of DPO have the captions of pairs."""
    return dataclasses.replace(cfg.data, targets=cfg.dpo.captions) if stage == "dpo" else cfg.data


def stage_steps(cfg: Config, stage: str) -> int:
    return cfg.sft_steps if stage == "sft" and cfg.sft_steps is not None else cfg.steps


@dataclass(frozen=True)
class _Made:
    """What a stage's functions are."""

    step: Step
    begin: Callable[[Tree], TrainState]
    score: RewardFunction | None
    optimizer: optax.GradientTransformation


def _program(made: _Made, mesh: jax.sharding.Mesh, declared: Tree, frozen: Tree, batches: Sequence[Batch]) -> Program:
    state = abstract_state(declared, made.begin, mesh)
    buckets = tuple(with_shardings(batch, sharding.by_clip(mesh, len(batch.clip_id))) for batch in batches)
    key = with_shardings(jax.eval_shape(lambda: jax.random.key(0)), sharding.replicated(mesh))
    jitted = jax.jit(
        made.step,
        in_shardings=jax.tree.map(lambda x: x.sharding, (state, frozen, buckets[-1], key)),
        out_shardings=(jax.tree.map(lambda x: x.sharding, state), None),  # of scalars, and as the step says
        donate_argnums=0,
    )
    return Program(jitted, made.begin, made.score, made.optimizer, mesh, state, frozen, buckets, key)


def with_shardings(tree: Tree, shardings: Tree) -> Tree:
    """Shapes with shardings; one sharding serves a whole tree."""
    if isinstance(shardings, jax.sharding.Sharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, shardings)


def abstract_weights(declared: Tree, mesh: jax.sharding.Mesh) -> Tree:
    """Shapes and shardings of declared weights, float32."""
    return with_shardings(param.abstract(declared), sharding.shardings(declared, mesh))


def abstract_state(
    declared: Tree,
    begin: Callable[[Tree], TrainState],
    mesh: jax.sharding.Mesh,
) -> TrainState:
    """Shapes and shardings of a state. A moment of the optimizer lies where its weight lies, if it has its shape."""
    weights, everywhere = abstract_weights(declared, mesh), sharding.replicated(mesh)
    state = jax.eval_shape(begin, weights)
    places = dict(jax.tree.leaves_with_path(weights))

    def beside(path: tuple[Any, ...], moment: Any) -> Any:
        """The path of a moment ends with its weight's, whatever the optimizer puts before it."""
        of = (places[path[i:]] for i in range(len(path)) if path[i:] in places)
        return with_shardings(moment, next((w.sharding for w in of if w.shape == moment.shape), everywhere))

    return TrainState(
        step=with_shardings(state.step, everywhere),
        params=weights,
        opt_state=jax.tree.map_with_path(beside, state.opt_state),
        skipped=with_shardings(state.skipped, everywhere),
        reference=None if state.reference is None else weights,
        controls=with_shardings(state.controls, everywhere),
    )


def new_state(program: Program, params: Tree) -> TrainState:
    """Step 0 with the given weights, laid out as the program wants them; `params` are copied."""
    return jax.jit(program.begin, out_shardings=jax.tree.map(lambda x: x.sharding, program.state))(params)


def abstract_batches(cfg: Config, clips: int) -> list[Batch]:
    """The shapes of a batch of each length bucket, without references."""
    return [abstract_batch(cfg, clips, seconds) for seconds in cfg.data.audio_seconds]


def abstract_batch(cfg: Config, clips: int, seconds: float) -> Batch:
    """The shapes of a batch of clips of `seconds` of audio, without references."""
    data = cfg.data
    batch = batch_shapes(
        clips,
        samples=round(seconds * 16_000),
        frames=data.frames,
        size=data.frame_size,
        transcript=data.transcript_tokens,
        targets=data.targets,
        caption=cfg.caption_tokens,
        concepts=len(cfg.reward.concepts),
    )
    return features.with_features(cfg, batch)


def abstract_references(cfg: Config, static: rewards.RewardStatic) -> References:
    """Shapes of what the reward reads of the clips of a batch: those of no clips, and as many rows as there are."""
    nothing = rewards.Reader(cfg.reward, static.parts, None, static.end, sentence=static.sentence)
    found = rewards.references(nothing, (), cfg.data.references)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((cfg.grpo.rolled, *x.shape[1:]), x.dtype), found)
