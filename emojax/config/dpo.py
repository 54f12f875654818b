"""The configuration of DPO, which learns from pairs of captions, one better than the others."""

import math
from dataclasses import dataclass, field
from typing import Literal

from emojax.config.optimizer import Optimizer
from emojax.errors import require


@dataclass(frozen=True)
class Dpo:
    """Direct preference optimization (arXiv 2305.18290), with what AVEm-DPO (arXiv 2602.07054) adds to it.

    What each choice computes: docs/objectives.md.
    """

    # JSONL of pairs; or the scored samples of a run, its directory or its samples.jsonl: of each group the best against
    # the worst; empty: `chosen` and `rejected` of the manifest's clips
    pairs: str = ""
    margin: float = 0.0  # of samples: rewards of a pair differ by at least so much
    rejected: int = 1  # captions of a pair that are rejected, at most; AVEm-DPO has two, each counts half

    train: tuple[str, ...] = ("decoder",)  # what is trained, as in `grpo.train`
    freeze: tuple[str, ...] = ()  # what of it keeps its weights
    batch: int = 8  # pairs of a step
    micro_batch: int = 0  # pairs whose gradients are computed at once; 0: the whole batch

    loss: Literal["sigmoid", "sigmoid_norm", "robust", "hinge", "ipo"] = "sigmoid"
    beta: float = 0.1  # weight of the log-ratios to the reference policy; of "ipo" the paper's τ
    label_smoothing: float = 0.0  # of "robust": share of the pairs that are the wrong way round
    # γ of AVEm-DPO: a caption's log-probability without media counts so much against it
    text_prior: float = 0.0

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(learning_rate=1e-5, weight_decay=0.0))

    def __post_init__(self) -> None:
        require(0 <= self.margin < math.inf, f"dpo.margin wants 0 or more, got {self.margin}")
        require(self.rejected > 0, f"dpo.rejected wants a positive number, got {self.rejected}")
        require(
            self.micro_batch == 0 or (self.micro_batch > 0 and self.batch % self.micro_batch == 0),
            f"dpo.micro_batch wants a divisor of dpo.batch={self.batch} or 0, got {self.micro_batch}",
        )
        require(0 < self.beta < math.inf, f"dpo.beta wants a positive number, got {self.beta}")
        require(
            0 <= self.label_smoothing < 0.5,
            f"dpo.label_smoothing wants a share in [0, 0.5), got {self.label_smoothing}",
        )
        require(0 <= self.text_prior < math.inf, f"dpo.text_prior wants 0 or more, got {self.text_prior}")

    @property
    def captions(self) -> int:
        """Of a clip: the chosen one, and those that are rejected."""
        return 1 + self.rejected
