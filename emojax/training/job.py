"""A stage's work as one record, made when the stage begins: what all stages check and read before they differ."""

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emojax.config import Config, ConfigError, Data
from emojax.corpus import source
from emojax.data.clips import Clip
from emojax.data.feature_files import FeatureFolder
from emojax.data.features import MEDIA, FeatureSource
from emojax.data.pairs import paired
from emojax.data.text import train_tokenizer
from emojax.decoder import pretrained
from emojax.encoders import media
from emojax.hub import tokenizer_files
from emojax.parallel import hosts
from emojax.parallel.meshes import Stage
from emojax.storage import path_of, write_atomically
from emojax.training import executable, initial, trace
from emojax.training.features import check_features, feature_source
from emojax.training.initial import Init
from emojax.training.program import stage_data, stage_steps
from emojax.training.run import RunOptions, init_of, open_run, stepped
from emojax.training.run_files import reads, require_apart

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)
Progress = Callable[[int, int, dict[str, float]], None]  # step, steps, metrics


def silent(step: int, steps: int, metrics: dict[str, float]) -> None:
    """A Progress that shows nothing."""


@dataclass(frozen=True)
class Job:
    stage: Stage
    cfg: Config  # with the sizes of its pretrained parts
    out: Path  # the run directory
    options: RunOptions = RunOptions()
    progress: Progress = silent
    clips: Sequence[Clip] = ()  # of the training split, those that teach; of DPO one a pair
    tokenizer: "Tokenizer | None" = None  # of the decoder; None: no clip is read
    features: FeatureSource = MEDIA  # what is read of them instead of media
    folder: FeatureFolder | None = None  # that `data.features` names
    manifest: Path | None = None  # that the clips are of
    init: Init | None = None  # the captioner that it begins with; None: pretrained and random weights

    @property
    def steps(self) -> int:
        return stage_steps(self.cfg, self.stage)

    @property
    def last(self) -> int:
        """The step that this session ends after."""
        return self.steps if self.options.until is None else min(self.steps, self.options.until)

    @property
    def batch(self) -> int:
        """Clips of a global batch."""
        return self.cfg.grpo.rolled if self.stage == "grpo" else getattr(self.cfg, self.stage).batch

    @property
    def data(self) -> Data:
        return stage_data(self.cfg, self.stage)


def begin(
    stage: Stage,
    cfg: Config,
    out: Path,
    *,
    init: Init | None,
    resume: bool,
    overwrite: bool,
    options: RunOptions,
    progress: Progress,
) -> Job:
    """Checks all that the stage needs, opens its run and reads its clips and its tokenizer.

    Args:
      init: captioner that the stage starts from; None: pretrained and random weights.
    Raises:
      RunError, ConfigError, ManifestError, FileNotFoundError: as `stages.sft`.
    """
    options = dataclasses.replace(options, began=options.began or time.time())
    if options.until is not None and options.until < 1:
        raise ConfigError(f"--until wants a step, counted from 1; got {options.until}")
    trace.check(options.profile, stage_steps(cfg, stage), stage)
    executable.check(options.executable, stage)
    source.check(cfg)
    begun = resume and stepped(out)
    if not begun:
        require_apart(out, {"--init": init if init and path_of(init).exists() else None, **reads(cfg)})
    fresh = init is None and not begun
    cfg = pretrained.resolve(cfg, fetch=fresh)
    if init is not None and not begun:
        initial.require_same(init, cfg)
    folder = check_features(cfg, stage)
    manifest = source.manifest(cfg)
    clips = source.split(manifest, "train")
    if not begun:
        require_apart(out, {}, clips)
    clips = teaching(clips, cfg, stage)
    open_run(out, stage, cfg, resume, overwrite, init)
    init = init or init_of(out)  # of a run that took steps and has no checkpoint yet
    features = feature_source(cfg, clips, folder)
    tokenizer = run_tokenizer(out, cfg, clips, init)
    return Job(stage, cfg, out, options, progress, clips, tokenizer, features, folder, manifest=manifest, init=init)


def teaching(clips: Sequence[Clip], cfg: Config, stage: Stage) -> list[Clip]:
    """The clips that a stage learns from: those with captions, and for the cold start those with media and a label that
    one of its losses names, too; for DPO one a pair. Raises ConfigError where none has a caption, and as `paired`."""
    if stage == "dpo":
        return paired(clips, cfg.dpo)
    captioned = sum(bool(clip.captions) for clip in clips)
    if not captioned:
        raise ConfigError("no training clip has a caption; training needs `captions` in the manifest")

    def labelled(clip: Clip) -> bool:
        said = (cfg.sft.emotion_weight and clip.votes) or (media.values_learnt(cfg) and clip.attributes)
        return stage == "sft" and bool(said) and (clip.audio is not None or clip.video is not None)

    found = [clip for clip in clips if clip.captions or labelled(clip)]
    if captioned < len(clips):
        told = (captioned, len(found) - captioned, len(clips) - len(found))
        log.info("training clips: %d with captions, %d with labels alone, %d with neither left out", *told)
    return found


def run_tokenizer(out: Path, cfg: Config, clips: Sequence[Clip], init: Init | None) -> "Tokenizer":
    """The run's own tokenizer, kept in the run: read, or taken from `init` or the pretrained decoder, or trained."""
    path = out / "tokenizer.json"

    def make() -> None:
        if not path.exists():
            write_atomically(path, make_tokenizer(cfg, clips, init).to_str())

    hosts.by_first(make, f"write {path}")
    return tokenizer_files.read(path)


def make_tokenizer(cfg: Config, clips: Sequence[Clip], init: Init | None) -> "Tokenizer":
    """That of the captioner to begin with, or of the pretrained decoder, or one that is trained on the clips' texts."""
    if init is not None:
        return initial.tokenizer(init)
    if cfg.model.decoder.weights:
        return pretrained.tokenizer(cfg)
    return train_tokenizer(source.texts(clips), cfg.model.decoder.vocab)
