"""DPO's loss of a pair is the plain formula's, value and gradient; and TRL's own, where TRL is installed: the source of
its `_compute_loss` is run without the rest of TRL, as in test_objective_trl.py."""

import ast
import dataclasses
import functools
import importlib.util
import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.config import Dpo
from emojax.training.preference import PairScores, preference_loss

R = np.random.default_rng(0)
PAIRS, T = 6, 7
TOKENS = R.integers(1, T + 1, (PAIRS, 3))
TOKENS[::2, 2] = 0  # these have one rejected caption
EACH = np.arange(T) < TOKENS[..., None]
LOGP, REFERENCE = (np.where(EACH, -R.gamma(2, 1, EACH.shape), 0) for _ in range(2))
PRIOR = np.where(TOKENS > 0, -R.gamma(4, 2, TOKENS.shape), 0)
CHOICES = [
    *(Dpo(loss=loss, beta=0.3) for loss in ("sigmoid", "sigmoid_norm", "hinge", "ipo")),  # pyright: ignore[reportArgumentType]
    Dpo(loss="robust", beta=0.3, label_smoothing=0.2),
    *(Dpo(loss=loss, beta=0.5, text_prior=0.2) for loss in ("sigmoid", "sigmoid_norm", "robust", "hinge")),  # pyright: ignore[reportArgumentType]
]


def ours(logp: Any, dpo: Dpo, captions: int = 3) -> Any:
    """The mean over pairs, of log-probabilities of tokens."""
    rows = (logp.sum(-1), jnp.asarray(REFERENCE.sum(-1), jnp.float32))
    prior = jnp.asarray(PRIOR, jnp.float32) if dpo.text_prior else None
    scores = PairScores(*rows, prior, jnp.asarray(TOKENS, jnp.float32))
    scores = jax.tree.map(lambda x: x[:, :captions], scores)
    return preference_loss(scores, dpo).mean()


def by_hand(logp: np.ndarray, dpo: Dpo) -> float:
    """A pair at a time, float64."""

    def minus_log_sigmoid(x: float) -> float:
        return math.log1p(math.exp(-x))

    total = 0.0
    for b in range(PAIRS):
        rejected = [m for m in (1, 2) if TOKENS[b, m]]
        ratio = [(logp[b, m] - REFERENCE[b, m]).sum() for m in range(3)]
        if dpo.loss in ("sigmoid_norm", "ipo"):
            ratio = [ratio[m] / max(TOKENS[b, m], 1) for m in range(3)]
        delta = ratio[0] - sum(ratio[m] / len(rejected) for m in rejected)
        m = dpo.beta * delta - dpo.text_prior * (PRIOR[b, 0] - sum(PRIOR[b, r] / len(rejected) for r in rejected))
        wrong = dpo.label_smoothing
        total += {
            "sigmoid": minus_log_sigmoid(m),
            "sigmoid_norm": minus_log_sigmoid(m),
            "robust": ((1 - wrong) * minus_log_sigmoid(m) - wrong * minus_log_sigmoid(-m)) / (1 - 2 * wrong),
            "hinge": max(0.0, 1 - m),
            "ipo": (delta - 1 / (2 * dpo.beta)) ** 2,
        }[dpo.loss]
    return total / PAIRS


def told(dpo: Dpo) -> str:
    return dpo.loss + (" with text prior" if dpo.text_prior else "")


@pytest.mark.parametrize("dpo", CHOICES, ids=told)
def test_value_and_gradient_are_those_of_the_formula(dpo: Dpo) -> None:
    value, slope = jax.value_and_grad(functools.partial(ours, dpo=dpo))(jnp.asarray(LOGP, jnp.float32))
    np.testing.assert_allclose(value, by_hand(LOGP, dpo), rtol=1e-5)
    wanted, step = np.zeros(LOGP.shape), 1e-5
    for at in zip(*np.nonzero(EACH), strict=True):
        move = np.zeros(LOGP.shape)
        move[at] = step
        wanted[at] = (by_hand(LOGP + move, dpo) - by_hand(LOGP - move, dpo)) / (2 * step)
    assert np.abs(wanted).max() > 0.01, "nothing is learnt"
    np.testing.assert_allclose(np.where(EACH, slope, 0), wanted, rtol=1e-5, atol=1e-7)


# --- TRL's own ---


@functools.cache
def theirs() -> dict[str, Any]:
    """The method of DPOTrainer that the loss is made by."""
    torch = pytest.importorskip("torch")
    spec = importlib.util.find_spec("trl")
    if spec is None or spec.origin is None:
        pytest.skip("TRL is not installed")
    tree = ast.parse((Path(spec.origin).parent / "trainer" / "dpo_trainer.py").read_text())
    wanted = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "_compute_loss"]
    names = {"torch": torch, "F": torch.nn.functional, "math": math}
    exec(compile(ast.Module(wanted, []), "dpo_trainer.py", "exec"), names)
    return names


def of_trl(dpo: Dpo) -> tuple[float, np.ndarray, dict[str, float]]:
    """Loss, slopes of chosen and rejected captions' tokens [pairs 2 T], and metrics; of one rejected caption a pair."""
    names = theirs()
    torch, same = names["torch"], lambda x, *_: x
    # its batch is [chosen, rejected] along the first axis, and what a prompt's one token has is left out by the shift
    rows, mask, reference = (np.concatenate([x[:, 0], x[:, 1]]) for x in (LOGP, EACH, REFERENCE))
    logp = torch.tensor(rows, requires_grad=True)
    completion = torch.tensor(np.pad(mask, [(0, 0), (1, 0)])).long()
    metrics: Any = defaultdict(lambda: defaultdict(list))
    nothing = torch.zeros(rows.shape)
    trainer = SimpleNamespace(
        beta=dpo.beta,
        label_smoothing=dpo.label_smoothing,
        loss_types=[dpo.loss],
        loss_weights=[1.0],
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        accelerator=SimpleNamespace(device="cpu", gather=same, gather_for_metrics=same),
        model=SimpleNamespace(training=True),
        precompute_ref_logps=True,
        **dict.fromkeys(("use_weighting", "aux_loss_enabled"), False),
        _metrics=metrics,
        _total_train_tokens=0,
        _tp_size=1,
    )
    given = {
        "completion_mask": completion,
        "input_ids": completion,
        "attention_mask": completion,
        **dict(zip(("ref_chosen_logps", "ref_rejected_logps"), torch.tensor(reference).sum(1).chunk(2), strict=True)),
    }
    made = SimpleNamespace(log_probs=logp, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())
    loss = names["_compute_loss"](trainer, lambda **_: made, given, False)
    loss.backward()
    slopes = np.stack(np.split(logp.grad.numpy(), 2), 1)
    return float(loss.detach()), slopes, {name: values[0] for name, values in metrics["train"].items()}


@pytest.mark.parametrize("dpo", [dpo for dpo in CHOICES if not dpo.text_prior], ids=told)
def test_the_loss_is_that_of_trl(dpo: Dpo) -> None:
    wanted, slopes, metrics = of_trl(dpo)
    value, found = jax.value_and_grad(functools.partial(ours, dpo=dpo, captions=2))(jnp.asarray(LOGP, jnp.float32))
    np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.where(EACH, found, 0)[:, :2], np.where(EACH[:, :2], slopes, 0), atol=1e-6)
    assert {"rewards/chosen", "rewards/margins", "rewards/accuracies", "logps/rejected", "entropy"} <= metrics.keys()


def test_a_rejected_caption_that_is_there_twice_counts_once() -> None:
    twice = PairScores(*(jnp.array([[0.0, -1.0, -1.0]]),) * 2, None, jnp.array([[1.0, 2.0, 2.0]]))
    twice = twice.replace(reference=jnp.array([[0.0, -3.0, -3.0]]))
    once = jax.tree.map(lambda x: x[:, :2], twice)
    masked = dataclasses.replace(twice, tokens=jnp.array([[1.0, 2.0, 0.0]]))
    losses = [float(preference_loss(scores, Dpo())[0]) for scores in (twice, once, masked)]
    assert losses[0] == losses[1] == losses[2]
