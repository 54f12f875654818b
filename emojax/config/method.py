"""The configuration of the method: what the reward is, how the cold start learns, and adapters."""

import math
from dataclasses import dataclass, field
from typing import Literal

from emojax.config.concepts import CONCEPTS, TEMPLATES, Attribute, Concept
from emojax.config.families import TextConfig
from emojax.config.optimizer import Optimizer
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
