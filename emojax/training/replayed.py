"""Captions that another run sampled, of the same clips in the same steps, to learn from in place of own samples."""

import dataclasses
from collections.abc import Generator
from contextlib import closing

import numpy as np

from emojax.config import Config, ConfigError
from emojax.errors import RunError
from emojax.storage import path_of
from emojax.training import records
from emojax.training.records import Record
from emojax.types import Batch


def recorded(cfg: Config) -> Record:
    """The record that `grpo.samples` names.

    Raises:
      RunError: there is none, or it is damaged.
      ConfigError: its captions are of another number or length.
    """
    found = records.find(path_of(cfg.grpo.samples))
    record = records.read(found.get("grpo") or next(iter(found.values())))
    samples, wanted = record.layout.samples, (cfg.grpo.group, cfg.caption_tokens)
    if samples is None:
        raise ConfigError(
            f"grpo.samples={cfg.grpo.samples} is of `{record.stage}`, which samples nothing; name a run of Emo-GRPO"
        )
    if samples[1:] != wanted:
        raise ConfigError(
            f"grpo.samples={cfg.grpo.samples} has {samples[1]} captions of {samples[2]} tokens a clip, grpo.group and "
            f"caption_tokens ask for {wanted[0]} of {wanted[1]}"
        )
    return record


def replayed(batches: Generator[Batch, None, None], record: Record, start: int) -> Generator[Batch, None, None]:
    """The batches with what the record has sampled of their clips.

    Args:
      start: steps before the first batch.
    Raises:
      RunError: from the iterator: the record has not that step, or its step is of other clips.
    """
    with closing(batches):
        for step, batch in enumerate(batches, start + 1):
            yield dataclasses.replace(batch, samples=_of(record, step, np.asarray(batch.clip_id)))


def _of(record: Record, step: int, clips: np.ndarray) -> np.ndarray:
    """i32[B G T]"""
    row = record.rows.get(step)
    if row is None or row.samples is None:
        has = f"it has {len(record.rows)} steps"
        raise RunError(f"{record.path} has no step {step}, whose captions grpo.samples wants; {has}")
    there = {int(clip): n for n, clip in enumerate(row.samples.clip_id)}
    if lacking := [clip for clip in clips.tolist() if clip not in there]:
        raise RunError(
            f"{record.path}: its step {step} has no captions of {len(lacking)} of {len(clips)} clips: it read others; "
            "train with its seed, manifest and grpo.batch"
        )
    rows = [there[clip] for clip in clips.tolist()]
    return np.where(row.samples.mask[rows], row.samples.ids[rows], 0).astype(np.int32)
