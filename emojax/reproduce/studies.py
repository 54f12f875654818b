"""What a study changes: each is a list of runs that differ from the first one in one thing."""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass

from emojax.config import Config, ConfigError
from emojax.errors import nearest


@dataclass(frozen=True)
class Variant:
    """A run, as it differs from the study's plain one."""

    name: str
    settings: tuple[str, ...] = ()  # of the configuration
    flags: str = ""  # of XLA, beside those of the environment
    python: str = ""  # another interpreter, with emojax's dependencies; empty: this one
    devices: int = 0  # of CPU, made of one; 0: those that there are
    processes: int = 1
    stop: int = 0  # a step after which it is stopped, and resumed; 0: none
    replay: bool = False  # it learns from the captions that the plain run sampled


@dataclass(frozen=True)
class Given:
    """What a study is asked for besides its name."""

    cfg: Config
    stage: str
    steps: int
    python: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


FLAGS = ("--xla_cpu_enable_fast_math=true", "--xla_backend_optimization_level=0")
PLAIN = Variant("plain")


def variants(name: str, given: Given) -> list[Variant]:
    """Raises ConfigError: there is no such study, or it lacks what it is about."""
    if name not in STUDIES:
        raise ConfigError(f"there is no study {name!r}{nearest(name, list(STUDIES))}; there are {', '.join(STUDIES)}")
    return STUDIES[name](given)


def _rerun(given: Given) -> list[Variant]:
    return [Variant("again")]


def _resume(given: Given) -> list[Variant]:
    middle = max(given.steps // 2, 1)
    return [Variant(f"stopped after {middle}", stop=middle)]


def _mesh(given: Given) -> list[Variant]:
    return [Variant(f"{n} devices", devices=n) for n in (2, 4, 8) if _batch(given) % n == 0]


def _processes(given: Given) -> list[Variant]:
    return [Variant("2 processes", processes=2, devices=1)]


def _batch(given: Given) -> int:
    return given.cfg.sft.batch if given.stage == "sft" else given.cfg.grpo.batch


def _micro(given: Given) -> list[Variant]:
    sizes = [_batch(given) // n for n in (2, 4) if _batch(given) % n == 0]
    return [Variant(f"micro-batch {size}", (f"{given.stage}.micro_batch={size}",)) for size in sizes]


def _precision(given: Given) -> list[Variant]:
    """Of Emo-GRPO also by the plain run's captions: runs that sample differ by what they sample after a few steps."""
    found = [
        Variant("bfloat16", ("precision=bfloat16",)),
        Variant("frozen weights bfloat16", ("frozen_precision=bfloat16",)),
    ]
    replayed = [dataclasses.replace(each, name=f"{each.name}, captions replayed", replay=True) for each in found]
    return found + replayed * (given.stage == "grpo")


def _seed(given: Given) -> list[Variant]:
    first = given.cfg.seed
    return [Variant(f"seed {seed}", (f"seed={seed}",)) for seed in (first + 101, first + 102)]


def _noise(given: Given) -> list[Variant]:
    first = given.cfg.seed
    return [Variant(f"noise {seed}", (f"noise_seed={seed}",)) for seed in (first + 101, first + 102)]


def _perturb(given: Given) -> list[Variant]:
    return [Variant(f"{ulps} ulp{'s' * (ulps > 1)}", (f"perturb={ulps}",)) for ulps in (1, 1024)]


def _gap(given: Given) -> list[Variant]:
    if given.stage != "grpo":
        raise ConfigError("the study `gap` is of what Emo-GRPO samples; ask for --stage grpo")
    lengths = [given.cfg.caption_tokens // n for n in (4, 2)]
    found = [Variant(f"{length} tokens", (f"caption_tokens={length}",)) for length in lengths if length]
    return found + [Variant(f"top-p {p}", (f"grpo.sampling.top_p={p}",)) for p in (0.5, 0.9)]


def _flags(given: Given) -> list[Variant]:
    return [Variant(flags.removeprefix("--"), flags=flags) for flags in given.flags or FLAGS]


def _versions(given: Given) -> list[Variant]:
    if not given.python:
        raise ConfigError(
            "the study `versions` runs emojax by other interpreters: name them by --python, such as "
            f"--python {os.path.join('other', 'bin', 'python')}"
        )
    return [Variant(python, python=python) for python in given.python]


STUDIES: dict[str, Callable[[Given], list[Variant]]] = {
    "rerun": _rerun,
    "resume": _resume,
    "mesh": _mesh,
    "processes": _processes,
    "batch": _micro,
    "precision": _precision,
    "seed": _seed,
    "noise": _noise,
    "perturb": _perturb,
    "gap": _gap,
    "flags": _flags,
    "versions": _versions,
}
