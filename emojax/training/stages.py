"""The two stages from a configuration to a finished run directory: the cold start, then Emo-GRPO."""

import dataclasses
import os
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from emojax import param, rewards
from emojax.config import Config, ConfigError, presets
from emojax.corpus import source
from emojax.data.batches import training_batches
from emojax.data.clips import Clip, label_numbers
from emojax.data.feature_files import FeatureFolder
from emojax.data.features import FeatureSource
from emojax.data.text import decode, train_tokenizer
from emojax.decoder import captioner, pretrained
from emojax.encoders.features import drop_encoders
from emojax.errors import RunError
from emojax.parallel import hosts, sharding
from emojax.rewards.sentence import load_tokenizer
from emojax.storage import write_atomically
from emojax.training import adapters, aot, checkpoint, executable, freeze, trace
from emojax.training.features import check_features, check_weights, feature_source
from emojax.training.grpo import Frozen
from emojax.training.loop import train
from emojax.training.program import Program, abstract_weights, grpo_program, new_state, sft_program, stage_steps
from emojax.training.run import RunOptions, by_first, open_run, stage_of, trained
from emojax.training.stage_mesh import stage_mesh
from emojax.training.stop import listening
from emojax.types import References, Samples, TrainState, Tree

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Progress = Callable[[int, int, dict[str, float]], None]  # step, steps, metrics


@listening()
def sft(
    cfg: Config,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    how: RunOptions = RunOptions(),
    progress: Progress,
) -> None:
    """The cold start: trains the captioner, but for what `sft.freeze` names, from its pretrained and random weights.

    Raises:
      RunError, ConfigError, ManifestError: the run directory, the settings or the clips cannot be used.
      Stopped: SIGTERM came; `resume` goes on.
      FileNotFoundError, ValueError: pretrained weights that are not there, or that do not fit.
    """
    how = dataclasses.replace(how, began=how.began or time.time())
    trace.check(how.profile, stage_steps(cfg, "sft"), "sft")
    executable.check(how.executable, "sft")
    cfg, folder = _begun(cfg, out, "sft", None, resume, overwrite)
    clips = _captioned(source.split(source.manifest(cfg), "train"))
    features_given = feature_source(cfg, clips, folder)
    tokenizer = run_tokenizer(out, cfg, clips, None)
    program = sft_program(cfg, stage_mesh(cfg, "sft"))
    _agree(program, "sft")
    state, frozen = checkpoint.restore(out, program.state), _loaded(program, cfg)
    if state is None:
        like = adapters.plain(param.merge(program.state.params, frozen))
        start = adapters.begin(pretrained.initial(cfg, like), cfg, program.mesh)
        learnt, frozen = freeze.split(start, cfg.sft.freeze)
        if jax.tree.leaves(frozen):
            checkpoint.save_tree(out / "start", frozen)
        state = new_state(program, learnt)
        del start, learnt
    elif jax.tree.leaves(frozen):
        frozen = checkpoint.restore_tree(out / "start", frozen)
    check_weights(folder, frozen.encoders, cfg)
    frozen = dataclasses.replace(frozen, encoders=drop_encoders(frozen.encoders, cfg))
    frozen = _kept(frozen, program.frozen, cfg)
    _run(program, state, frozen, clips, features_given, tokenizer, None, cfg, out, "sft", cfg.sft.batch, how, progress)


@listening()
def grpo(
    cfg: Config,
    out: Path,
    *,
    init: Path | None,
    resume: bool = False,
    overwrite: bool = False,
    how: RunOptions = RunOptions(),
    progress: Progress,
) -> None:
    """Emo-GRPO from the captioner of the run `init`; None: from pretrained and random weights. Raises as `sft`."""
    how = dataclasses.replace(how, began=how.began or time.time())
    trace.check(how.profile, stage_steps(cfg, "grpo"), "grpo")
    executable.check(how.executable, "grpo")
    cfg, folder = _begun(cfg, out, "grpo", init, resume, overwrite)
    clips = _captioned(source.split(source.manifest(cfg), "train"))
    features_given = feature_source(cfg, clips, folder)
    tokenizer = run_tokenizer(out, cfg, clips, init)
    model, static = rewards.build(cfg.reward, tokenizer)
    program = grpo_program(cfg, stage_mesh(cfg, "grpo"), model, static)
    _agree(program, "grpo")
    start = _start(cfg, out, init, program)
    check_weights(folder, start.encoders, cfg)
    frozen = Frozen(
        encoders=_kept(drop_encoders(start.encoders, cfg), program.frozen.encoders, cfg),
        reference=_kept(start.decoder, program.frozen.reference, cfg),
        reward=sharding.everywhere(model, program.mesh),
    )
    captions = [clip.captions for clip in clips]
    references = rewards.references(static, model, load_tokenizer(cfg.reward.model), captions, cfg.data.references)
    state = checkpoint.restore(out, program.state)
    if state is None:
        state = new_state(program, freeze.split(start.decoder, cfg.grpo.freeze, "decoder.")[0])
    del start
    _run(
        program,
        state,
        frozen,
        clips,
        features_given,
        tokenizer,
        references,
        cfg,
        out,
        "grpo",
        cfg.grpo.batch,
        how,
        progress,
    )


def _begun(
    cfg: Config, out: Path, stage: str, init: Path | None, resume: bool, overwrite: bool
) -> tuple[Config, FeatureFolder | None]:
    """The configuration with the sizes of its pretrained parts, once all that it needs is there; opens the run."""
    source.check(cfg)
    fresh = init is None and not (resume and (out / "run.json").exists())
    cfg = pretrained.resolve(cfg, fetch=fresh)
    folder = check_features(cfg, stage)
    open_run(out, stage, cfg, resume, overwrite)
    return cfg, folder


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


def _run(
    program: Program,
    state: TrainState,
    frozen: Tree,
    clips: Sequence[Clip],
    features_given: FeatureSource,
    tokenizer: "Tokenizer",
    references: References | None,
    cfg: Config,
    out: Path,
    stage: str,
    batch: int,
    how: RunOptions,
    progress: Progress,
) -> None:
    steps = stage_steps(cfg, stage)
    if int(state.step) >= steps:
        return
    batches = training_batches(
        clips,
        tokenizer,
        cfg.data,
        caption_tokens=cfg.caption_tokens,
        end_token=cfg.model.decoder.end_token,
        batch=batch,
        seed=cfg.seed,
        start=int(state.step),
        emotions=np.array(label_numbers([clip.emotion for clip in clips], cfg.reward.concepts), np.int32),
        references=references,
        rows=sharding.rows_here(program.mesh, batch),
        features=features_given,
    )
    train(
        program,
        state,
        frozen,
        batches,
        sharding.everywhere(jax.random.key(cfg.seed), program.mesh),
        cfg=cfg,
        run=out,
        how=how,
        steps=steps,
        words=lambda samples: _words(samples, clips, tokenizer),
        progress=lambda step, metrics: progress(step, steps, metrics),
    )


def _captioned(clips: Sequence[Clip]) -> list[Clip]:
    """Raises ConfigError where no clip has a caption to learn from."""
    kept = [clip for clip in clips if clip.captions]
    if not kept:
        raise ConfigError("no training clip has a caption; training needs `captions` in the manifest")
    return kept


def run_tokenizer(out: Path, cfg: Config, clips: Sequence[Clip], init: Path | None) -> "Tokenizer":
    """The run's own tokenizer, kept in the run: read, or taken from `init` or the pretrained decoder, or trained."""
    from tokenizers import Tokenizer

    path = out / "tokenizer.json"

    def make() -> None:
        if path.exists():
            return
        if init is not None:
            text = (trained(init) / "tokenizer.json").read_text()
        elif cfg.model.decoder.weights:
            text = pretrained.tokenizer(cfg).to_str()
        else:
            text = train_tokenizer(source.texts(clips), cfg.model.decoder.vocab).to_str()
        write_atomically(path, text)

    by_first(make, f"write {path}")
    return Tokenizer.from_str(path.read_text())


def _start(cfg: Config, out: Path, init: Path | None, program: Program) -> captioner.Params:
    """The captioner that Emo-GRPO begins with, kept in the run: its encoders and the reference policy.

    Adapters of the run `init` that are those of `cfg` are gone on with; others become part of the weights.
    """
    abstract = abstract_weights(adapters.declare(cfg), program.mesh)
    path = out / "start"
    if not checkpoint.has_tree(path):
        if init is None:
            plain = pretrained.initial(cfg, adapters.plain(abstract))
            params = adapters.begin(plain, cfg, program.mesh)
        else:
            was = presets.read_json(trained(init) / "config.json").lora
            params = adapters.fitted(load_params(trained(init), cfg, program.mesh), was, cfg, program.mesh)
        checkpoint.save_tree(path, params)
    return checkpoint.restore_tree(path, abstract)


def load_params(run: Path, cfg: Config, mesh: jax.sharding.Mesh, which: str = "last") -> captioner.Params:
    """The captioner of a checkpoint of a run, with `cfg`'s shapes and the run's own adapters, float32.

    Args:
      which: "last", "best" or a step (`checkpoint.restore_params`).
    Raises:
      RunError: no such checkpoint, or another model.
    """
    theirs = presets.read_json(run / "config.json")

    def shape(cfg: Config) -> tuple:
        return cfg.model, cfg.data.frame_size, [concept.name for concept in cfg.reward.concepts]

    if shape(theirs) != shape(cfg):
        raise RunError(
            f"{run} has another model than this configuration; use the same `model`, `data.frame_size` and names of "
            "`reward.concepts`"
        )
    abstract = abstract_weights(adapters.declare(dataclasses.replace(cfg, lora=theirs.lora)), mesh)
    if stage_of(run) == "sft":
        learnt, rest = freeze.split(abstract, theirs.sft.freeze)
    else:
        learnt, rest = freeze.split(abstract.decoder, theirs.grpo.freeze, "decoder.")[0], abstract
    params = checkpoint.restore_params(run, learnt, which)
    start = checkpoint.restore_tree(run / "start", rest) if jax.tree.leaves(rest) else rest
    if stage_of(run) == "sft":
        return param.merge(params, start)
    return start.replace(decoder=param.merge(params, start.decoder))


def _words(samples: Samples, clips: Sequence[Clip], tokenizer: "Tokenizer") -> list[dict[str, Any]]:
    """The samples of one clip as text."""
    names = {zlib.crc32(clip.id.encode()): clip.id for clip in clips}
    return [
        {"id": names[int(samples.clip_id)], "caption": decode(tokenizer, ids, mask), "reward": float(reward)}
        for ids, mask, reward in zip(samples.ids, samples.mask, samples.reward, strict=True)
    ]
