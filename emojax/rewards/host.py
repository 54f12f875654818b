"""A reward that the host computes, an LLM judge say: `host:FILE.py:FUNCTION`, and not otherwise.

    def judge(captions: list[str], clips: list[Clip]) -> list[float]:  # a number a caption; NaN: not scorable

The step that has one waits for the host in the middle of itself: it is no longer one program of the device alone.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from emojax.config import ConfigError
from emojax.config.parts import Part
from emojax.rewards import own
from emojax.types import Array, References

log = logging.getLogger(__name__)
NEEDS = ("bytes",)
PREFIX = "host:"


@dataclass(frozen=True, eq=False)
class Host:
    name: str
    function: Callable[[list[str], list[Any]], Sequence[float]]
    clips: list[Any] = field(default_factory=list)  # all that were read, in the order of their numbers


def is_host(name: str) -> bool:
    return name.startswith(PREFIX) and own.is_own(name)


def load(part: Part) -> Host:
    """Raises ConfigError where there is no such function, or several processes would call it."""
    what = f"reward.parts: {part.file}"
    if part.options:
        raise ConfigError(f"{what} can be told nothing in brackets but `as` and `if`, got {part.options[0][0]}")
    if jax.process_count() > 1:
        raise ConfigError(f"{what}: a function of the host wants a run of one process, got {jax.process_count()}")
    log.warning("%s is a function of the host: every step waits for it", what)
    return Host(part.file, own.function(part.file.removeprefix(PREFIX), what))


def of_clips(options: Host, reader: Any, clips: Sequence[Any]) -> np.ndarray:
    """i32[clips]: their numbers"""
    first = len(options.clips)
    options.clips.extend(clips)
    return np.arange(first, first + len(clips), dtype=np.int32)


def score(options: Host, arrays: None, captions: Any, clips: References) -> Array:
    def call(byte: np.ndarray, filled: np.ndarray, number: np.ndarray) -> np.ndarray:
        rows = zip(byte.reshape(-1, byte.shape[-1]), filled.reshape(-1, byte.shape[-1]), strict=True)
        texts = [bytes(row[there].tolist()).decode(errors="replace") for row, there in rows]
        about = [options.clips[n] for n in np.repeat(np.asarray(number), byte.shape[1])]
        found = np.asarray(options.function(texts, about), np.float32)
        if found.shape != (len(texts),):
            raise ConfigError(f"{options.name} wants {len(texts)} numbers, one a caption, got {list(found.shape)}")
        return found.reshape(byte.shape[:2])

    shape = jax.ShapeDtypeStruct(captions.bytes.ids.shape[:2], jnp.float32)
    return io_callback(call, shape, captions.bytes.ids, captions.bytes.mask, clips.own)
