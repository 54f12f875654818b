"""Rows of a record: a sketch of each leaf that a step read or made, and what it sampled, as whole numbers of 32 bits.

row = step, bucket + 1 (0: the state that a session began with, alone), sketches, samples, CRC-32
"""

import dataclasses
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from emojax.param import dotted
from emojax.training.sketch import WORDS
from emojax.types import Batch, Metrics, TrainState, Tree

HEAD = 2  # numbers of a row before its sketches


@dataclass(frozen=True)
class Layout:
    """What the numbers of a row are."""

    names: tuple[str, ...]  # of the leaves, in the order in which a step makes them
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[tuple[int, ...], ...], ...]  # of the leaves, for each length bucket
    samples: tuple[int, int, int] | None  # B G T

    @property
    def size(self) -> int:
        """Numbers of a row."""
        b, g, t = self.samples or (0, 0, 0)
        return HEAD + len(self.names) * WORDS + b + b * g * (t + 2) + 1

    def json(self) -> dict[str, Any]:
        return {"names": self.names, "dtypes": self.dtypes, "shapes": self.shapes, "samples": self.samples}


@dataclass(frozen=True)
class Sampled:
    """Captions that a step sampled and learnt from, of numpy."""

    clip_id: np.ndarray  # u32[B]
    ids: np.ndarray  # i32[B G T]
    mask: np.ndarray  # bool[B G T]
    reward: np.ndarray  # f32[B G]


@dataclass(frozen=True)
class Row:
    """A step as it was recorded."""

    step: int
    bucket: int | None  # None: of the state alone, before any step of the session
    words: np.ndarray  # u32[leaves WORDS]
    samples: Sampled | None


class Damaged(ValueError):
    """A row whose sum is not the one that was written."""


def causal(batch: Batch | None, metrics: Metrics, state: TrainState) -> dict[str, Any]:
    """Leaves by name, as the step comes by them: batch, samples, reward, advantage, metrics, moments (which hold the
    gradient), weights, what else the state carries. Those without elements are left out."""
    samples = metrics.get("samples")
    carried = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    told = {name: value for name, value in metrics.items() if name != "samples"}
    parts: list[tuple[str, Tree]] = [("batch", batch)]
    if samples is not None:
        parts += [
            (f"samples.{name}", getattr(samples, name)) for name in ("ids", "mask", "parts", "reward", "advantage")
        ]
    parts += [("metrics", told), ("opt_state", carried.pop("opt_state")), ("params", carried.pop("params"))]
    parts += [("state", carried)]
    found = {}
    for part, tree in parts:
        for at, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if leaf.size:
                found[f"{part}.{dotted(at)}".rstrip(".")] = leaf
    return found


def sealed(head: Sequence[int], *parts: np.ndarray) -> np.ndarray:
    """A whole row, with its sum."""
    row = np.concatenate([np.array(head, np.uint32), *(part.reshape(-1) for part in parts)]).astype("<u4")
    return np.append(row, np.uint32(zlib.crc32(row.tobytes()))).astype("<u4")


def parse(layout: Layout, row: np.ndarray) -> Row:
    """Raises Damaged."""
    if zlib.crc32(row[:-1].astype("<u4").tobytes()) != int(row[-1]):
        raise Damaged(f"the row of step {int(row[0])}")
    step, bucket = int(row[0]), int(row[1])
    end = HEAD + len(layout.names) * WORDS
    words, samples = row[HEAD:end].reshape(-1, WORDS), None
    if layout.samples and bucket:
        b, g, t = layout.samples
        clip, ids, length, reward = np.split(row[end:-1], np.cumsum([b, b * g * t, b * g]))
        samples = Sampled(
            clip_id=clip,
            ids=ids.reshape(b, g, t).astype(np.int32),
            mask=np.arange(t) < length.reshape(b, g, 1),
            reward=reward.view(np.float32).reshape(b, g),
        )
    return Row(step, bucket - 1 if bucket else None, words, samples)


def table(data: bytes, layout: Layout) -> np.ndarray:
    """u32[rows numbers] of a file, without a last row that was half written."""
    return np.frombuffer(data[: len(data) // (4 * layout.size) * (4 * layout.size)], "<u4").reshape(-1, layout.size)
