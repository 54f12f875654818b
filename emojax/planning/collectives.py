"""What the devices send each other in a step, read off the compiled program."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from emojax.planning.hlo import Instruction, Times, elements, executed, size

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{((?:\{[\d,]*\},?)*)\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(r"replica_groups=@?mesh\[([^\]]*)\]\s*\{([^}]*)\}")
_MEGASCALE = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
_AXIS = re.compile(r"'([^']+)'(?:=(\d+))?(?::\((\d+)\)(\d+))?")


@dataclass(frozen=True)
class Collective:
    kind: str
    times: Times
    bytes: int  # the whole array: what a gather gives, what a reduction takes
    sent: float  # bytes that a device sends: by a ring, of all but its own share
    members: int  # devices of a group
    slices: bool  # some of them are of another slice, so bytes go through the data centre's network


def collectives(program: str, devices: int, slice_of: Sequence[int]) -> list[Collective]:
    """The collectives of a compiled program.

    Args:
      devices: that it was compiled for.
      slice_of: of each partition, in the order of the mesh; all 0 where there is one slice.
    """
    return list(_found(executed(program), devices, np.array(slice_of)))


def table(found: Sequence[Collective]) -> list[dict[str, object]]:
    """A row for each kind, kind of network and place: how many, how often a step runs them, and bytes of a step.

    A row that `may_end_early` stands in the loop that writes captions: it is counted to its longest caption.
    """
    rows: dict[tuple, dict[str, object]] = {}
    for one in found:
        key = (one.kind, "dcn" if one.slices else "ici", one.times.bounded, one.times.unknown)
        row = rows.setdefault(
            key,
            {
                "kind": key[0],
                "network": key[1],
                "may_end_early": key[2],
                "an_iteration_alone": key[3],
                "instructions": 0,
                "executed": 0,
                "bytes": 0,
                "sent_bytes": 0,
            },
        )
        adds = {"instructions": 1, "executed": one.times.count}
        adds |= {"bytes": one.bytes * one.times.count, "sent_bytes": round(one.sent * one.times.count)}
        for name, value in adds.items():
            row[name] += value  # pyright: ignore[reportOperatorIssue] these four are numbers
    return [rows[key] for key in sorted(rows)]


def _found(instructions: Sequence[Instruction], devices: int, slice_of: np.ndarray) -> Iterator[Collective]:
    for at in instructions:
        kind = at.opcode.removesuffix("-start")
        between = _MEGASCALE.search(at.rest) if at.opcode == "send" else None
        if between:
            yield _between_slices(at, between.group(1), int(slice_of.max()) + 1)
        elif kind in KINDS:
            groups = _groups(at.rest, devices)
            members = max(len(group) for group in groups)
            kind, whole = _whole(at, kind, members)
            crosses = any(len(set(slice_of[group])) > 1 for group in groups)
            yield Collective(kind, at.times, whole, _sent(kind, whole, members), members, crosses)


def _between_slices(at: Instruction, kind: str, slices: int) -> Collective:
    """How a TPU spells a collective over slices: after one inside each slice, what is sent through the host."""
    whole = max(elements(at.shape), default=0)
    return Collective(kind.lower().replace("_", "-"), at.times, whole, whole, slices, True)


def _whole(at: Instruction, kind: str, members: int) -> tuple[str, int]:
    """Kind and bytes of the whole array, of which the text says what a device has before or after."""
    if kind == "all-reduce" and "all-reduce-scatter" in at.inside:  # the TPU's spelling of the other kind
        return "reduce-scatter", size(at.shape)
    if at.opcode.endswith("-start") and kind != "all-reduce":  # (inputs, outputs, flags)
        return kind, max((n for n in elements(at.shape) if n > 4), default=0)
    return kind, size(at.shape) * (members if kind == "reduce-scatter" else 1)


def _sent(kind: str, whole: int, members: int) -> float:
    share = (members - 1) / members
    if kind in ("collective-permute", "collective-broadcast"):
        return float(whole)
    return whole * share * (2 if kind == "all-reduce" else 1)


def _groups(text: str, devices: int) -> list[list[int]]:
    """Partitions that send each other; where the text names none, all of them."""
    listed, iota, mesh = _LISTED.search(text), _IOTA.search(text), _MESH.search(text)
    if mesh:
        return _of_mesh(mesh.group(1), mesh.group(2))
    if iota:
        shape, dims = _numbers(iota.group(1)), _numbers(iota.group(2))
        order = np.arange(math.prod(dims)).reshape(dims)
        if iota.group(3):
            order = order.transpose(_numbers(iota.group(3)))
        return order.reshape(shape).tolist()
    groups = [_numbers(group) for group in re.findall(r"\{([\d,]+)\}", listed.group(1))] if listed else []
    return groups or [list(range(devices))]


def _of_mesh(sizes: str, axes: str) -> list[list[int]]:
    """`mesh['data'=4,'fsdp'=2] {'data','fsdp':(1)2}`: groups along these axes, or along a part of one, (before)size."""
    shape = {name: int(size) for name, size, _, _ in _AXIS.findall(sizes)}
    parts: list[int] = []
    along: list[int] = []
    wanted = {name: (int(before or 1), int(part or 0)) for name, _, before, part in _AXIS.findall(axes)}
    for name, whole in shape.items():
        before, part = wanted.get(name, (whole, 1))
        part = part or whole
        along += [len(parts) + 1] if name in wanted else []
        parts += [before, part, whole // (before * part)]
    order = np.arange(math.prod(parts)).reshape(parts)
    members = math.prod(parts[axis] for axis in along)
    return np.moveaxis(order, along, range(-len(along), 0)).reshape(-1, members).tolist()


def _numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",") if n]
