"""Clips of all requests in one queue, captioned in batches by the programs of a few fixed shapes.

While a batch is on the device the next ones gather: with one request nobody waits for others, with many the batches are
full.
"""

import asyncio
import dataclasses
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jax

from emojax.captioning import Captioner, Decoding
from emojax.config import ConfigError, FeatureFilesConfig
from emojax.data.audio import SAMPLE_RATE
from emojax.data.clips import Clip
from emojax.data.order import bucket_of
from emojax.data.reader import Decoded, Reader, View, collate
from emojax.data.text import END
from emojax.parallel import sharding

log = logging.getLogger(__name__)
Record = dict[str, Any]
_GREEDY: int | None = None


@dataclass(frozen=True)
class _Job:
    clip: Clip
    decoded: Decoded
    bucket: int
    seed: int | None  # of several samples; None: the greedy caption
    answer: "asyncio.Future[Record]"

    @property
    def program(self) -> tuple[int, int | None]:
        return self.bucket, self.seed


@dataclass
class Queue:
    """Raises ConfigError for a captioner that reads no media."""

    model: Captioner
    drawn: Decoding  # how samples are drawn; its batch size is that of all programs
    waiting: deque[_Job] = field(default_factory=deque)
    some: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        model = self.model.cfg.model
        for stream in ("audio", "video"):
            if isinstance(getattr(model, stream), FeatureFilesConfig):
                raise ConfigError(
                    f"{self.model!r} reads its {stream} from files of features, which no upload has; serve one that "
                    "encodes media itself"
                )

    async def caption(self, clip: Clip, decoded: Decoded, seed: int | None = _GREEDY) -> Record:
        """The clip's record (`Captioner.records`): of its greedy caption, or of samples."""
        bucket = bucket_of(decoded.samples / SAMPLE_RATE, self.model.cfg.data.audio_seconds)
        job = _Job(clip, decoded, bucket, seed, asyncio.get_running_loop().create_future())
        self.waiting.append(job)
        self.some.set()
        return await job.answer

    async def run(self) -> None:
        """Captions what waits, for ever."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "captioner") as device:
            while True:
                await self.some.wait()
                jobs = self._take()
                if not jobs:
                    self.some.clear()
                    continue
                try:
                    clips = [(job.clip, job.decoded) for job in jobs]
                    records = await loop.run_in_executor(device, self._captioned, *jobs[0].program, clips)
                except Exception as e:
                    log.exception("a batch of %d clips could not be captioned", len(jobs))
                    for job in jobs:
                        _tell(job, e)
                else:
                    for job, record in zip(jobs, records, strict=True):
                        _tell(job, record)

    def compile(self) -> None:
        """Runs every program once, on silence, so that no request waits for a compilation."""
        for bucket in range(len(self.model.cfg.data.audio_seconds)):
            for seed in (_GREEDY, *([0] if self.drawn.sampling else [])):
                self._captioned(bucket, seed, [(Clip("silence", transcript=""), Decoded(None, None))])

    def _take(self) -> list[_Job]:
        """The first that waits, and those behind it of the same program; whoever has gone is forgotten."""
        there = [job for job in self.waiting if not job.answer.done()]
        rows = self.model.rows(self.drawn.batch_size)
        taken = [job for job in there if job.program == there[0].program][:rows]
        chosen = set(map(id, taken))
        self.waiting = deque(job for job in there if id(job) not in chosen)
        return taken

    def _captioned(self, bucket: int, seed: int | None, clips: list[tuple[Clip, Decoded]]) -> list[Record]:
        """In the thread of the device."""
        cfg, rows = self.model.cfg, self.model.rows(self.drawn.batch_size)
        reader = Reader((), self.model.tokenizer, cfg.data, cfg.caption_tokens, END, room=-1.0)
        views = [View(clip, decoded, clip.transcript, ()) for clip, decoded in clips + clips[-1:] * (rows - len(clips))]
        batch = collate(reader, views, cfg.data.audio_seconds[bucket])
        greedy = dataclasses.replace(self.drawn, samples=1, sampling=None)
        run = self.model.program(greedy if seed is None else dataclasses.replace(self.drawn, seed=seed))
        with jax.set_mesh(self.model.mesh):
            captions = run(batch=sharding.to_devices(batch, self.model.mesh))
            return list(self.model.words([clip for clip, _ in clips], captions))


def _tell(job: _Job, answer: Record | Exception) -> None:
    if job.answer.done():
        return
    if isinstance(answer, Exception):
        job.answer.set_exception(answer)
    else:
        job.answer.set_result(answer)
