"""Settings that would do nothing beside the others, or what nobody can mean: refused when a configuration is asked for,
and told why."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from emojax.config.optimizer import Optimizer
from emojax.config.schema import Config, Corpus
from emojax.errors import ConfigError


class Inert(NamedTuple):
    """Fields that do nothing where `idle` holds."""

    fields: tuple[str, ...]
    idle: Callable[[Config], bool]
    why: str


def _of_optimizer(stage: str) -> tuple[Inert, ...]:
    def of(cfg: Config) -> Optimizer:
        return getattr(cfg, stage).optimizer

    path = f"{stage}.optimizer"
    return (
        Inert((f"{path}.decay",), lambda cfg: of(cfg).schedule != "wsd", f"a {path}.schedule other than wsd"),
        Inert((f"{path}.final",), lambda cfg: of(cfg).schedule == "constant", f"{path}.schedule=constant"),
        Inert(
            (f"{path}.epsilon",),
            lambda cfg: of(cfg).kind == "lion",
            f"{path}.kind=lion, which divides by nothing",
        ),
        Inert(
            (f"{path}.b1", f"{path}.b2", f"{path}.epsilon"),
            lambda cfg: of(cfg).kind == "adafactor",
            f"{path}.kind=adafactor, which keeps no mean of gradients",
        ),
    )


INERT = (
    Inert(
        ("lora.rank", "lora.alpha", "lora.dora"),
        lambda cfg: not cfg.lora.targets,
        "lora.targets is empty: name the linear maps that get adapters",
    ),
    Inert(
        ("sft.attributes_weight",),
        lambda cfg: not cfg.reward.attributes,
        "reward.attributes empty: there is none to be named",
    ),
    Inert(
        ("sft.words_weight", "sft.emotion_weight", "sft.attributes_weight"),
        lambda cfg: cfg.model.audio is None and cfg.model.video is None,
        "model.audio=none and model.video=none: there are no media that could tell it",
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
        ("grpo.clip_low", "grpo.clip_high", "grpo.clip_dual"),
        lambda cfg: not cfg.grpo.off_policy,
        "one optimizer update a rollout: a policy that has just sampled has a ratio of one, which no bound clips",
    ),
    Inert(
        ("grpo.clip_dual",),
        lambda cfg: cfg.grpo.loss == "cispo",
        "grpo.loss=cispo, which bounds the ratio by itself",
    ),
    Inert(
        ("grpo.kl", "grpo.kl_in", "grpo.kl_gradient", "grpo.kl_clamp", "grpo.kl_target", "grpo.reference_every"),
        lambda cfg: not cfg.grpo.beta,
        "grpo.beta=0: there is no reference policy",
    ),
    Inert(
        ("grpo.reference_share",),
        lambda cfg: not cfg.grpo.reference_every,
        "grpo.reference_every=0: the reference policy does not move",
    ),
    Inert(
        ("grpo.kl_gradient",),
        lambda cfg: cfg.grpo.kl_in == "reward",
        "grpo.kl_in=reward: the divergence is no part of the loss",
    ),
    Inert(
        ("grpo.kl_gradient",),
        lambda cfg: cfg.grpo.kl in ("k2", "exact"),
        "a grpo.kl whose own gradient is that of the divergence: k2, exact",
    ),
    Inert(
        ("grpo.entropy_target",),
        lambda cfg: not cfg.grpo.entropy_weight,
        "grpo.entropy_weight=0, which stays 0 whatever it is multiplied by: begin with more",
    ),
    Inert(
        ("grpo.deviation",),
        lambda cfg: cfg.grpo.scale == "none",
        "grpo.scale=none: advantages are divided by no deviation",
    ),
    Inert(
        ("grpo.temperature_last",),
        lambda cfg: cfg.grpo.temperature_last == cfg.grpo.sampling.temperature,
        "grpo.sampling.temperature the same: it would not move",
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
    *_of_optimizer("sft"),
    *_of_optimizer("grpo"),
    Inert(
        ("dpo.label_smoothing",),
        lambda cfg: cfg.dpo.loss != "robust",
        "a dpo.loss other than robust, which takes no pair to be the wrong way round",
    ),
    Inert(
        ("dpo.text_prior",),
        lambda cfg: cfg.dpo.loss == "ipo",
        "dpo.loss=ipo, which regresses log-ratios a token and has no reward",
    ),
    Inert(
        ("dpo.margin",),
        lambda cfg: not cfg.dpo.pairs,
        "dpo.pairs empty: pairs of the manifest have no rewards",
    ),
    *_of_optimizer("dpo"),
)

CORPUS = Inert(  # presets have values of their own of these: they are refused where they are set by hand
    tuple(f"data.corpus.{field.name}" for field in dataclasses.fields(Corpus)),
    lambda cfg: bool(cfg.data.manifest),
    "data.manifest: its clips are read, and the built-in corpus is not made",
)


class Senseless(NamedTuple):
    """Settings that each do something, and together what nobody can mean."""

    holds: Callable[[Config], bool]
    why: str


SENSELESS = (
    Senseless(
        lambda cfg: cfg.grpo.loss == "reinforce" and cfg.grpo.off_policy,
        "grpo.loss=reinforce has no ratio that would correct for a policy that has moved on since it sampled: it wants "
        "grpo.updates=1 and grpo.mini_batch=0; or take grpo.loss=grpo",
    ),
    Senseless(
        lambda cfg: cfg.grpo.baseline == "greedy" and cfg.grpo.scale == "parts",
        "grpo.scale=parts compares each part with its mean in the group: with grpo.baseline=greedy take "
        "grpo.scale=none, batch or group",
    ),
    Senseless(
        lambda cfg: cfg.grpo.beta > 0 and (cfg.grpo.kl, cfg.grpo.kl_in, cfg.grpo.kl_gradient) == ("k1", "loss", "own"),
        "grpo.kl=k1 in the loss has a gradient that is zero on average: take grpo.kl_gradient=true, grpo.kl_in=reward "
        "or another grpo.kl",
    ),
)


def check(cfg: Config, asked: Collection[str] = (), saved: bool = False) -> None:
    """Raises ConfigError for a field that is set to what would do nothing, and for settings that fit ill together.

    Args:
      asked: paths of the fields that were set by hand.
      saved: the others are a run's own, which goes on with them whatever they are.
    """
    for senseless in SENSELESS:
        if senseless.holds(cfg) and (asked or not saved):
            raise ConfigError(senseless.why)
    for inert in (*INERT, CORPUS):
        if not inert.idle(cfg):
            continue
        by_hand = saved or inert is CORPUS
        for path in (path for path in inert.fields if path in asked or not by_hand):
            value, usual = _value(cfg, path)
            if value != usual or inert is CORPUS:
                raise ConfigError(f"{path}={value} does nothing with {inert.why}")


def _value(cfg: Config, path: str) -> tuple[Any, Any]:
    """A field's value and its default."""
    *parents, name = path.split(".")
    node: Any = cfg
    for parent in parents:
        node = getattr(node, parent)
    return getattr(node, name), next(field.default for field in dataclasses.fields(node) if field.name == name)
