"""Floors: what captions score that were not made by understanding the clip.

A captioner is worth something by what it has above them: one caption for every clip, and the caption of the training
clip whose sound and picture are most alike in plain statistics.
"""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from emojax.config import Data
from emojax.data.clips import Clip
from emojax.data.container import MediaError
from emojax.data.reader import load

Item = TypeVar("Item")
Reward = Callable[..., Mapping[str, np.ndarray]]
"""(captions, clips): scores caption i against what is known of clip i: f32[captions], `reward` and its parts by name.

`functools.partial(score_texts, model, static, reader)` of emojax.rewards.texts is one.
"""

_PAIRS = 8192  # caption and clip pairs handed to the reward at once
_WINDOW, _HOP, _BANDS = 400, 160, 24  # 25 ms, 10 ms at 16 kHz
_MOST = 5  # deviations from the mean that count, so that a statistic that hardly varies in training cannot decide alone
_GRID = 8  # side of the frames that are compared


class Features(NamedTuple):
    """Plain statistics of a clip; None for a stream that it does not have."""

    audio: np.ndarray | None  # f32[2 _BANDS] mean and standard deviation over time of the log band energies
    video: np.ndarray | None  # f32[2 _GRID² 3] mean frame, and mean absolute difference from frame to frame


def evenly(items: Sequence[Item], limit: int) -> list[Item]:
    """At most `limit` of the items, evenly spaced from the first on."""
    return [items[i * len(items) // limit] for i in range(limit)] if len(items) > limit else list(items)


def best_constant(clips: Sequence[Clip], reward: Reward, limit: int = 100) -> tuple[str, float]:
    """The training caption that earns most when it is given for every training clip.

    Its cost is `limit`² scored pairs, but of no more than `limit` captions and the references of `limit` clips: a
    reward that embeds equal texts once is fast here.

    Args:
      clips: of the training split.
      limit: candidates, and clips that each is scored on; more are thinned out evenly.
    Returns:
      the caption (of equals the first), and its mean reward on those training clips.
    """
    captioned = [clip for clip in clips if clip.captions]
    if not captioned:
        raise ValueError("best_constant: no training clip has a caption; give the manifest's training split")
    candidates = evenly(list(dict.fromkeys(caption for clip in captioned for caption in clip.captions)), limit)
    clips = evenly(captioned, limit)
    step = max(1, _PAIRS // len(clips))
    means = np.concatenate(
        [
            np.asarray(reward([c for c in block for _ in clips], clips * len(block))["reward"])
            .reshape(len(block), len(clips))
            .mean(1)
            for block in (candidates[i : i + step] for i in range(0, len(candidates), step))
        ]
    )
    best = int(means.argmax())
    return candidates[best], float(means[best])


def media_features(audio: np.ndarray | None, frames: np.ndarray | None) -> Features:
    """Statistics that two clips are compared by.

    Args:
      audio: f32[A] mono at 16 kHz.
      frames: u8[S height width 3] evenly spaced in time.
    """
    sound = None if audio is None or not audio.size else _audio_features(audio)
    picture = None if frames is None or not len(frames) else _video_features(frames)
    return Features(sound, picture)


def _audio_features(audio: np.ndarray) -> np.ndarray:
    padded = np.pad(audio, (0, max(0, _WINDOW - audio.size)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(windows, axis=-1)) ** 2
    edges = np.geomspace(2, power.shape[1], _BANDS + 1).astype(int)  # 80 Hz to 8 kHz
    edges = np.maximum(edges, 2 + np.arange(_BANDS + 1))  # a bin at least in every band
    bands = np.stack([power[:, a:b].mean(1) for a, b in itertools.pairwise(edges)], 1)
    level = np.log(bands + 1e-6)
    return np.concatenate([level.mean(0), level.std(0)]).astype(np.float32)


def _video_features(frames: np.ndarray) -> np.ndarray:
    def cells(size: int) -> list[np.ndarray]:
        return np.array_split(np.arange(size), min(_GRID, size))

    rows = np.stack([frames[:, ys].mean(1, dtype=np.float32) for ys in cells(frames.shape[1])], 1)
    small = np.stack([rows[:, :, xs].mean(2) for xs in cells(frames.shape[2])], 2)  # [S 8 8 3]
    moving = np.abs(np.diff(small, axis=0)).mean(0) if len(small) > 1 else np.zeros_like(small[0])
    return np.concatenate([small.mean(0).ravel(), moving.ravel()])


def nearest(train: Sequence[Features], test: Sequence[Features]) -> list[int]:
    """For each test clip the number of the training clip nearest to it.

    Every statistic is scaled to mean 0 and deviation 1 over the training clips. The distance is the mean square
    difference in a stream, averaged over the streams that both clips have, so that neither outweighs the other by its
    length. Of equals, and where no training clip shares a stream, the first is taken.
    """
    if not train:
        raise ValueError("nearest: there are no training clips to copy from; give the manifest's training split")
    total, streams = np.zeros((len(test), len(train))), np.zeros((len(test), len(train)))
    for name in Features._fields:
        known = {i: x for i, f in enumerate(train) if (x := getattr(f, name)) is not None}
        asked = {i: x for i, f in enumerate(test) if (x := getattr(f, name)) is not None}
        if not known or not asked:
            continue
        a, b = np.stack(list(asked.values())), np.stack(list(known.values()))
        mean, deviation = b.mean(0), b.std(0) + 1e-6
        a, b = (np.clip((x - mean) / deviation, -_MOST, _MOST) for x in (a, b))
        cell = np.ix_(list(asked), list(known))
        total[cell] += np.stack([((b - x) ** 2).mean(1) for x in a])
        streams[cell] += 1
    distance = np.where(streams > 0, total / np.maximum(streams, 1), np.inf)
    return distance.argmin(1).tolist()


def nearest_captions(train: Sequence[Clip], test: Sequence[Clip], data: Data) -> dict[str, str]:
    """For each test clip, by id, the first caption of the training clip nearest to it in sound and picture.

    Media are decoded as for training; a file that cannot be decoded leaves its clip without streams.
    """
    captioned = [clip for clip in train if clip.captions]

    def features(clip: Clip) -> Features:
        try:
            media = load(clip, data)
        except MediaError:
            return Features(None, None)
        return media_features(media.audio, media.video)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each thread decodes in a process of its own
        found = nearest(list(pool.map(features, captioned)), list(pool.map(features, test)))
    return {clip.id: captioned[i].captions[0] for clip, i in zip(test, found, strict=True)}
