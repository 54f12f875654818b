"""The configuration of Emo-GRPO: how captions are sampled, and what their rewards make of the policy."""

import math
from dataclasses import dataclass, field
from typing import Literal

from emojax.config.optimizer import Optimizer
from emojax.errors import require


@dataclass(frozen=True)
class Sampling:
    temperature: float = 1.0
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    min_p: float = 0.0
    # logits of tokens that the caption already has are divided by it, or multiplied below 0 (arXiv 1909.05858)
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name in ("temperature", "repetition_penalty"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"sampling.{name} wants a positive number, got {value}")
        require(self.top_k >= 0, f"sampling.top_k wants 0 (all) or more, got {self.top_k}")
        require(0 < self.top_p <= 1, f"sampling.top_p wants a number in (0, 1], got {self.top_p}")
        require(0 <= self.min_p < 1, f"sampling.min_p wants a number in [0, 1), got {self.min_p}")


@dataclass(frozen=True)
class Grpo:
    """Emo-GRPO: group relative policy optimization (arXiv 2402.03300).

    What each choice computes: docs/objectives.md.
    """

    # what is trained, by paths of the captioner's tree, with * for any text: also "encoders.*_projector"
    train: tuple[str, ...] = ("decoder",)
    freeze: tuple[str, ...] = ()  # what of it keeps its weights: "decoder.embed"
    batch: int = 8  # clips that are learnt from in a step
    group: int = 8  # G, captions sampled of each
    # clips rolled out for each one that is learnt from: those whose rewards differ most (dynamic sampling)
    oversample: int = 1
    stream_dropout: float = 0.0  # probability that a clip comes without its audio, and likewise its video
    transcript_dropout: float = 0.0  # and without its transcript
    rollout_batch: int = 0  # clips that are sampled and scored at once; 0: all
    micro_batch: int = 0  # clips whose gradients are computed at once; 0: all of an optimizer update
    mini_batch: int = 0  # clips of an optimizer update; 0: the whole batch
    updates: int = 1  # passes over a rollout, each of batch / mini_batch optimizer updates
    samples: str = ""  # a run that was trained with --record, whose captions are learnt from in place of own samples

    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo", "gspo", "gspo_token", "cispo", "reinforce"] = "grpo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    clip_dual: float = 0.0  # the most that a ratio counts where the advantage is negative; 0: no bound
    mask_truncated: bool = False  # a sample cut off before its end token gives no gradient
    uncertain: float = 1.0  # share of the tokens, those of highest entropy, that the policy's loss counts

    # what a reward is compared with: that of the group, of its other samples, or of one greedy caption (self-critical)
    baseline: Literal["mean", "leave_one_out", "greedy"] = "mean"
    # divide advantages by the deviation of the group; of the batch; not; or each part of the reward by its own (GDPO)
    scale: Literal["group", "batch", "none", "parts"] = "group"
    deviation: Literal["population", "sample"] = "population"  # divided by n, or by n - 1

    beta: float = 0.04  # weight of the KL divergence from the reference policy; 0: there is none
    kl: Literal["k1", "k2", "k3", "exact"] = "k3"
    kl_in: Literal["loss", "reward"] = "loss"
    kl_gradient: Literal["own", "true"] = "own"  # as a loss: of the estimator, or that of KL(policy ‖ reference)
    kl_clamp: float = 0.0  # the most that a token's divergence counts, without gradient beyond; 0: no bound
    kl_target: float = 0.0  # nats a token that beta is steered to; 0: beta is fixed
    reference_every: int = 0  # steps after which the reference policy moves towards the policy; 0: it never does
    reference_share: float = 1.0  # by this share of the way: 1 is the policy itself, less an exponential average

    entropy_weight: float = 0.0  # of the tokens' mean entropy, which is added to what is maximised
    entropy_target: float = 0.0  # nats a token that the weight is steered to; 0: it is fixed

    sampling: Sampling = field(default_factory=Sampling)
    temperature_last: float = 0.0  # that `sampling.temperature` moves to, evenly over the steps; 0: it stays
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(learning_rate=1e-4, weight_decay=0.0))

    def __post_init__(self) -> None:
        require(self.group > 1, f"grpo.group wants at least 2 samples a clip to compare, got {self.group}")
        for name in ("updates", "oversample"):
            require(getattr(self, name) > 0, f"grpo.{name} wants a positive number, got {getattr(self, name)}")
        weights = ("beta", "kl_clamp", "kl_target", "entropy_weight", "entropy_target")
        for name in (*weights, "clip_high", "temperature_last"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"grpo.{name} wants 0 or more, got {value}")
        for name, most in (("stream_dropout", 0.5), ("transcript_dropout", 1)):
            value = getattr(self, name)
            require(0 <= value <= most, f"grpo.{name} wants a probability in [0, {most}], got {value}")
        require(0 <= self.clip_low <= 1, f"grpo.clip_low wants a number in [0, 1], got {self.clip_low}")
        require(
            self.clip_dual == 0 or 1 + self.clip_high <= self.clip_dual < math.inf,
            f"grpo.clip_dual wants 0 or at least 1 + clip_high = {1 + self.clip_high}, got {self.clip_dual}",
        )
        for name in ("uncertain", "reference_share"):
            value = getattr(self, name)
            require(0 < value <= 1, f"grpo.{name} wants a share in (0, 1], got {value}")
        require(
            not self.samples or self.oversample == 1,
            f"grpo.samples={self.samples} are captions of the clips that were learnt from: set grpo.oversample=1",
        )
        require(self.reference_every >= 0, f"grpo.reference_every wants 0 or more steps, got {self.reference_every}")
        self._divides("mini_batch", self.batch, "grpo.batch")
        learnt = ("grpo.mini_batch", self.mini_batch) if self.mini_batch else ("grpo.batch", self.batch)
        self._divides("micro_batch", learnt[1], learnt[0])
        self._divides("rollout_batch", self.batch, "grpo.batch")

    def _divides(self, name: str, size: int, of: str) -> None:
        value = getattr(self, name)
        fits = value == 0 or (value > 0 and size % value == 0)
        require(fits, f"grpo.{name} wants a divisor of {of}={size} or 0, got {value}")

    @property
    def rolled(self) -> int:
        """Clips of a batch: those that are rolled out."""
        return self.batch * self.oversample

    @property
    def captions(self) -> int:
        """Of a clip that is rolled out: the group, and a greedy one that it is compared with."""
        return self.group + (self.baseline == "greedy")

    @property
    def parts(self) -> int:
        """Optimizer updates of a pass over a rollout."""
        return self.batch // (self.mini_batch or self.batch)

    @property
    def updates_a_step(self) -> int:
        return self.updates * self.parts

    @property
    def off_policy(self) -> bool:
        """Whether a policy learns from captions that another one, of some updates before, has sampled."""
        return self.updates_a_step > 1

    @property
    def keeps_reference(self) -> bool:
        """Whether the reference policy is that of the cold start, for good."""
        return self.beta > 0 and self.reference_every == 0

    @property
    def looks_back(self) -> bool:
        """Whether samples are scored once more before the first update."""
        return self.off_policy or self.uncertain < 1 or (self.beta > 0 and self.kl_in == "reward")
