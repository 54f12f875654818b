"""One Emo-GRPO step, looked at: what was sampled, what it earned, part by part, and which way the weights are pushed.

Training runs the same functions; here one program also hands out what a run keeps to itself.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from emojax import param, rewards
from emojax.config import Config, ConfigError
from emojax.corpus import source
from emojax.data.batches import Batching, training_batches
from emojax.data.clips import Clip
from emojax.data.text import decode
from emojax.decoder import pretrained
from emojax.encoders.features import drop_encoders
from emojax.parallel import sharding
from emojax.training import adapters, controls, freeze, initial
from emojax.training.features import check_features, feature_source
from emojax.training.grpo import Frozen, grpo_step
from emojax.training.initial import Init
from emojax.training.job import make_tokenizer
from emojax.training.program import abstract_weights, custom_grpo_program, grpo_program
from emojax.training.roll_out import RewardFunction
from emojax.training.stage_mesh import stage_mesh
from emojax.types import Batch, References, TrainState, Tree

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Seen:
    """What one step did, on the host. B clips, G samples of each, T positions."""

    clips: list[str]  # their ids
    captions: list[list[str]]  # G of each clip
    ids: np.ndarray  # i32[B G T] tokens
    mask: np.ndarray  # bool[B G T] up to and including the end token
    reward: np.ndarray  # f32[B G]
    parts: dict[str, np.ndarray]  # f32[B G] of the reward, by name
    advantage: np.ndarray  # f32[B G]
    gradients: Tree  # of the loss, like the weights that are trained; of the last update, where there are several
    metrics: dict[str, float]  # as a run logs them

    def __repr__(self) -> str:
        b, g = self.reward.shape
        return f"Seen({b} clips x {g} captions, reward {np.nanmean(self.reward):.3f}, loss {self.metrics['loss']:.3g})"

    def norms(self, depth: int = 2) -> dict[str, float]:
        """Norm of the gradient by part of the decoder, the parts named by so many steps of their path."""
        squares: dict[str, float] = {}
        for at, leaf in jax.tree_util.tree_leaves_with_path(self.gradients):
            part = ".".join(param.dotted(at).split(".")[:depth])
            squares[part] = squares.get(part, 0.0) + float((np.asarray(leaf, np.float64) ** 2).sum())
        return {part: square**0.5 for part, square in squares.items()}


class Remembered(NamedTuple):
    """State of an optimizer that keeps the gradients it was given."""

    inner: Any
    gradients: Tree


class Step:
    """One compiled Emo-GRPO step.

        step = emojax.Step(emojax.preset("tiny"))
        state = step.start()
        for batch in step.batches(3):
            state, seen = step(state, batch)
            print(seen.captions[0], seen.reward[0], seen.norms())

    A state is not used up by a step: the same one may be stepped from again.
    """

    def __init__(
        self,
        cfg: Config,
        clips: Sequence[Clip] | None = None,
        *,
        init: Init | None = None,
        reward: RewardFunction | None = None,
        arrays: "Callable[[Tokenizer], Tree] | None" = None,
        devices: Sequence[Any] | None = None,
    ) -> None:
        """
        Args:
          clips: with captions; None: the training split of the configuration.
          init: captioner to begin with, a run's or an exported one; None: pretrained and random weights.
          reward: a traceable (arrays, ids i32[B G T], mask bool[B G T], None) -> reward f32[B G] and its parts by name,
            of one's own, instead of the configuration's.
          arrays: makes, of the policy's tokenizer, the arrays that `reward` reads: arguments of the program.
          devices: `jax.Device`s; None: all.
        Raises:
          ConfigError, RunError, FileNotFoundError: as training does.
        """
        if cfg.grpo.samples:
            raise ConfigError("a step that is looked at samples for itself; leave grpo.samples empty")
        cfg = pretrained.resolve(cfg, fetch=init is None)
        found = source.split(source.manifest(cfg), "train") if clips is None else clips
        self.cfg, self.clips = cfg, [clip for clip in found if clip.captions]
        if not self.clips:
            raise ConfigError("no clip has a caption; a step learns from `captions`")
        self.tokenizer = make_tokenizer(cfg, self.clips, init)
        self.mesh = stage_mesh(cfg, "grpo", devices)
        self._references: Callable[[np.ndarray], References] | None = None
        if reward is None:
            end = cfg.model.decoder.end_token
            judge = rewards.make_reader(cfg.reward, self.tokenizer, end=end, training=self.clips)
            model, static = rewards.build(judge)
            program, judged = grpo_program(cfg, self.mesh, model, static), model
            self._references = rewards.lookup(judge, self.clips, cfg.data.references)
        else:
            judged = () if arrays is None else arrays(self.tokenizer)
            program = custom_grpo_program(cfg, self.mesh, judged, reward, None)
        if init is None:
            like = abstract_weights(adapters.plain(adapters.declare(cfg)), self.mesh)
            params = adapters.begin(pretrained.initial(cfg, like), cfg, self.mesh)
        else:
            params = initial.begin(init, cfg, self.mesh)
        self._policy, rest = freeze.split_policy(params, cfg.grpo)
        held = params if cfg.grpo.keeps_reference else rest
        self._frozen = Frozen(
            encoders=freeze.kept(drop_encoders(held.encoders, cfg), cfg),
            reference=freeze.kept(held.decoder, cfg),
            reward=sharding.everywhere(judged, self.mesh),
        )
        self._optimizer = remembering(program.optimizer)
        self._key = sharding.everywhere(jax.random.key(cfg.seed), self.mesh)
        score = program.score
        assert score is not None, "a program of Emo-GRPO has a reward"
        self._step = jax.jit(functools.partial(grpo_step, cfg=cfg, optimizer=self._optimizer, reward=score))

    def __repr__(self) -> str:
        return f"Step({self.cfg.name!r}, {len(self.clips)} clips, {self.mesh.size} devices)"

    def start(self) -> TrainState:
        """The state before the first step."""
        with jax.set_mesh(self.mesh):
            return jax.jit(functools.partial(controls.begin, optimizer=self._optimizer, grpo=self.cfg.grpo))(
                self._policy
            )

    def batches(self, count: int, first: int = 0) -> Iterator[Batch]:
        """Batches `first` to `first + count - 1` of a run of this configuration, on the devices; decoded here."""
        folder = check_features(self.cfg)
        made = training_batches(
            self.clips,
            self.tokenizer,
            dataclasses.replace(self.cfg.data, workers=0),
            Batching(
                self.cfg.grpo.rolled,
                self.cfg.seed,
                self.cfg.caption_tokens,
                self.cfg.model.decoder.end_token,
                start=first,
            ),
            references=self._references,
            features=feature_source(self.cfg, self.clips, folder),
        )
        with closing(made):
            for _ in range(count):
                yield sharding.to_devices(next(made), self.mesh)

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Seen]:
        """The state after the step, and what was seen in it."""
        with jax.set_mesh(self.mesh):
            state, told = self._step(state, self._frozen, batch, self._key)
        metrics = jax.device_get(told)
        samples = metrics.pop("samples")
        names = {zlib.crc32(clip.id.encode()): clip.id for clip in self.clips}
        captions = [
            [decode(self.tokenizer, ids, mask) for ids, mask in zip(of_clip, masks, strict=True)]
            for of_clip, masks in zip(samples.ids, samples.mask, strict=True)
        ]
        seen = Seen(
            clips=[names[int(name)] for name in samples.clip_id],
            captions=captions,
            ids=samples.ids,
            mask=samples.mask,
            reward=samples.reward,
            parts=samples.parts,
            advantage=samples.advantage,
            gradients=state.opt_state.gradients,
            metrics={name: float(value) for name, value in metrics.items()},
        )
        return state, seen


def remembering(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same optimizer; its state also holds the gradients that it was last given."""

    def init(params: Tree) -> Remembered:
        return Remembered(optimizer.init(params), jax.tree.map(jnp.zeros_like, params))

    def update(grads: Tree, state: Remembered, params: Tree = None) -> tuple[Tree, Remembered]:
        updates, inner = optimizer.update(grads, state.inner, params)
        return updates, Remembered(inner, grads)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType] its states are any trees
