"""A trained captioner at work: files or clips in, captions out, in jitted batches of a few fixed shapes."""

import dataclasses
import functools
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax import param, rewards
from emojax.captioning import windows
from emojax.captioning.decoding import Decoding
from emojax.captioning.ordered import in_order, repeated
from emojax.config import Config, ConfigError, Sampling
from emojax.decoder import captioner
from emojax.decoder.sample import Drawing
from emojax.parallel import sharding
from emojax.training.features import feature_source
from emojax.types import Array, Batch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from emojax.data.bulk import Bulk
    from emojax.data.clips import Clip
    from emojax.data.feature_files import FeatureFolder
    from emojax.data.inputs import Input

log = logging.getLogger(__name__)


@struct.dataclass
class Captions:
    """Captions of a batch, `samples` of each clip."""

    ids: Array  # i32[B G T]
    mask: Array  # bool[B G T]
    logp: Array  # f32[B G] log-probability of the whole caption, nats
    tokens: Array  # i32[B G] that it has, the end token included
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
        _, out = captioner.sample(params, batch, key, cfg, group=samples, how=Drawing(sampling))
        emotions = None
        if reward is not None and static is not None:
            emotions = rewards.coordinates(reward, static, out.ids, out.mask)
        logp = jnp.where(out.mask, out.logp, 0).sum(-1)
        return Captions(ids=out.ids, mask=out.mask, logp=logp, tokens=out.mask.sum(-1), emotions=emotions)


caption = jax.jit(caption_step, static_argnames=("cfg", "static", "samples", "sampling"))
_REACH = 16  # batches that may be read after a clip that waits for its length bucket to fill, where order is asked for


@dataclass(frozen=True)
class Captioner:
    """A trained captioner: what `emojax.load` returns.

    `caption` captions files, folders, arrays and clips and returns a list; `records` is the same as a generator, for
    any number of clips. `cfg` is its configuration, `params` its weights.
    """

    cfg: Config
    params: captioner.Params
    tokenizer: "Tokenizer"
    reward: rewards.RewardModel | None  # for the emotion coordinates; None: they are left out
    static: rewards.RewardStatic | None
    mesh: jax.sharding.Mesh
    features: "FeatureFolder | None" = None  # features that `cfg.data.features` names, read instead of media

    def __repr__(self) -> str:
        return f"Captioner({self.cfg.name!r}, {param.count(self.params):,} weights, {self.mesh.size} devices)"

    def caption(
        self,
        inputs: "Input | Iterable[Input]",
        *,
        transcripts: Sequence[str | None] | None = None,
        batch_size: int = 16,
        samples: int = 1,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> list[dict[str, Any]]:
        """Captions media: one record each, in their order. See `records` for the arguments and the record.

        Args:
          inputs: one or several of: a file, a folder of files, sound in memory (f32[A] at 16 kHz), a Clip.
          transcripts: what is said, of each input; None where it is not known.
        """
        from emojax.data.clips import Clip
        from emojax.data.inputs import clips_of

        one = isinstance(inputs, str | Path | np.ndarray | Clip)
        clips = clips_of([inputs] if one else inputs, transcripts)
        # decoded in this process: a script without `if __name__ == "__main__"` cannot start workers
        decoding = Decoding(batch_size, samples, sampling, seed, workers=0)
        found = {record["id"]: record for record in self.records(clips, decoding)}
        return [found[clip.id] for clip in clips]

    def records(
        self,
        inputs: "Sequence[Input]",
        decoding: Decoding = Decoding(),
        compiled: Callable[[float], None] = lambda seconds: None,
    ) -> Iterator[dict[str, Any]]:
        """Captions clips, each batch as soon as the clips read so far fill one of a length bucket.

        Neither the number of clips nor their lengths change what is in memory: a few batches are decoded at a time.

        Args:
          inputs: clips, or what becomes clips, as of `caption`.
          decoding: how. Where it is `ordered`, a clip whose length is rare goes in a batch that is partly filled, once
            16 batches of clips were read after it.
          compiled: told the seconds that compilation took, at the first batch of each length bucket.
        Yields:
          `id`, `caption`, `logprob` (nats, of the whole caption), `tokens` (that it has) and `emotions` (concept ->
          coordinate); with several samples those are the one's of the highest log-probability a token, and `samples`
          lists all. `truncated_seconds` is how much longer the sound is than what the captioner hears; with
          `decoding.windows` it hears all of it, and `windows` lists the captions of its parts. `extra` is the clip's
          own. Of a file that cannot be decoded `id`, `file` and `error`.
        Raises:
          ConfigError: `ordered`, and an id is not unique; clips without features, where these are read.
        """
        from emojax.data.bulk import bulk_batches
        from emojax.data.inputs import clips_of

        clips = clips_of(inputs)
        if decoding.ordered and (again := repeated(clip.id for clip in clips)) is not None:
            raise ConfigError(
                f"{again!r} is the id of more than one clip: unique ids are wanted to put captions in order"
            )
        if decoding.windows and self.features is not None:
            raise ConfigError("windows are cut of media, and features are of whole clips; leave out one of both")
        run = self.program(decoding)
        data = dataclasses.replace(self.cfg.data, strict=False)
        data = dataclasses.replace(data, workers=cores() if decoding.workers is None else decoding.workers)
        batch = self.rows(decoding.batch_size)
        batches = bulk_batches(
            clips,
            self.tokenizer,
            data,
            caption_tokens=self.cfg.caption_tokens,
            batch=batch,
            reach=_REACH * batch if decoding.ordered else None,
            features=feature_source(self.cfg, clips, self.features),
        )
        truncated = 0
        with closing(batches), jax.set_mesh(self.mesh):
            made = self._records(run, batches, compiled)
            made = windows.heard(self, clips, made, decoding) if decoding.windows else made
            for record in in_order(clips, made) if decoding.ordered else made:
                truncated += "truncated_seconds" in record
                yield record
        if truncated:
            log.warning(
                "clips longer than the last of data.audio_seconds, %g s, of whose sound only so much is heard: %d; "
                "their records say how much is not (truncated_seconds); --windows hears all of it",
                *(data.audio_seconds[-1], truncated),
            )

    def program(self, decoding: Decoding) -> Callable[..., Captions]:
        """Captions of a `batch`, compiled once for each shape of it; to be called where `mesh` is set."""
        return functools.partial(
            caption,
            self.params,
            self.reward,
            key=sharding.everywhere(jax.random.key(decoding.seed), self.mesh),
            cfg=self.cfg,
            static=self.static,
            samples=decoding.samples,
            sampling=decoding.sampling,
        )

    def rows(self, batch_size: int) -> int:
        """Clips of a batch of at least that many: every device has as many as another."""
        devices = self.mesh.shape["data"] * self.mesh.shape["fsdp"]
        return math.ceil(batch_size / devices) * devices

    def _records(
        self, run: Callable[..., Captions], batches: "Iterator[Bulk]", compiled: Callable[[float], None]
    ) -> Iterator[dict[str, Any]]:
        pending: tuple[list[Clip], Captions] | None = None
        lengths: set[int] = set()
        for kept, batch, errors in batches:
            new = batch is not None and batch.audio.shape[1] not in lengths
            if pending and new:  # words do not wait for the next program to be compiled
                yield from self.words(*pending)
                pending = None
            began, now = time.perf_counter(), None
            if batch is not None:
                with jax.transfer_guard("disallow"):  # around this alone: a generator's caller would be inside, too
                    now = kept, run(batch=sharding.to_devices(batch, self.mesh))  # returns once it is compiled
                lengths.add(batch.audio.shape[1])
            if new:
                compiled(time.perf_counter() - began)
            if pending:
                yield from self.words(*pending)  # words of one batch while the device makes the next
            pending = now
            for error in errors:
                yield {"id": error.id, "file": str(error.path), "error": error.why} | _extra(error.extra)
        if pending:
            yield from self.words(*pending)

    def words(self, clips: "Sequence[Clip]", captions: Captions) -> Iterator[dict[str, Any]]:
        """The records of clips, the first ones of a batch."""
        from emojax.data.reader import beyond
        from emojax.data.text import decode

        here: Any = jax.device_get(captions)
        for row, clip in enumerate(clips):
            found = []
            for g in range(here.ids.shape[1]):
                record: dict[str, Any] = {
                    "caption": decode(self.tokenizer, here.ids[row, g], here.mask[row, g]),
                    "logprob": float(here.logp[row, g]),
                    "tokens": int(here.tokens[row, g]),
                }
                if here.emotions is not None:
                    z = here.emotions[row, g].tolist()
                    names = [concept.name for concept in self.cfg.reward.concepts]
                    record["emotions"] = dict(zip(names, z, strict=True)) if len(z) == len(names) else z
                found.append(record)
            if not all(math.isfinite(x) for record in found for x in (record["logprob"], *_numbers(record))):
                error = {"error": "the captioner's numbers for it are not finite"}
                yield {"id": clip.id, "file": str(clip.file), **error} | _extra(clip.extra)
                continue
            best = max(found, key=lambda one: one["logprob"] / max(one["tokens"], 1))  # or short ones would win
            record = {"id": clip.id, **best} | ({"samples": found} if len(found) > 1 else {}) | _extra(clip.extra)
            if cut := beyond(clip.seconds if clip.audio is not None else None, self.cfg.data):
                record["truncated_seconds"] = round(cut, 2)
            yield record


def _extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {"extra": dict(extra)} if extra else {}


def cores(most: int = 16) -> int:
    """Workers that decode for a captioner: a core each, but for one that feeds the device."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(most, mine - 1))


def _numbers(record: dict[str, Any]) -> list[float]:
    """The coordinates of a caption."""
    found = record.get("emotions", [])
    return list(found.values()) if isinstance(found, dict) else found
