"""What fits where a configuration does not: the largest micro-batch, remat policy and mesh, found by bisection.

A step of the ladder keeps less in memory than the one before, and costs more: nothing changed but the micro-batch,
then activations recomputed, then weights sharded over more devices, then heads too. The first step on which the
smallest micro-batch fits is taken, and on it the largest micro-batch that fits. Each look is a compilation, so there
are few.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from emojax.config import Config, ConfigError, Mesh
from emojax.parallel.meshes import divisors

ProgramName = Literal["sft", "grpo", "dpo", "caption"]


@dataclass(frozen=True)
class Outcome:
    """What a configuration needs of a device's memory."""

    needs: int  # bytes; where it did not compile, at least so many
    has: int | None  # None: no limit that is known
    compiled: bool  # False: its arguments alone are too much, so nothing was compiled

    @property
    def fits(self) -> bool:
        return self.has is None or self.needs <= self.has


def ladder(
    cfg: Config, program: ProgramName, sizes: Sequence[Mesh], valid: Callable[[Config], bool]
) -> list[list[Config]]:
    """The steps, each its micro-batches in ascending order.

    Args:
      sizes: meshes that shard weights more and more.
      valid: whether a configuration can be laid out at all.
    """
    learns = program != "caption"
    steps = [cfg]
    if learns and not cfg.model.remat:
        steps.append(dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, remat=True)))
    steps += [dataclasses.replace(steps[-1], mesh=mesh) for mesh in sizes if mesh != cfg.mesh]
    found = [[one for one in _micro_batches(step, program) if valid(one)] for step in steps]
    return [step for step in found if step]


def search(
    cfg: Config, outcome: Outcome, steps: Sequence[Sequence[Config]], attempt: Callable[[Config], Outcome]
) -> tuple[Config | None, dict[Config, Outcome]]:
    """The first configuration that fits, None where none does; and all that was looked at, in that order.

    Args:
      outcome: of `cfg` itself, which did not fit.
    """
    known = {cfg: outcome}

    def fits(one: Config) -> bool:
        if one not in known:
            known[one] = attempt(one)
        return known[one].fits

    smallest = [step[0] for step in steps]
    at = _first(smallest[:1], fits)  # mostly a smaller micro-batch is enough
    if at is None and smallest[1:]:
        rest = _first(smallest[1:], fits)
        at = None if rest is None else rest + 1
    best = None
    if at is not None:
        descending = list(reversed(steps[at]))
        largest = _first(descending, fits)
        best = None if largest is None else descending[largest]
    return best, known


def settings(cfg: Config, other: Config) -> tuple[str, ...]:
    """What to give `--set` so that `cfg` becomes the other, of what is tried here."""
    fields = [
        ("sft.micro_batch", cfg.sft.micro_batch, other.sft.micro_batch),
        ("grpo.micro_batch", cfg.grpo.micro_batch, other.grpo.micro_batch),
        ("dpo.micro_batch", cfg.dpo.micro_batch, other.dpo.micro_batch),
        ("model.remat", cfg.model.remat, other.model.remat),
        *((f"mesh.{f.name}", getattr(cfg.mesh, f.name), getattr(other.mesh, f.name)) for f in dataclasses.fields(Mesh)),
    ]
    return tuple(f"{name}={str(new).lower()}" for name, old, new in fields if old != new)


def meshes(devices: int, fsdp: int, model: int, valid: Callable[[int, int], bool]) -> list[Mesh]:
    """Meshes that shard weights more than (fsdp, model) does, each more than the one before; heads last."""
    pairs = [(m, f) for m in divisors(devices) for f in divisors(devices // m) if m >= model and valid(f, m)]
    found, shards = [], fsdp * model
    for m, f in sorted(pairs):
        if f * m > shards:
            found.append(Mesh(fsdp=f, model=m))
            shards = f * m
    return found


def allowed(make: Callable[[Config], object]) -> Callable[[Config], bool]:
    """Whether `make` refuses a configuration."""

    def valid(cfg: Config) -> bool:
        try:
            make(cfg)
        except ConfigError:
            return False
        return True

    return valid


def _micro_batches(cfg: Config, program: ProgramName) -> list[Config]:
    """Divisors of an update's batch that are not above what is asked for; the whole of it is 0."""
    if program == "caption":
        return [cfg]
    stage = getattr(cfg, program)
    whole = (cfg.grpo.mini_batch if program == "grpo" else 0) or stage.batch
    sizes = [n for n in divisors(whole) if n <= (stage.micro_batch or whole)]
    return [
        dataclasses.replace(cfg, **{program: dataclasses.replace(stage, micro_batch=0 if n == whole else n)})
        for n in sizes
    ]


def _first(ordered: Sequence[Config], fits: Callable[[Config], bool]) -> int | None:
    """The first that fits, where all after it would; the last is looked at only if no other does."""
    low, high = 0, len(ordered)  # all before `low` do not fit, the one at `high` does or is beyond the end
    while low < high:
        middle = (low + high) // 2
        if fits(ordered[middle]):
            high = middle
        else:
            low = middle + 1
    return low if low < len(ordered) else None
