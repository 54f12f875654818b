"""The stages from a configuration to a finished run directory: the cold start, then Emo-GRPO, or DPO from pairs."""

import dataclasses
import os
import zlib
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from emojax import param, rewards
from emojax.config import Config
from emojax.data.batches import Batching, rows_read, training_batches
from emojax.data.clips import Clip, label_shares
from emojax.data.text import decode
from emojax.data.views import Hiding
from emojax.decoder import captioner, pretrained
from emojax.encoders import media
from emojax.encoders.features import drop_encoders
from emojax.parallel import hosts, sharding
from emojax.rewards import opposites
from emojax.rewards.facts import numbers
from emojax.training import adapters, aot, checkpoint, freeze, held_out, initial, lock
from emojax.training.features import check_weights
from emojax.training.grpo import Frozen
from emojax.training.initial import Init
from emojax.training.job import Job, Progress, begin, silent
from emojax.training.loop import train
from emojax.training.perturb import perturbed
from emojax.training.program import Program, abstract_weights, dpo_program, grpo_program, new_state, sft_program
from emojax.training.replayed import recorded, replayed
from emojax.training.run import RunOptions
from emojax.training.stage_mesh import stage_mesh
from emojax.training.stop import listening
from emojax.types import Samples, TrainState, Tree

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@listening()
def sft(
    cfg: Config,
    out: Path,
    *,
    init: Init | None = None,
    resume: bool = False,
    overwrite: bool = False,
    options: RunOptions = RunOptions(),
    progress: Progress = silent,
) -> None:
    """The cold start: trains the captioner, but for what `sft.freeze` names.

    Args:
      init: what it begins with, a run's captioner or an exported one; None: pretrained and random weights.

    Raises:
      RunError, ConfigError, ManifestError: settings, clips or a run directory that cannot be used as asked.
      Stopped: SIGTERM or Ctrl-C came; `resume` goes on.
      FileNotFoundError, ValueError: pretrained weights that are not there, or that do not fit.
    """
    with lock.run(out):
        job = begin("sft", cfg, out, init=init, resume=resume, overwrite=overwrite, options=options, progress=progress)
        cfg = job.cfg
        program = sft_program(cfg, stage_mesh(cfg, "sft"))
        _agree(program, "sft")
        state, frozen = checkpoint.restore(out, program.state), _loaded(program, cfg)
        if state is None:
            if job.init is None:
                like = adapters.plain(param.merge(program.state.params, frozen))
                start = adapters.begin(pretrained.initial(cfg, like), cfg, program.mesh)
            else:
                start = initial.begin(job.init, cfg, program.mesh)
            learnt, frozen = freeze.split(start, cfg.sft.freeze)
            frozen = freeze.loaded(frozen, cfg)
            if jax.tree.leaves(frozen):
                checkpoint.save_tree(out / "start", frozen)
            state = new_state(program, perturbed(learnt, cfg.perturb))
            del start, learnt
        elif jax.tree.leaves(frozen):
            frozen = checkpoint.restore_tree(out / "start", frozen)
        check_weights(job.folder, frozen.encoders, cfg)
        frozen = dataclasses.replace(frozen, encoders=drop_encoders(frozen.encoders, cfg))
        _run(job, program, state, _kept(frozen, program.frozen, cfg))


@listening()
def grpo(
    cfg: Config,
    out: Path,
    *,
    init: Init | None,
    resume: bool = False,
    overwrite: bool = False,
    options: RunOptions = RunOptions(),
    progress: Progress = silent,
) -> None:
    """Emo-GRPO from a captioner, as `sft` begins with one; raises as it does."""
    with lock.run(out):
        job = begin("grpo", cfg, out, init=init, resume=resume, overwrite=overwrite, options=options, progress=progress)
        cfg = job.cfg
        assert job.tokenizer is not None, "a job that `begin` made has one"
        program, judge, model, _ = judged(cfg, job.tokenizer, job.clips)
        _agree(program, "grpo")
        start = _start(cfg, out, job.init, program)
        check_weights(job.folder, start.encoders, cfg)
        learnt, rest = freeze.split_policy(start, cfg.grpo)
        held = start if cfg.grpo.keeps_reference else rest
        frozen = Frozen(
            encoders=_kept(drop_encoders(held.encoders, cfg), program.frozen.encoders, cfg),
            reference=_kept(held.decoder, program.frozen.reference, cfg),
            reward=sharding.everywhere(model, program.mesh),
        )
        state = checkpoint.restore(out, program.state)
        if state is None:
            state = new_state(program, perturbed(learnt, cfg.perturb))
        del start, learnt, rest, held
        _run(job, program, state, frozen, judge)


@listening()
def dpo(
    cfg: Config,
    out: Path,
    *,
    init: Init | None,
    resume: bool = False,
    overwrite: bool = False,
    options: RunOptions = RunOptions(),
    progress: Progress = silent,
) -> None:
    """DPO from a captioner, which is its reference policy, as `sft` begins with one; raises as it does.

    Where adapters are trained both policies share the weights beside them.
    """
    with lock.run(out):
        job = begin("dpo", cfg, out, init=init, resume=resume, overwrite=overwrite, options=options, progress=progress)
        cfg = job.cfg
        program = dpo_program(cfg, stage_mesh(cfg, "dpo"))
        _agree(program, "dpo")
        start = _start(cfg, out, job.init, program)
        check_weights(job.folder, start.encoders, cfg)
        state = checkpoint.restore(out, program.state)
        if state is None:
            state = new_state(program, perturbed(freeze.split_policy(start, cfg.dpo)[0], cfg.perturb))
        start = dataclasses.replace(start, encoders=drop_encoders(start.encoders, cfg))
        _run(job, program, state, _kept(start, program.frozen, cfg))


def judged(
    cfg: Config, tokenizer: "Tokenizer", training: Sequence[Clip] = ()
) -> tuple[Program, rewards.Reader, rewards.RewardModel, rewards.RewardStatic]:
    """Emo-GRPO's program, and the reward in it of captions in that tokenizer's tokens.

    Raises ConfigError for a reward that cannot tell emotions apart.
    """
    judge = rewards.make_reader(cfg.reward, tokenizer, end=cfg.model.decoder.end_token, training=training)
    opposites.check(judge)
    model, static = rewards.build(judge)
    return grpo_program(cfg, stage_mesh(cfg, "grpo"), model, static), judge, model, static


def _agree(program: Program, stage: str) -> None:
    """Several processes run one program: two would wait for each other for ever. Restoring waits, too, so not later.

    Raises ConfigError where they differ.
    """
    if jax.process_count() > 1:
        flags = {name: os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")}
        hosts.agree(f"{stage} program", {"fingerprint of the program": aot.lower(program).fingerprint, **flags})


def _loaded(program: Program, cfg: Config) -> captioner.Params:
    """Shapes of what the cold start does not train, as they are read and saved."""
    abstract = abstract_weights(adapters.declare(cfg), program.mesh)
    return freeze.loaded(freeze.split(abstract, cfg.sft.freeze)[1], cfg)


def _kept(tree: Tree, wanted: Tree, cfg: Config) -> Tree:
    """Frozen weights in the form and where the program wants them."""
    if cfg.frozen_precision == "float32":
        return tree  # no copy of it
    return jax.jit(lambda tree: freeze.kept(tree, cfg), out_shardings=jax.tree.map(lambda x: x.sharding, wanted))(tree)


def _hiding(job: Job) -> Hiding:
    sft, grpo = job.cfg.sft, job.cfg.grpo
    match job.stage:
        case "sft":
            return Hiding(sft.stream_dropout, sft.media_dropout, sft.transcript_dropout)
        case "grpo":
            return Hiding(grpo.stream_dropout, transcript=grpo.transcript_dropout)
        case "dpo":
            return Hiding()


def noise_of(cfg: Config) -> int:
    """The seed of what is drawn while training."""
    return cfg.seed if cfg.noise_seed is None else cfg.noise_seed


def _run(job: Job, program: Program, state: TrainState, frozen: Tree, judge: rewards.Reader | None = None) -> None:
    if int(state.step) >= job.last:
        return
    cfg = job.cfg
    assert job.tokenizer is not None, "a job that `begin` made has one"
    learns = job.stage == "sft" and media.values_learnt(cfg)
    known = [clip.attributes for clip in job.clips]
    attributes = numbers(cfg.reward.attributes, known) if learns else None
    batching = Batching(
        batch=job.batch,
        seed=cfg.seed,
        caption_tokens=cfg.caption_tokens,
        end_token=cfg.model.decoder.end_token,
        start=int(state.step),
        rows=sharding.rows_here(program.mesh, job.batch),
        hiding=_hiding(job),
        drawn=job.stage != "dpo",
    )
    references = None
    if judge is not None:
        read = rows_read(job.clips, cfg.data, batching, job.last - batching.start, job.features)
        references = rewards.lookup(judge, job.clips, cfg.data.references, read)
    batches = training_batches(
        job.clips,
        job.tokenizer,
        job.data,
        batching,
        emotions=label_shares(job.clips, cfg.reward.concepts),
        attributes=attributes,
        references=references,
        features=job.features,
    )
    if job.stage == "grpo" and cfg.grpo.samples:
        batches = replayed(batches, recorded(cfg), batching.start)
    evaluation = held_out.build(job, program, judge)
    key = sharding.everywhere(jax.random.key(noise_of(cfg)), program.mesh)
    with closing(batches):
        train(job, program, state, frozen, batches, key, partial(_words, job), evaluation)


def _start(cfg: Config, out: Path, init: Init | None, program: Program) -> captioner.Params:
    """The captioner that Emo-GRPO or DPO begins with, kept in the run: its encoders and the reference policy."""
    abstract = abstract_weights(adapters.declare(cfg), program.mesh)
    path = out / "start"
    if not checkpoint.has_tree(path):
        if init is None:
            plain = pretrained.initial(cfg, adapters.plain(abstract))
            params = adapters.begin(plain, cfg, program.mesh)
        else:
            params = initial.begin(init, cfg, program.mesh)
        checkpoint.save_tree(path, params)
    return checkpoint.restore_tree(path, abstract)


def _words(job: Job, samples: Samples) -> list[dict[str, Any]]:
    """The samples of one clip as text."""
    assert job.tokenizer is not None, "a job that `begin` made has one"
    names = {zlib.crc32(clip.id.encode()): clip.id for clip in job.clips}
    return [
        {
            "id": names[int(samples.clip_id)],
            "caption": decode(job.tokenizer, ids, mask),
            "reward": float(reward) if np.isfinite(reward) else None,  # JSON has no word for it
        }
        for ids, mask, reward in zip(samples.ids, samples.mask, samples.reward, strict=True)
    ]
