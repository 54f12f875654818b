"""The configuration of the method: what the reward is, and how the two stages learn."""

import math
from dataclasses import dataclass, field
from typing import Literal

from emojax.config.concepts import CONCEPTS, TEMPLATES, Attribute, Concept
from emojax.config.families import TextConfig
from emojax.config.parts import read_all
from emojax.errors import require


@dataclass(frozen=True)
class Reward:
    """What scores a caption: a weighted sum of parts, and what these read."""

    # each NAME(options)*WEIGHT, see config/parts.py; a part of weight 0 is logged and not paid
    parts: tuple[str, ...] = ("emotion*0.5", "sentence*0.5", "facts*0")
    model: str = "sentence-transformers/all-MiniLM-L6-v2"  # a directory or a hub id
    sizes: TextConfig | None = None  # what to take it for in a plan where its files are not at hand
    coordinates: Literal["cosine", "least_squares", "orthonormal"] = "cosine"
    center: bool = True
    concepts: tuple[Concept, ...] = CONCEPTS
    attributes: tuple[Attribute, ...] = ()  # facts besides the emotion, and the words that state them
    templates: tuple[str, ...] = TEMPLATES
    max_bytes: int = 256  # of a caption's text that the reward reads
    max_tokens: int = 64  # of a caption in the reward model's tokens, special tokens included

    def __post_init__(self) -> None:
        read_all(self.parts)
        require(self.max_bytes > 0, f"reward.max_bytes wants a positive number, got {self.max_bytes}")
        require(self.max_tokens > 2, f"reward.max_tokens wants more than the 2 special tokens, got {self.max_tokens}")
        require(bool(self.templates), "reward.templates wants at least one, got none")


@dataclass(frozen=True)
class Optimizer:
    """AdamW with linear warm-up and cosine decay to a tenth."""

    learning_rate: float = 1e-3
    warmup: float = 0.03  # share of the steps
    weight_decay: float = 0.01
    b1: float = 0.9
    b2: float = 0.98
    # of the denominator. A gradient that is zero but for rounding, as an encoder's key biases have it, becomes whole
    # steps where this is smaller than the rounding: 1e-6 where runs on different meshes are compared weight by weight
    epsilon: float = 1e-8
    clip: float = 1.0  # global gradient norm

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epsilon", "clip"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"optimizer.{name} wants a positive number, got {value}")
        for name in ("b1", "b2"):
            require(
                0 <= getattr(self, name) < 1, f"optimizer.{name} wants a number in [0, 1), got {getattr(self, name)}"
            )
        require(0 <= self.warmup <= 1, f"optimizer.warmup wants a share of the steps in [0, 1], got {self.warmup}")
        require(0 <= self.weight_decay < math.inf, f"optimizer.weight_decay wants 0 or more, got {self.weight_decay}")


@dataclass(frozen=True)
class Sft:
    """The supervised cold start: maximum likelihood of the reference captions."""

    batch: int = 16
    micro_batch: int = 0  # clips whose gradients are computed at once; 0: the whole batch
    freeze: tuple[str, ...] = ()  # what keeps its weights: paths of the captioner's tree, with * for any text
    stream_dropout: float = 0.2  # probability that a clip is trained without its audio, and likewise its video
    media_dropout: float = 0.02  # and without both, where captions of its transcript alone are given
    transcript_dropout: float = 0.2  # and without its transcript
    words_weight: float = 8.0  # of the loss by which the media alone name the words of the captions, in any order
    emotion_weight: float = 1.0  # of the loss by which the media alone name the emotion, where clips have labels
    attributes_weight: float = 1.0  # and of that by which they name each of `reward.attributes`
    optimizer: Optimizer = field(default_factory=Optimizer)

    def __post_init__(self) -> None:
        for name, most in (("stream_dropout", 0.5), ("media_dropout", 1), ("transcript_dropout", 1)):
            value = getattr(self, name)
            require(0 <= value <= most, f"sft.{name} wants a probability in [0, {most}], got {value}")
        for name in ("words_weight", "emotion_weight", "attributes_weight"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"sft.{name} wants 0 or more, got {value}")


@dataclass(frozen=True)
class Sampling:
    temperature: float = 1.0
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        require(
            0 < self.temperature < math.inf, f"sampling.temperature wants a positive number, got {self.temperature}"
        )
        require(self.top_k >= 0, f"sampling.top_k wants 0 (all) or more, got {self.top_k}")
        require(0 < self.top_p <= 1, f"sampling.top_p wants a number in (0, 1], got {self.top_p}")
        require(0 <= self.min_p < 1, f"sampling.min_p wants a number in [0, 1), got {self.min_p}")


@dataclass(frozen=True)
class Grpo:
    """Emo-GRPO: group relative policy optimization (arXiv 2402.03300) of the decoder, encoders frozen."""

    freeze: tuple[str, ...] = ()  # parts of the decoder that keep their weights, too: "decoder.embed"
    batch: int = 8
    micro_batch: int = 0  # clips whose gradients are computed at once; 0: the whole batch
    group: int = 8  # G
    updates: int = 1  # optimizer updates per rollout
    beta: float = 0.04  # weight of the KL divergence (k3) from the cold start
    clip_low: float = 0.2
    clip_high: float = 0.2
    loss: Literal["grpo", "dapo", "dr_grpo"] = "grpo"  # mean over samples of means, over tokens, over B·G·T
    # divide advantages by the group's standard deviation; or not; or each part of the reward by its own (GDPO)
    scale: Literal["group", "none", "parts"] = "group"
    mask_truncated: bool = False  # a sample cut off before its end token gives no gradient
    sampling: Sampling = field(default_factory=Sampling)
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(learning_rate=1e-4, weight_decay=0.0))

    def __post_init__(self) -> None:
        require(self.group > 1, f"grpo.group wants at least 2 samples a clip to compare, got {self.group}")
        require(self.updates > 0, f"grpo.updates wants a positive number, got {self.updates}")
        require(0 <= self.beta < math.inf, f"grpo.beta wants 0 or more, got {self.beta}")
        require(0 <= self.clip_low < 1, f"grpo.clip_low wants a number in [0, 1), got {self.clip_low}")
        require(0 <= self.clip_high < math.inf, f"grpo.clip_high wants 0 or more, got {self.clip_high}")


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters (arXiv 2106.09685) beside linear maps, of both stages; all are trained, whatever is frozen.

    The decoder, the audio encoder or the video encoder keeps its own weights if it has adapters. What else a stage
    trains is what its `freeze` leaves: projectors, the emotion's map, parts without adapters.
    """

    targets: tuple[str, ...] = ()  # paths of linear maps as in `sft.freeze`: "decoder.layers.attention.*"; none: off
    rank: int = 8
    alpha: float = 16.0  # an adapter counts alpha / rank
    dora: bool = False  # also learn each column's length (arXiv 2402.09353)

    def __post_init__(self) -> None:
        require(self.rank > 0, f"lora.rank wants a positive number, got {self.rank}")
        require(0 < self.alpha < math.inf, f"lora.alpha wants a positive number, got {self.alpha}")
