"""A file of compiled programs: `emojax plan --save` writes it, a run started with `--executable` reads it.

    magic, version    a line
    SHA-256           a line, of all that follows
    header            a line of JSON: by stage, for which configuration, program, devices and versions it was compiled
    programs          of each stage, one a length bucket, ascending: what `jax.experimental.serialize_executable` gives

Loading a program runs what is in the file (JAX keeps it as a pickle, and it is machine code): load only what you or
somebody you trust has planned. The sum tells a file that was cut short or changed by accident, not one that was forged.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from emojax.errors import RunError
from emojax.storage import parse_json, replacing
from emojax.training.aot import LoweredBuckets

MAGIC = b"emojax executable 1\n"
_TOLD = ("config", "topology", "fingerprint", "jax", "jaxlib", "compiler", "device", "devices")  # of each stage


def save(
    path: Path, stage: str, buckets: LoweredBuckets, compiled: Sequence[jax.stages.Compiled], about: dict[str, str]
) -> None:
    """Writes the programs of a stage, beside those of the other stage where the file has them already.

    Args:
      compiled: one a length bucket, ascending.
      about: for people: of which configuration and for which topology.
    Raises:
      RunError: the file is there and is no such file.
    """
    from jax.experimental import serialize_executable

    stages, blobs = _read(path) if path.exists() else ({}, {})
    blobs[stage] = [serialize_executable.serialize(one)[0] for one in compiled]
    devices = list(_devices(compiled[0]))
    stages[stage] = {**about, "fingerprint": buckets.fingerprint, **_made_with(devices)}
    for name, programs in blobs.items():
        stages[name]["sizes"] = [len(blob) for blob in programs]
    body = json.dumps(stages).encode() + b"\n" + b"".join(blob for name in stages for blob in blobs[name])
    with replacing(path) as new:
        new.write_bytes(sealed(body))


def sealed(body: bytes) -> bytes:
    """The content of a file with this header and these programs."""
    return MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def load(path: Path, stage: str, buckets: LoweredBuckets, mesh: jax.sharding.Mesh) -> dict[tuple, jax.stages.Compiled]:
    """The programs of a stage by the shapes of their batches.

    Raises:
      RunError: no such file; or it was compiled for another program, other devices or by other versions.
    """
    from jax.experimental import serialize_executable

    stages, blobs = _read(path)
    _require(stage, stages, path)
    devices = list(mesh.devices.flat)
    there = stages[stage]
    here = {"fingerprint": buckets.fingerprint, **_made_with(devices)}
    differ = [f"  {name}: {there[name]} there, {here[name]} here" for name in here if there[name] != here[name]]
    if differ:
        made = f"{there['config']} on {there['topology']}"
        raise RunError(
            f"{path} was compiled for something else than this run ({made}):\n"
            + "\n".join(differ)
            + f"\nanother fingerprint: the configuration, the mesh or emojax is another; {_again(stage, path)}"
        )
    if len(blobs[stage]) != len(buckets.lowered):
        raise RunError(
            f"{path} has {len(blobs[stage])} programs of `{stage}`, this run has {len(buckets.lowered)};"
            f" {_again(stage, path)}"
        )
    return {
        shapes: serialize_executable.deserialize_and_load(
            blob, lowered.in_tree, lowered.out_tree, backend=devices[0].client, execution_devices=devices
        )
        for (shapes, lowered), blob in zip(buckets.lowered.items(), blobs[stage], strict=True)
    }


def check(path: Path | None, *stages: str) -> None:
    """Before a run is begun: the file, where one is given, is whole and has programs of these stages; else RunError."""
    if path:
        there, _ = _read(path)
        for stage in stages:
            _require(stage, there, path)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, list[bytes]]]:
    if not path.is_file():
        raise RunError(f"{path}: no such file; `emojax plan --save {path}` writes one")
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        raise RunError(f"{path} is no file of compiled programs that this emojax can read; {_again('grpo', path)}")
    total, _, body = content[len(MAGIC) :].partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != total:
        raise RunError(f"{path} is damaged: its SHA-256 is not the one it was written with; {_again('grpo', path)}")
    header, _, rest = body.partition(b"\n")
    try:
        stages, blobs, at = _header(header), {}, 0
    except ValueError as e:
        raise RunError(f"{path}: {e}; {_again('grpo', path)}") from None
    for name, about in stages.items():
        blobs[name] = []
        for size in about["sizes"]:
            blobs[name].append(rest[at : at + size])
            at += size
    if at != len(rest):
        raise RunError(
            f"{path}: its header tells {at} bytes of programs, there are {len(rest)}; {_again('grpo', path)}"
        )
    return stages, blobs


def _header(line: bytes) -> dict[str, dict[str, Any]]:
    """What is told of each stage; ValueError where that is of another shape."""
    stages = parse_json(line, "its header")
    if not isinstance(stages, dict):
        raise ValueError("its header is no object of stages")
    for about in stages.values():
        if not isinstance(about, dict):
            raise ValueError("its header is no object of stages")
        sizes = about.get("sizes")
        if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
            raise ValueError('its header wants "sizes", the bytes of each program, for each stage')
        if lacking := [name for name in _TOLD if name not in about]:
            raise ValueError(f"its header lacks {', '.join(lacking)}")
    return stages


def _made_with(devices: Sequence[Any]) -> dict[str, str | int]:
    """What an executable is good for, beside its program."""
    tpu = devices[0].platform == "tpu"  # a described pod and a real one name their runtimes differently
    compiler = f"libtpu {importlib.metadata.version('libtpu')}" if tpu else devices[0].client.platform_version
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib")}
    return {**versions, "compiler": compiler, "device": devices[0].device_kind, "devices": len(devices)}


def _devices(compiled: jax.stages.Compiled) -> Any:
    return next(iter(jax.tree.leaves(compiled.input_shardings))).mesh.devices.flat


def _require(stage: str, stages: dict[str, Any], path: Path) -> None:
    if stage not in stages:
        names = ", ".join(f"`{name}`" for name in stages)
        raise RunError(f"{path} has no programs of `{stage}`, it has those of {names}; {_again(stage, path)}")


def _again(stage: str, path: Path) -> str:
    return f"plan again with this run's --config and --set: emojax plan --program {stage} --save {path}"
