"""The whole plan of a program: compiled, looked at, and where it does not fit, what would."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from emojax import param
from emojax.config import Config, ConfigError, Mesh
from emojax.decoder import captioner, pretrained
from emojax.parallel import chips
from emojax.planning import attempt, collectives, hlo, memory, proposals, roofline
from emojax.planning import topology as pods
from emojax.planning.programs import Judge, PlannedProgram, judge, lower, make_mesh
from emojax.planning.proposals import Outcome, ProgramName
from emojax.training import executable


def plan(
    cfg: Config,
    program: ProgramName,
    topology: str | None = None,
    *,
    limit: float | None = None,
    propose: bool = True,
    save: Path | None = None,
) -> dict[str, Any]:
    """Lowers and compiles a program for this machine's devices or for a TPU topology, without running it.

    Args:
      topology: see `topology.parse`; `topology.prepare` has to be called before JAX is imported.
      limit: GiB of a device that the program may use, instead of all that it has.
      propose: where it does not fit, look for what does: a few more compilations.
      save: file to write the compiled programs of all length buckets to (see `training/executable.py`).
    Returns:
      program, config, topology, devices, chips, mesh, clips (of a step), buckets (lengths that it is compiled for; what
      follows is of the longest), executables (compilations that it took), compile_seconds, fingerprint (SHA-256 of the
      lowered programs of all buckets), assumed (files that are not at hand, for which the configuration's sizes stood
      in), parameters (whole, by part, and those that the program trains), flops (of a step, counted by hand) and
      flops_per_device; fits, peak_bytes_per_device and memory (bytes of a device; what is left is negative where it
      does not fit); where it compiled, host_callbacks, infeeds, outfeeds (instructions of that kind), collectives,
      flops_by_compiler (a loop's body once) and, of a TPU, estimate; where it does not fit, proposal; saved.
    Raises:
      ConfigError: the topology is not known, or the mesh does not divide the configuration.
    """
    if save and program == "caption":
        raise ConfigError("--save keeps training programs, which --executable uses; got --program caption")
    cfg = pretrained.resolve(cfg, fetch=False)
    pod = pods.parse(topology) if topology else None
    devices = pods.devices(pod) if pod else jax.devices()
    reward = judge(cfg, program)
    if save and reward.assumed:
        raise ConfigError(
            f"--save wants all files of the models at hand, {', '.join(reward.assumed)} are not: a program compiled "
            "from assumed sizes is not the one that a run would use"
        )
    room = int(limit * chips.GIB) if limit else chips.memory(devices[0])
    lowered = lower(cfg, program, devices, reward)
    tried = attempt.attempt(lowered, room)
    report: dict[str, Any] = {
        "program": program,
        "config": cfg.name,
        "topology": topology or f"{jax.default_backend()}:{len(devices)}",
        "devices": len(devices),
        "chips": pod.chips if pod else len(devices),
        "mesh": dict(lowered.mesh.shape),
        "clips": lowered.clips,
        "buckets": len(lowered.buckets.lowered),
        "executables": tried.executables,
        "compile_seconds": round(tried.seconds, 2),
        "fingerprint": lowered.buckets.fingerprint,
        "assumed": reward.assumed,
        "parameters": _parameters(cfg, reward, lowered),
        "flops": sum(lowered.operations.values()),
        "flops_per_device": sum(lowered.operations.values()) / len(devices),
        "fits": tried.outcome.fits,
        **_memory(tried),
    }
    if tried.compiled is not None:
        report |= _program(cfg, lowered, tried.compiled)
        if save and tried.outcome.fits:
            shorter = [one.compile() for one in list(lowered.buckets.lowered.values())[:-1]]
            about = {"config": cfg.name, "topology": report["topology"]}
            executable.save(save, program, lowered.buckets, [*shorter, tried.compiled], about)
            report["saved"] = str(save)
    if propose and not tried.outcome.fits:
        report["proposal"] = proposal(cfg, program, devices, reward, tried.outcome, lowered.mesh)
    return report


def _parameters(cfg: Config, reward: Judge, lowered: PlannedProgram) -> dict[str, int]:
    declared = captioner.declare(cfg)
    parts = {"all": declared, "encoders": declared.encoders, "decoder": declared.decoder}
    counts = {name: param.count(part) for name, part in parts.items()}
    return {**counts, "reward": param.count(reward.model.sentence), "trained": lowered.trained}


def _memory(tried: attempt.Attempt) -> dict[str, Any]:
    needs, has = tried.outcome.needs, tried.outcome.has
    used = {"peak": needs} if tried.compiled is None else memory.of(tried.compiled)
    left = None if has is None else has - needs
    return {"peak_bytes_per_device": used["peak"], "memory": {**used, "capacity": has, "left": left}}


def _program(cfg: Config, lowered: PlannedProgram, compiled: jax.stages.Compiled) -> dict[str, Any]:
    """What the compiled program tells."""
    text, mesh = compiled.as_text() or "", lowered.mesh
    found = collectives.collectives(text, mesh.size, pods.slices_of(mesh))
    told: dict[str, Any] = {
        **hlo.host_traffic(text),
        "collectives": collectives.table(found),
        "flops_by_compiler": (compiled.cost_analysis() or {}).get("flops"),
    }
    chip = chips.chip_of(mesh.devices.flat[0])
    if chip:
        weights, touched = param.count(captioner.declare(cfg).decoder), memory.touched(compiled)
        told["estimate"] = roofline.estimate(cfg, chip, lowered, weights, touched, found)
    return told


def proposal(
    cfg: Config,
    program: ProgramName,
    devices: list[Any],
    reward: Judge | None,
    outcome: Outcome,
    mesh: jax.sharding.Mesh,
) -> dict[str, Any]:
    """The settings under which it fits (None: none of those tried), and all that was tried.

    Args:
      reward: None: the cold start has none.
      outcome: of `cfg` as it is, on `mesh`; it does not fit.
    """

    def shape(one: Config) -> Mapping[str, int]:
        return make_mesh(one, program, devices).shape

    def sharded(fsdp: int, model: int) -> Config:
        return dataclasses.replace(cfg, mesh=Mesh(fsdp=fsdp, model=model))

    def look(one: Config) -> Outcome:
        return attempt.cheaply(lower(one, program, devices, reward), outcome.has)

    def named(one: Config) -> list[str]:
        """Without the mesh, where it is the one that is chosen anyway."""
        free = dataclasses.replace(one, mesh=cfg.mesh)
        return list(proposals.settings(cfg, free if valid(free) and shape(free) == shape(one) else one))

    valid = proposals.allowed(shape)
    fsdp, model = mesh.shape["fsdp"], mesh.shape["model"]
    sizes = proposals.meshes(
        len(devices), fsdp, model, lambda f, m: bool(proposals.ladder(sharded(f, m), program, (), valid))
    )
    now = sharded(fsdp, model)  # one mesh for all micro-batches
    best, tried = proposals.search(now, outcome, proposals.ladder(now, program, sizes, valid), look)
    return {
        "settings": None if best is None else named(best),
        "tried": [
            {
                "settings": named(one),
                "needs": found.needs,
                "fits": found.fits,
                "compiled": found.compiled,
            }
            for one, found in tried.items()
        ],
    }
