"""Features of clips, made once by the frozen encoders of a captioner and kept in files: `emojax encode`."""

import fnmatch
import functools
import importlib.metadata
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from emojax import __version__
from emojax.config import Config, ConfigError, FeatureFilesConfig
from emojax.data.clips import Clip
from emojax.data.encoding import Work, encoding_batches
from emojax.data.feature_files import Broken, Facts, differences, digest, lacks, open_features, write_features
from emojax.data.reader import beyond
from emojax.decoder.captioner import cast, compute_dtype, matmul_precision
from emojax.encoders import media
from emojax.parallel import sharding
from emojax.storage import LEFT
from emojax.training import freeze, lock
from emojax.training.features import extractors
from emojax.types import Array, Batch

log = logging.getLogger(__name__)
Stored = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Encoding:
    """How features are written.

    Raises:
      ConfigError: a file that does not hold whole batches.
    """

    batch: int = 16  # clips at once
    file: int = 128  # clips a file, a multiple of `batch`
    # type of the numbers in the files. float32 loses nothing, bfloat16 nothing of a captioner whose precision is
    # bfloat16; otherwise the half types round (2^-9, 2^-12 of a number), and training is close, not equal
    stored: Stored = "float32"
    retry: bool = False  # try again the clips that are recorded as broken

    def __post_init__(self) -> None:
        if self.batch < 1 or self.file % self.batch:
            raise ConfigError(f"a file wants whole batches: {self.file} clips are no multiple of {self.batch}")


def encode(
    cfg: Config,
    encoders: media.Encoders,
    clips: Sequence[Clip],
    out: Path,
    encoding: Encoding,
    *,
    mesh: jax.sharding.Mesh,
    progress: Callable[[int, int], None],
) -> dict[str, int]:
    """Encodes the clips that `out` does not hold yet.

    What was written before a kill stays, and is not made again. A clip whose media cannot be decoded is recorded.

    Args:
      encoders: float32 weights.
    Returns:
      `clips` encoded now, and `broken` ones among them.
    Raises:
      ConfigError: nothing to encode with; or `out` holds something else, or features that differ: says in which field.
      ValueError: features that are not finite, in the type that they are stored in; or damaged files in `out`.
    """
    parts = {"audio": cfg.model.audio, "video": cfg.model.video}
    streams = tuple(name for name, part in parts.items() if part and not isinstance(part, FeatureFilesConfig))
    if not streams:
        raise ConfigError("the configuration has no encoder: model.audio and model.video are None or files of features")
    about = extractors(cfg, streams, encoders) | {"stored": encoding.stored, "versions": _versions()}
    with lock.folder(out):
        there = open_features(out) if out.is_dir() else None
        if there is None and out.exists() and (not out.is_dir() or not all(_ours(p) for p in out.iterdir())):
            raise ConfigError(f"{out} holds something that is no features; name a new or an empty directory by --out")
        if there is not None and (wrong := differences(there.extractors, about)):
            raise ConfigError(f"{out} holds features that differ from these; name another --out:\n" + "\n".join(wrong))
        left = list(clips)
        if there is not None:
            left = [c for c in clips if lacks(there, c) is not None or (encoding.retry and c.id in there.broken)]
        run = functools.partial(_features, freeze.kept(encoders, cfg), cfg=cfg, streams=streams)
        number, done, failed = 0 if there is None else there.next, 0, 0
        facts: dict[str, Facts] = {}
        tensors: dict[str, np.ndarray] = {}
        broken: dict[str, Broken] = {}
        truncated = 0
        with jax.set_mesh(mesh):
            for work, made in _prefetch(encoding_batches(left, cfg.data, encoding.batch, encoding.file), run, mesh):
                broken |= work.broken
                for row, (clip, decoded, seconds) in enumerate(work.clips):
                    held = {"audio": decoded.samples, "video": decoded.frames}
                    own = {name: _valid(name, made[name], row, clip, encoding.stored) for name in streams}
                    own = {name: x for name, x in own.items() if held[name]}
                    named = tuple(name for name in ("audio", "video") if getattr(clip, name) is not None)
                    digests = {name: digest(x) for name, x in own.items()}
                    truncated += bool(beyond(decoded.seconds, cfg.data))
                    facts[clip.id] = Facts(named, decoded.samples, decoded.frames, seconds, digests)
                    tensors |= {f"{name}/{clip.id}": x for name, x in own.items()}
                if work.closes:
                    write_features(out, number, about, facts, tensors, broken)
                    number, done, failed = number + 1, done + len(facts) + len(broken), failed + len(broken)
                    facts, tensors, broken = {}, {}, {}
                    progress(done, len(left))
        if truncated:
            log.warning(
                "clips longer than the last of data.audio_seconds, %g s, of whose sound only so much is encoded: %d",
                *(cfg.data.audio_seconds[-1], truncated),
            )
        return {"clips": done, "broken": failed}


def _ours(path: Path) -> bool:
    """Left by an `emojax encode` that was killed before its first file was complete."""
    return fnmatch.fnmatchcase(path.name, LEFT.format("features-*.safetensors")) or path.name == lock.FILE


@functools.partial(jax.jit, static_argnames=("cfg", "streams"))
def _features(
    encoders: media.Encoders, batch: Batch, *, cfg: Config, streams: tuple[str, ...]
) -> dict[str, tuple[Array, Array]]:
    """f32[B S D] and bool[B S] of each stream, as a step of training has them."""
    made = {"audio": media.audio_features, "video": media.video_features}
    with matmul_precision(cfg):
        p = cast(encoders, cfg)
        found = {name: made[name](p, batch, cfg, compute_dtype(cfg)) for name in streams}
    return {name: (x.astype(jnp.float32), mask) for name, (x, mask) in found.items()}


def _prefetch(works: Iterator[Work], run: Any, mesh: jax.sharding.Mesh) -> Iterator[tuple[Work, Any]]:
    """A batch is fetched while the device makes the next one."""
    waiting: tuple[Work, Any] | None = None
    for work in works:
        with jax.transfer_guard("disallow"):
            now = work, run(batch=sharding.to_devices(work.batch, mesh))
        if waiting:
            yield waiting[0], jax.device_get(waiting[1])
        waiting = now
    if waiting:
        yield waiting[0], jax.device_get(waiting[1])


def _valid(stream: str, made: tuple[np.ndarray, np.ndarray], row: int, clip: Clip, stored: Stored) -> np.ndarray:
    """The valid positions of a clip, which come first."""
    x, mask = made[0][row], made[1][row]
    n = int(mask.sum())
    assert mask[:n].all(), "valid positions come first"
    with np.errstate(over="ignore"):  # told of below
        kept = x[:n].astype(jnp.dtype(stored))
    if not np.isfinite(kept.astype(np.float32)).all():
        most = np.abs(x[:n]).max()
        raise ValueError(
            f"clip {clip.id!r}: its {stream} features are not finite in {stored} (the largest in float32: {most:.3g}); "
            "store float32, or look at the encoder's weights"
        )
    return kept


def _versions() -> dict[str, str]:
    return {"emojax": __version__, "jax": importlib.metadata.version("jax"), "platform": jax.default_backend()}
