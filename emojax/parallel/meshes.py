"""How many devices lie along each axis of the mesh, and which: one search over all shapes that there are.

A shape is (data, fsdp, model), of which the configuration gives what it likes. Of those that divide the batch, the
heads and the widths in equal parts, and under which the state of a device fits its memory, the first in this order is
taken: the least `model`, then `fsdp` over the devices of a host (of a slice, where there are several), then as many of
these as there are. So data are parallel across hosts or slices, weights are sharded inside, and tensors only when they
must be.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.experimental import mesh_utils

from emojax.config import Config, ConfigError, LlamaConfig
from emojax.parallel import chips

Stage = Literal["sft", "grpo", "dpo"]

STATE_SHARE = 0.6  # of a device's memory that the state may take; the rest is for activations, caches and logits


class Sizes(NamedTuple):
    """Devices along each axis."""

    data: int
    fsdp: int
    model: int

    def __str__(self) -> str:
        return ", ".join(f"{axis}={size}" for axis, size in self._asdict().items())


def choose(cfg: Config, devices: Sequence[Any], stage: Stage | None, held: Callable[[Sizes], float] | None) -> Sizes:
    """The shape of the mesh.

    Args:
      stage: whose batch is divided; None: those of the cold start and Emo-GRPO.
      held: bytes of state on a device under a shape; None: they are not looked at. Where no shape's state fits, the
        shape with the least of it is taken, and the compiler says by how much it is too much.
    Raises:
      ConfigError: no shape that the configuration leaves open divides it; says what does not, and what would.
    """
    together = len(devices) // _count(devices, "slice_index")  # devices that weights may be sharded over
    shapes = [  # all that there are
        Sizes(rows // fsdp, fsdp, len(devices) // rows)
        for rows in divisors(len(devices))
        for fsdp in divisors(rows)
        if together % (fsdp * (len(devices) // rows)) == 0
    ]
    shapes.sort(key=lambda shape: _preference(shape, devices))
    given = {axis: size for axis in Sizes._fields if (size := getattr(cfg.mesh, axis)) is not None}
    open_ = [shape for shape in shapes if given.items() <= shape._asdict().items()]
    cut = [shape for shape in open_ if not _misfits(cfg, shape, stage)]
    if not cut:
        raise ConfigError(_refusal(cfg, given, open_, shapes, stage, len(devices), together))
    room = _memory(devices)
    if held is None or room is None:
        return cut[0]
    return next((shape for shape in cut if held(shape) <= STATE_SHARE * room), min(cut, key=held))


def arrange(devices: Sequence[Any], sizes: Sizes) -> np.ndarray:
    """The devices as [data fsdp model], neighbours on the network side by side; slices follow each other along data."""
    slices = [
        mesh_utils.create_device_mesh(
            (sizes.data * len(part) // len(devices), *sizes[1:]), part, allow_split_physical_axes=True
        )
        for part in _slices(devices)
    ]
    return np.concatenate(slices)


def _slices(devices: Sequence[Any]) -> list[list[Any]]:
    def key(device: Any) -> int:
        return getattr(device, "slice_index", None) or 0

    return [list(part) for _, part in itertools.groupby(sorted(devices, key=key), key)]


def _count(devices: Sequence[Any], attribute: str) -> int:
    """Number of hosts (process_index) or slices (slice_index; None or no such thing: one)."""
    return len({getattr(device, attribute, None) for device in devices})


def _preference(shape: Sizes, devices: Sequence[Any]) -> tuple[int, bool, int]:
    slices = _count(devices, "slice_index")
    inside = len(devices) // (slices if slices > 1 else _count(devices, "process_index"))
    copy = shape.fsdp * shape.model  # devices that hold one copy of the weights
    return shape.model, copy > inside, copy if copy > inside else -copy


def _memory(devices: Sequence[Any]) -> float | None:
    """Bytes of a device, asked of one that this process has; None: no limit that could be asked for."""
    return chips.memory(next((d for d in devices if d.process_index == jax.process_index()), devices[0]))


def divisors(n: int) -> list[int]:
    """Ascending."""
    return [d for d in range(1, n + 1) if n % d == 0]


def _misfits(cfg: Config, shape: Sizes, stage: Stage | None) -> list[str]:
    """Sizes that this shape does not divide, and the numbers that it would."""
    stages: tuple[Stage, ...] = (stage,) if stage else ("sft", "grpo")
    wrong = [line for stage in stages if (line := _uncut_batch(cfg, shape, stage))]
    lm = cfg.model.decoder
    sizes = [
        ("decoder.kv_heads", lm.kv_heads, "model")
        if isinstance(lm, LlamaConfig)
        else ("decoder.heads", lm.heads, "model"),
        ("decoder.ff", lm.ff, "model"),
        ("decoder.vocab + decoder.padding", lm.vocab + lm.padding, "model"),
        ("decoder.width", lm.width, "fsdp"),
    ]
    for name, size, axis in sizes:
        parts = getattr(shape, axis)
        if size % parts:
            would = [str(d) for d in divisors(math.prod(shape)) if size % d == 0]
            pad = f", or decoder.padding={lm.padding + -size % parts}" if "padding" in name else ""
            wrong.append(f"{name}={size} is no multiple of mesh.{axis}={parts}; {axis} may be {_any(would)}{pad}")
    return wrong


def _uncut_batch(cfg: Config, shape: Sizes, stage: Stage) -> str | None:
    """Clips are sharded over data and fsdp, or over data alone and their samples over fsdp (RULES in sharding.py)."""
    of, names = getattr(cfg, stage), ("batch", "micro_batch")
    names += ("mini_batch", "rollout_batch") if stage == "grpo" else ()
    clips, name = min((getattr(of, name), name) for name in names if getattr(of, name))
    samples = cfg.grpo.group if stage == "grpo" else 1
    parts = shape.data if samples % shape.fsdp == 0 else shape.data * shape.fsdp
    if clips % parts == 0:
        return None
    would = [n for n in divisors(of.batch) if n % parts == 0]
    if name == "batch" or not would:
        below = clips // parts * parts
        would = [n for n in (below, below + parts) if n]
    near = [max((n for n in would if n < clips), default=None), min((n for n in would if n > clips), default=None)]
    text = _any([f"{n}" for n in near if n])
    if name != "batch" and of.batch % parts:
        text += f" with {stage}.batch a multiple of it"
    group = f", or {stage}.group a multiple of {shape.fsdp}" if stage == "grpo" and parts > shape.data else ""
    return (
        f"{stage}.{name}={clips} is no multiple of {parts} (data={shape.data}, fsdp={shape.fsdp}); take {text}{group}"
    )


def _any(numbers: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(numbers[:-1]), *numbers[-1:])))


def _refusal(
    cfg: Config,
    given: dict[str, int],
    open_: Sequence[Sizes],
    shapes: Sequence[Sizes],
    stage: Stage | None,
    devices: int,
    together: int,
) -> str:
    """The first of the shapes that were asked for, why it is refused, and the shapes that would do."""
    asked = ", ".join(f"mesh.{axis}={size}" for axis, size in given.items()) or "a mesh chosen automatically"
    if open_:
        why = f"as {open_[0]} " + "; ".join(_misfits(cfg, open_[0], stage))
    else:
        across = f", fsdp and model within a slice of {together}" if together < devices else ""
        why = f"the sizes of all axes must make {devices}{across}: each divides it"
    would = [str(shape) for shape in shapes if not _misfits(cfg, shape, stage)]
    meshes = f"these meshes do: {'; '.join(would)}" if would else f"no mesh of {devices} devices does"
    return f"{asked} does not fit {devices} devices and this configuration: {why}; {meshes}"
