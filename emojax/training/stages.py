"""The two stages from a configuration to a finished run directory: the cold start, then Emo-GRPO."""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from emojax import presets, rewards, sharding
from emojax.config import Config, ConfigError
from emojax.data import source
from emojax.data.batches import training_batches
from emojax.data.clips import Clip, label_numbers
from emojax.data.text import decode, train_tokenizer
from emojax.decoder import captioner
from emojax.nn import param
from emojax.rewards.sentence import load_tokenizer
from emojax.training import checkpoint
from emojax.training.grpo import Frozen
from emojax.training.loop import train
from emojax.training.program import Program, grpo_program, new_state, place, sft_program, stage_steps
from emojax.training.run import RunError, open_run, stage_of, trained, write_atomically
from emojax.training.sft import Nothing
from emojax.types import References, Samples, Tree

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Progress = Callable[[int, int, dict[str, float]], None]  # step, steps, metrics


def sft(cfg: Config, out: Path, *, resume: bool = False, overwrite: bool = False, progress: Progress) -> None:
    """The cold start: trains the whole captioner from random weights. Raises RunError, ConfigError, ManifestError."""
    source.check(cfg)
    open_run(out, "sft", cfg, resume, overwrite)
    clips = _captioned(source.split(source.manifest(cfg), "train"))
    tokenizer = run_tokenizer(out, cfg, clips, None)
    program = sft_program(cfg, sharding.make_mesh(cfg))

    def begin() -> Tree:
        declared = captioner.declare(cfg)
        make = jax.jit(lambda key: param.init(declared, key), out_shardings=sharding.shardings(declared, program.mesh))
        return make(jax.random.fold_in(jax.random.key(cfg.seed), 0))

    _run(program, begin, Nothing(), clips, tokenizer, None, cfg, out, "sft", cfg.sft.batch, progress)


def grpo(
    cfg: Config,
    out: Path,
    *,
    init: Path | None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress,
) -> None:
    """Emo-GRPO from the captioner of the run `init`; None begins with random weights. Raises as `sft`."""
    source.check(cfg)
    open_run(out, "grpo", cfg, resume, overwrite)
    clips = _captioned(source.split(source.manifest(cfg), "train"))
    tokenizer = run_tokenizer(out, cfg, clips, init)
    model, static = rewards.build(cfg.reward, tokenizer)
    program = grpo_program(cfg, sharding.make_mesh(cfg), model, static)
    start = _start(cfg, out, init, program)
    frozen = Frozen(
        encoders=start.encoders,
        reference=start.decoder,
        reward=jax.device_put(model, sharding.replicated(program.mesh)),
    )
    captions = [clip.captions for clip in clips]
    references = rewards.references(static, model, load_tokenizer(cfg.reward.model), captions, cfg.data.references)
    _run(
        program, lambda: start.decoder, frozen, clips, tokenizer, references, cfg, out, "grpo", cfg.grpo.batch, progress
    )


def _run(
    program: Program,
    begin: Callable[[], Tree],
    frozen: Tree,
    clips: Sequence[Clip],
    tokenizer: "Tokenizer",
    references: References | None,
    cfg: Config,
    out: Path,
    stage: str,
    batch: int,
    progress: Progress,
) -> None:
    with checkpoint.manager(out, cfg.keep) as checkpoints:
        state = checkpoint.restore(checkpoints, program.state)
    if state is None:
        state = new_state(program, begin())
    steps = stage_steps(cfg, stage)
    if int(state.step) >= steps:
        return
    batches = training_batches(
        clips,
        tokenizer,
        cfg.data,
        caption_tokens=cfg.caption_tokens,
        batch=batch,
        seed=cfg.seed,
        start=int(state.step),
        emotions=np.array(label_numbers([clip.emotion for clip in clips], cfg.reward.concepts), np.int32),
        references=references,
        process=(jax.process_index(), jax.process_count()),
    )
    train(
        program,
        state,
        frozen,
        batches,
        jax.device_put(jax.random.key(cfg.seed), sharding.replicated(program.mesh)),
        cfg=cfg,
        run=out,
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
    """The run's own tokenizer: read, or taken over from `init`, or trained on the clips' texts; kept in the run."""
    from tokenizers import Tokenizer

    path = out / "tokenizer.json"
    if not path.exists():
        if init is not None:
            text = (trained(init) / "tokenizer.json").read_text()
        else:
            text = train_tokenizer(source.texts(clips), cfg.model.decoder.vocab).to_str()
        write_atomically(path, text)
    return Tokenizer.from_file(str(path))


def _start(cfg: Config, out: Path, init: Path | None, program: Program) -> captioner.Params:
    """The captioner that Emo-GRPO begins with, kept in the run: its encoders and the reference policy."""
    declared = captioner.declare(cfg)
    abstract = place(param.abstract(declared), sharding.shardings(declared, program.mesh))
    path = out / "start"
    if not path.exists():
        if init is None:
            params = param.init(declared, jax.random.fold_in(jax.random.key(cfg.seed), 0))
        else:
            params = load_params(trained(init), cfg, program.mesh)
        checkpoint.save_tree(path, params)
    return checkpoint.restore_tree(path, abstract)


def load_params(run: Path, cfg: Config, mesh: jax.sharding.Mesh) -> captioner.Params:
    """The captioner of a run's last checkpoint, with `cfg`'s shapes.

    Raises:
      RunError: no checkpoint yet, or another model.
    """
    theirs = presets.read_json(run / "config.json")

    def shape(cfg: Config) -> tuple:
        return cfg.model, cfg.data.frame_size, [concept.name for concept in cfg.reward.concepts]

    if shape(theirs) != shape(cfg):
        raise RunError(
            f"{run} has another model than this configuration; use the same `model`, `data.frame_size` and names of "
            "`reward.concepts`"
        )
    stage = stage_of(run)
    declared = captioner.declare(cfg)
    abstract = place(param.abstract(declared), sharding.shardings(declared, mesh))
    trained_part = abstract if stage == "sft" else abstract.decoder
    with checkpoint.manager(run, theirs.keep) as checkpoints:
        params = checkpoint.restore_params(checkpoints, trained_part)
    if params is None:
        raise RunError(f"{run} has no complete checkpoint yet; go on with it by --resume")
    if stage == "sft":
        return params
    return checkpoint.restore_tree(run / "start", abstract).replace(decoder=params)


def _words(samples: Samples, clips: Sequence[Clip], tokenizer: "Tokenizer") -> list[dict[str, Any]]:
    """The samples of the first clip of a batch, as text."""
    names = {zlib.crc32(clip.id.encode()): clip.id for clip in clips}
    return [
        {"id": names[int(samples.clip[0])], "caption": decode(tokenizer, ids, mask), "reward": float(reward)}
        for ids, mask, reward in zip(samples.ids[0], samples.mask[0], samples.reward[0], strict=True)
    ]
