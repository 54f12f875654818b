"""The configuration of an optimizer and of its learning rate."""

import math
from dataclasses import dataclass
from typing import Literal

from emojax.errors import require


@dataclass(frozen=True)
class Optimizer:
    """One of optax's, with linear warm-up."""

    kind: Literal["adamw", "lion", "adafactor", "muon"] = "adamw"
    learning_rate: float = 1e-3
    warmup: float = 0.03  # share of the steps
    # what comes after it: "wsd" (warm-up, stable, decay; arXiv 2404.06395) is constant and falls at the end
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    decay: float = 0.2  # share of the steps in which "wsd" falls
    final: float = 0.1  # share of the learning rate that is left at the end
    weight_decay: float = 0.01
    b1: float = 0.9  # of the mean of gradients; muon's momentum, too
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
        for name in ("warmup", "decay"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"optimizer.{name} wants a share of the steps in [0, 1], got {value}")
        require(0 <= self.final <= 1, f"optimizer.final wants a share of the learning rate in [0, 1], got {self.final}")
        require(0 <= self.weight_decay < math.inf, f"optimizer.weight_decay wants 0 or more, got {self.weight_decay}")
