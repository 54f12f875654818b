"""The loss of Emo-GRPO as papers have it, one caption and one token after the other, in float64 NumPy; and its
gradient by complex steps: f(x + ih) = f(x) + ih f'(x), so what has no gradient is a real part."""

import dataclasses
from typing import Any

import numpy as np

from emojax.config import Grpo

STEP = 1e-30
fixed = np.real  # of a number, without its gradient


@dataclasses.dataclass(frozen=True)
class Case:
    """Captions [B G T] that are already sampled and scored."""

    length: np.ndarray  # [B G]
    ended: np.ndarray  # [B G]
    old: np.ndarray
    reference: np.ndarray
    entropy_before: np.ndarray
    advantage: np.ndarray  # [B G]

    @property
    def mask(self) -> np.ndarray:
        return np.arange(self.old.shape[-1]) < self.length[..., None]


def case(seed: int = 0, shape: tuple[int, int, int] = (4, 3, 6)) -> tuple[Case, dict[str, np.ndarray]]:
    """A made-up one, and what the loss has a gradient for: logp, entropy, and divergence over the vocabulary."""
    r = np.random.default_rng(seed)
    old = -r.gamma(2, 1, shape)
    varied = {
        "logp": old + r.normal(size=shape, scale=0.4),
        "entropy": r.gamma(2, 1, shape),
        "divergence": r.gamma(1, 0.3, shape),
    }
    varied = {name: _short(x) for name, x in varied.items()}
    about = Case(
        length=r.integers(1, shape[-1] + 1, shape[:2]),
        ended=r.random(shape[:2]) < 0.7,
        old=old,
        reference=varied["logp"] + r.normal(size=shape, scale=0.7),
        entropy_before=_short(r.gamma(2, 1, shape)),
        advantage=r.normal(size=shape[:2]),
    )
    return about, varied


def _short(x: np.ndarray) -> np.ndarray:
    """Rounded to float32: which tokens are above a quantile must not hang on rounding."""
    return x.astype(np.float32).astype(np.float64)


def _where(condition: Any, x: Any, y: Any) -> Any:
    return np.where(condition, x, y)


def _least(x: Any, y: Any) -> Any:
    return _where(fixed(x) < fixed(y), x, y)


def _clip(x: Any, low: float, high: float) -> Any:
    return _where(fixed(x) < low, low, _where(fixed(x) > high, high, x))


def policy_gradient(logp: Any, at: tuple[int, int, int], c: Case, cfg: Grpo) -> Any:
    """What is minimised of one token, without the divergence. `logp` [B G T ...]."""
    b, g, _ = at
    a = c.advantage[b, g]
    if cfg.loss == "reinforce":
        return -a * logp[at]
    ratio = np.exp(logp[at] - c.old[at])
    if cfg.loss in ("gspo", "gspo_token"):
        n = c.length[b, g]
        ratio = np.exp(sum(logp[b, g, t] - c.old[b, g, t] for t in range(n)) / n)
    if cfg.loss == "gspo_token":  # its own log-probability carries the gradient
        ratio = fixed(ratio) * np.exp(logp[at] - fixed(logp[at]))
    bounded = _clip(ratio, 1 - cfg.clip_low, 1 + cfg.clip_high)
    if cfg.loss == "cispo":
        return -fixed(bounded) * a * logp[at]
    gain = _least(ratio * a, bounded * a)
    if cfg.clip_dual and a < 0:
        gain = -_least(-gain, -cfg.clip_dual * a + 0 * gain)
    return -gain


def kl(varied: dict[str, Any], at: tuple[int, int, int], c: Case, cfg: Grpo) -> Any:
    """The divergence at a token. Where π_ref/π is more than 10, k3 is on its tangent there (ours)."""
    logp = varied["logp"][at]
    gap = c.reference[at] - logp
    near = np.exp(_least(gap, np.log(10))) - gap - 1
    value = {
        "k1": -gap,
        "k2": gap**2 / 2,
        "k3": _where(fixed(gap) < np.log(10), near, 9 * gap + 9 - 10 * np.log(10)),
        "exact": varied["divergence"][at],
    }[cfg.kl]
    if cfg.kl_gradient == "true":  # log(π/π_ref) ∇ log π
        value = fixed(value) - fixed(gap) * (logp - fixed(logp))
    return _clip(value, -cfg.kl_clamp, cfg.kl_clamp) if cfg.kl_clamp else value


def loss(varied: dict[str, Any], c: Case, cfg: Grpo) -> Any:
    """The whole of it."""
    clips, group, longest = c.old.shape
    there = [(b, g) for b in range(clips) for g in range(group) if c.ended[b, g] or not cfg.mask_truncated]
    every = [(b, g, t) for b, g in there for t in range(c.length[b, g])]
    bound = np.quantile([c.entropy_before[at] for at in every], 1 - cfg.uncertain)
    counted = [at for at in every if c.entropy_before[at] >= bound]
    parts = clips // (cfg.micro_batch or clips)

    def weight(b: int, g: int) -> float:
        """Of a token of this caption, in the mean that the loss is."""
        match cfg.loss:
            case "dapo" | "cispo":
                return 1 / len(every)
            case "dr_grpo":
                return 1 / (clips * group * longest)
            case "bnpo":
                return 1 / (parts * sum(b % parts == x % parts for x, _, _ in every))
            case "reinforce":
                return 1 / len(there)
        return 1 / (len(there) * c.length[b, g])

    total = sum(weight(*at[:2]) * policy_gradient(varied["logp"], at, c, cfg) for at in counted)
    if cfg.beta and cfg.kl_in == "loss":
        total = total + cfg.beta * sum(weight(*at[:2]) * kl(varied, at, c, cfg) for at in every)
    return total - cfg.entropy_weight * sum(varied["entropy"][at] for at in counted) / len(counted)


def value_and_gradient(varied: dict[str, np.ndarray], c: Case, cfg: Grpo) -> tuple[float, dict[str, np.ndarray]]:
    value, slopes = float(np.real(loss(varied, c, cfg))), {}
    for name, x in varied.items():
        steps = 1j * STEP * np.eye(x.size).reshape(*x.shape, x.size)  # each entry of x, moved in a copy of its own
        moved = {n: y[..., None] + (steps if n == name else 0 * steps) for n, y in varied.items()}
        slopes[name] = np.broadcast_to(np.imag(loss(moved, c, cfg)) / STEP, x.size).reshape(x.shape)
    return value, slopes
