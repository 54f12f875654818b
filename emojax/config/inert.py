"""Settings that would do nothing beside the others: refused when a configuration is asked for, and told why."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from emojax.config.schema import Config
from emojax.errors import ConfigError


class Inert(NamedTuple):
    """Fields that do nothing where `idle` holds."""

    fields: tuple[str, ...]
    idle: Callable[[Config], bool]
    why: str


INERT = (
    Inert(
        ("lora.rank", "lora.alpha", "lora.dora"),
        lambda cfg: not cfg.lora.targets,
        "lora.targets is empty: name the linear maps that get adapters",
    ),
    Inert(
        ("eval_clips", "patience"),
        lambda cfg: not cfg.eval_every,
        "eval_every=0: nothing is evaluated while training",
    ),
    Inert(
        ("patience",),
        lambda cfg: not cfg.keep_best_by.removeprefix("-").startswith("eval_"),
        "keep_best_by that is no metric of an evaluation: name one, such as eval_greedy_reward",
    ),
    Inert(
        ("grpo.clip_low", "grpo.clip_high"),
        lambda cfg: cfg.grpo.updates == 1,
        "grpo.updates=1: a policy that has just sampled has a ratio of one, which no bound clips",
    ),
    Inert(
        ("data.frame_resize", "data.frame_filter"),
        lambda cfg: cfg.model.video is None,
        "model.video=none: no frame is read",
    ),
    Inert(
        ("model.decoder.window_from",),
        lambda cfg: getattr(cfg.model.decoder, "window", 0) is None,
        "model.decoder.window=none: every layer looks back all the way",
    ),
)


def check(cfg: Config) -> None:
    """Raises ConfigError for a field that is set to what would do nothing."""
    for inert in INERT:
        if not inert.idle(cfg):
            continue
        for path in inert.fields:
            *parents, name = path.split(".")
            node: Any = cfg
            for parent in parents:
                node = getattr(node, parent)
            usual = next(field.default for field in dataclasses.fields(node) if field.name == name)
            if (value := getattr(node, name)) != usual:
                raise ConfigError(f"{path}={value} does nothing with {inert.why}")
