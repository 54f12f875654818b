"""Valence, arousal, dominance of a caption's words against those of its references: 1 where they agree, to 0.

`file` is the user's lexicon, a word and three numbers from 0 to 1 a line, parted by tabs (NRC-VAD is such a one; lines
of another kind at its head are passed over). One less the mean absolute difference of the mean vectors of all words
that are in it. NaN where a clip's references have none of them; a caption that has none scores 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.config import ConfigError
from emojax.rewards.inputs import Captions
from emojax.rewards.reader import Reader
from emojax.types import Array, References, Text

NEEDS = ("words",)


@dataclass(frozen=True)
class Options:
    file: str


@struct.dataclass
class Vectors:
    word: Array  # i32[words] as `words.py` numbers them, ascending
    vector: Array  # f32[words 3]


def arrays(options: Options, reader: Reader) -> Vectors:
    found = _read(options.file)
    numbers = reader.words(list(found))
    single = np.asarray(numbers.mask).sum(-1) == 1  # a phrase of several words is none that is looked for
    word, vector = np.asarray(numbers.ids)[single, 0], np.array(list(found.values()), np.float32)[single]
    order = np.argsort(word, kind="stable")
    sorted_: Any = Vectors(word[order], vector[order])  # pyright: ignore[reportArgumentType] on the host
    return sorted_


def _read(path: str) -> dict[str, Sequence[float]]:
    file, what = Path(path).expanduser(), f"reward.parts: vad(file={path})"
    if not file.is_file():
        raise ConfigError(f"{what}: there is no file {file.absolute()}")
    found: dict[str, Sequence[float]] = {}
    for line in file.read_text("utf-8-sig").splitlines():
        word, *numbers = line.split("\t")
        try:
            vector = [float(x) for x in numbers]
        except ValueError:
            continue
        if len(vector) == 3 and all(0 <= x <= 1 for x in vector):
            found[word.strip()] = vector
    if not found:
        raise ConfigError(f"{what}: no line is WORD, three numbers from 0 to 1, parted by tabs")
    return found


def score(options: Options, arrays: Vectors, captions: Captions, clips: References) -> Array:
    ours, count = _mean(arrays, captions.words, -1)  # [B G 3], [B G]
    there = Text(clips.words.ids, clips.words.mask & clips.present[..., None])
    theirs, known = _mean(arrays, there, (-2, -1))  # [B 3], [B]
    close = 1 - jnp.abs(ours - theirs[:, None]).mean(-1)
    return jnp.where(known[:, None] > 0, jnp.where(count > 0, close, 0), jnp.nan)


def _mean(arrays: Vectors, text: Text, axes: int | tuple[int, ...]) -> tuple[Array, Array]:
    word = jnp.asarray(arrays.word)
    at = jnp.minimum(jnp.searchsorted(word, text.ids, method="scan"), len(word) - 1)
    known = text.mask & (word[at] == text.ids)
    count = known.sum(axes)
    axes = (axes,) if isinstance(axes, int) else axes
    total = jnp.where(known[..., None], jnp.asarray(arrays.vector)[at], 0).sum(tuple(a - 1 for a in axes))
    return total / jnp.maximum(count, 1).astype(jnp.float32)[..., None], count
