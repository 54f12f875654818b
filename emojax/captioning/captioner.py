"""A trained captioner at work: files or clips in, captions out, in jitted batches of a few fixed shapes."""

import dataclasses
import functools
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import struct

from emojax import param, rewards, storage
from emojax.captioning.decoding import Decoding
from emojax.captioning.ordered import in_order, repeated
from emojax.config import Config, ConfigError, Mesh, Sampling, presets
from emojax.decoder import captioner
from emojax.encoders.features import drop_encoders
from emojax.hub import tokenizer_files
from emojax.parallel import sharding
from emojax.training.features import check_features, check_weights, feature_source
from emojax.training.program import abstract_batch, with_shardings
from emojax.types import Array, Batch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from emojax.data.bulk import Bulk
    from emojax.data.clips import Clip
    from emojax.data.feature_files import FeatureFolder

log = logging.getLogger(__name__)


@struct.dataclass
class Captions:
    """Captions of a batch, `samples` of each clip."""

    ids: Array  # i32[B G T]
    mask: Array  # bool[B G T]
    logp: Array  # f32[B G] log-probability of the whole caption, nats
    emotions: Array | None  # f32[B G C] emotion coordinates


def caption_step(
    params: captioner.Params,
    reward: rewards.RewardModel | None,
    batch: Batch,
    key: Array,
    *,
    cfg: Config,
    static: rewards.RewardStatic | None,
    samples: int,
    sampling: Sampling | None,
) -> Captions:
    """Captions of a batch and where they lie among the emotions, in one program; `sampling` None is greedy."""
    with captioner.matmul_precision(cfg):
        _, out = captioner.sample(params, batch, key, cfg, group=samples, sampling=sampling)
        emotions = None
        if reward is not None and static is not None:
            emotions = rewards.coordinates(reward, static, out.ids, out.mask)
        return Captions(ids=out.ids, mask=out.mask, logp=jnp.where(out.mask, out.logp, 0).sum(-1), emotions=emotions)


_caption = jax.jit(caption_step, static_argnames=("cfg", "static", "samples", "sampling"))
_REACH = 16  # batches that may be read after a clip that waits for its length bucket to fill, where order is asked for


@dataclass(frozen=True)
class Captioner:
    """A trained captioner: what `emojax.load` returns."""

    cfg: Config
    params: captioner.Params
    tokenizer: "Tokenizer"
    reward: rewards.RewardModel | None  # for the emotion coordinates; None: they are left out
    static: rewards.RewardStatic | None
    mesh: jax.sharding.Mesh
    features: "FeatureFolder | None" = None  # features that `cfg.data.features` names, read instead of media

    def caption(
        self,
        files: Sequence[str | Path],
        *,
        batch_size: int = 16,
        samples: int = 1,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> list[dict[str, Any]]:
        """Captions media files; one record a file, in their order. See `records` for the arguments and the record."""
        from emojax.data.clips import clips_of_files

        clips = clips_of_files([Path(f) for f in files])
        # decoded in this process: a script without `if __name__ == "__main__"` cannot start workers
        decoding = Decoding(batch_size, samples, sampling, seed, workers=0)
        found = {record["id"]: record for record in self.records(clips, decoding)}
        return [found[clip.id] for clip in clips]

    def records(
        self,
        clips: Sequence["Clip"],
        decoding: Decoding = Decoding(),
        compiled: Callable[[float], None] = lambda seconds: None,
    ) -> Iterator[dict[str, Any]]:
        """Captions clips, each batch as soon as the clips read so far fill one of a length bucket.

        Neither the number of clips nor their lengths change what is in memory: a few batches are decoded at a time.

        Args:
          decoding: how. Where it is `ordered`, a clip whose length is rare goes in a batch that is partly filled, once
            16 batches of clips were read after it.
          compiled: told the seconds that compilation took, at the first batch of each length bucket.
        Yields:
          `id`, `caption`, `logprob` (nats, of the whole caption) and `emotions` (concept -> coordinate); with several
          samples those are the most probable one's, and `samples` lists all. `truncated_seconds` is how much longer
          the sound is than what the captioner hears. Of a file that cannot be decoded `id`, `file` and `error`.
        Raises:
          ConfigError: `ordered`, and an id is not unique; clips without features, where these are read.
        """
        from emojax.data.bulk import bulk_batches

        if decoding.ordered and (again := repeated(clip.id for clip in clips)) is not None:
            raise ConfigError(
                f"{again!r} is the id of more than one clip: unique ids are wanted to put captions in order"
            )
        run = functools.partial(
            _caption,
            self.params,
            self.reward,
            key=jax.random.key(decoding.seed),
            cfg=self.cfg,
            static=self.static,
            samples=decoding.samples,
            sampling=decoding.sampling,
        )
        data = dataclasses.replace(self.cfg.data, strict=False)
        data = data if decoding.workers is None else dataclasses.replace(data, workers=decoding.workers)
        batches = bulk_batches(
            clips,
            self.tokenizer,
            data,
            caption_tokens=self.cfg.caption_tokens,
            batch=decoding.batch_size,
            reach=_REACH * decoding.batch_size if decoding.ordered else None,
            features=feature_source(self.cfg, clips, self.features),
        )
        truncated = 0
        with closing(batches), jax.set_mesh(self.mesh):
            made = self._records(run, batches, compiled)
            for record in in_order(clips, made) if decoding.ordered else made:
                truncated += "truncated_seconds" in record
                yield record
        if truncated:
            log.warning(
                "clips longer than the last of data.audio_seconds, %g s, of whose sound only so much is heard: %d; "
                "their records say how much is not (truncated_seconds)",
                *(data.audio_seconds[-1], truncated),
            )

    def _records(
        self, run: Callable[..., Captions], batches: "Iterator[Bulk]", compiled: Callable[[float], None]
    ) -> Iterator[dict[str, Any]]:
        pending: tuple[list[Clip], Captions] | None = None
        lengths: set[int] = set()
        for kept, batch, errors in batches:
            new = batch is not None and batch.audio.shape[1] not in lengths
            if pending and new:  # words do not wait for the next program to be compiled
                yield from self._words(*pending)
                pending = None
            began, now = time.perf_counter(), None
            if batch is not None:
                with jax.transfer_guard("disallow"):  # around this alone: a generator's caller would be inside, too
                    now = kept, run(batch=sharding.to_devices(batch, self.mesh))  # returns once it is compiled
                lengths.add(batch.audio.shape[1])
            if new:
                compiled(time.perf_counter() - began)
            if pending:
                yield from self._words(*pending)  # words of one batch while the device makes the next
            pending = now
            for error in errors:
                yield {"id": error.id, "file": str(error.path), "error": error.why}
        if pending:
            yield from self._words(*pending)

    def _words(self, clips: "Sequence[Clip]", captions: Captions) -> Iterator[dict[str, Any]]:
        from emojax.data.reader import beyond
        from emojax.data.text import decode

        here: Any = jax.device_get(captions)
        for row, clip in enumerate(clips):
            found = []
            for g in range(here.ids.shape[1]):
                record: dict[str, Any] = {
                    "caption": decode(self.tokenizer, here.ids[row, g], here.mask[row, g]),
                    "logprob": float(here.logp[row, g]),
                }
                if here.emotions is not None:
                    z = here.emotions[row, g].tolist()
                    names = [concept.name for concept in self.cfg.reward.concepts]
                    record["emotions"] = dict(zip(names, z, strict=True)) if len(z) == len(names) else z
                found.append(record)
            if not all(math.isfinite(x) for record in found for x in (record["logprob"], *_numbers(record))):
                file = str(clip.audio or clip.video or "")
                yield {"id": clip.id, "file": file, "error": "the captioner's numbers for it are not finite"}
                continue
            best = max(found, key=lambda record: record["logprob"])
            record = {"id": clip.id, **best} | ({"samples": found} if len(found) > 1 else {})
            if cut := beyond(clip.seconds if clip.audio else None, self.cfg.data):
                record["truncated_seconds"] = round(cut, 2)
            yield record


def _numbers(record: dict[str, Any]) -> list[float]:
    """The coordinates of a caption."""
    found = record.get("emotions", [])
    return list(found.values()) if isinstance(found, dict) else found


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
    model: str | Path, merge: bool = True, checkpoint: str = "last"
) -> tuple[Config, captioner.Params, "Tokenizer", jax.sharding.Mesh]:
    """What `load` reads, without the reward model; raises as it does. `merge` False: a run keeps its adapters apart."""

    from emojax.errors import RunError
    from emojax.export import directory
    from emojax.training import adapters
    from emojax.training.run import trained
    from emojax.training.stages import load_params

    run = storage.path_of(model)
    if (run / "run.json").exists() or not (exported := directory.find(str(model))):
        at = trained(run)
        cfg = dataclasses.replace(presets.read_json(at / "config.json"), mesh=Mesh())  # of one device
        mesh = sharding.make_mesh(cfg, jax.local_devices()[:1])
        params = load_params(at, cfg, mesh, checkpoint)
        params = adapters.merged(params) if merge else params
        return cfg, params, tokenizer_files.read(at / "tokenizer.json"), mesh
    if checkpoint != "last":
        raise RunError(
            f"{model} is an exported captioner, which has one checkpoint; leave out --checkpoint {checkpoint}"
        )
    return directory.read(exported)


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
        return _caption.lower(
            params, with_shardings(reward, everywhere), batch, key, cfg=cfg, static=static, samples=1, sampling=None
        )
