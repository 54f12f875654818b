"""The loss is TRL's, value and gradient, where TRL has it: TRL's own `_compute_loss` on equal log-probabilities.

Its source is run without the rest of TRL, which need not be importable: `pip install --no-deps trl==1.16.0`, as in CI.
Where the two differ, the settings below say how one becomes the other: docs/objectives.md names it.
"""

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

from test_objective import CASE, MASK, PLAIN, VARIED, ours

torch = pytest.importorskip("torch")
if importlib.util.find_spec("trl") is None:
    pytest.skip("TRL is not installed", allow_module_level=True)


@functools.cache
def theirs() -> dict[str, Any]:
    """The two methods of GRPOTrainer that the loss is made by."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse((Path(spec.origin).parent / "trainer" / "grpo_trainer.py").read_text())
    methods = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    wanted = [node for node in methods if node.name in ("_compute_loss", "get_high_entropy_mask")]
    for node in wanted:
        node.decorator_list = []
    names = {"torch": torch, "nanmin": torch.min, "nanmax": torch.max}
    exec(compile(ast.Module(wanted, []), "grpo_trainer.py", "exec"), names)
    return names


def loss(logp: Any, entropy: Any, **settings: Any) -> Any:
    """TRL's loss of the made-up case."""
    same = lambda x, *_, **__: x  # noqa: E731 what a process alone gathers
    trainer = SimpleNamespace(
        **{"beta": 0.0, "loss_type": "grpo", "importance_sampling_level": "token", "entropy_coef": 0.0}
        | {"epsilon_low": 0.2, "epsilon_high": 0.2, "top_entropy_quantile": 1.0}
        | {name: value for name, value in settings.items() if name != "delta"},
        args=SimpleNamespace(use_bias_correction_kl=False, delta=settings.get("delta"), steps_per_generation=1),
        accelerator=SimpleNamespace(
            num_processes=1, gather=same, reduce=same, pad_across_processes=same, sync_gradients=False
        ),
        model=SimpleNamespace(training=True),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _entropy_bonus_enabled="entropy_coef" in settings,
        _get_per_token_logps_and_entropies=lambda *_, **__: (logp, entropy, None),
        max_completion_length=MASK.shape[-1],
        current_gradient_accumulation_steps=1,
        **dict.fromkeys(("aux_loss_enabled", "use_vllm", "use_adaptive_entropy"), False),
        off_policy_mask_threshold=None,
    )
    trainer.get_high_entropy_mask = functools.partial(theirs()["get_high_entropy_mask"], trainer)
    rows = MASK.shape[0] * MASK.shape[1]
    flat = {name: torch.tensor(x.reshape(rows, -1)) for name, x in (("old", CASE.old), ("ref", CASE.reference))}
    mask = torch.tensor(np.asarray(CASE.mask).reshape(rows, -1)).long()
    nothing = torch.zeros(rows, 1, dtype=torch.long)
    return theirs()["_compute_loss"](
        trainer,
        None,
        {
            "prompt_ids": nothing,
            "prompt_mask": nothing,
            "completion_ids": mask,
            "completion_mask": mask,
            "old_per_token_logps": flat["old"],
            "ref_per_token_logps": flat["ref"],
            "advantages": torch.tensor(CASE.advantage.ravel()),
            "num_items_in_batch": mask.sum(),
        },
    )


SAME = {  # TRL's settings, and ours
    "grpo": ({}, {}),
    "dapo": ({"loss_type": "dapo"}, {"loss": "dapo"}),
    "dr_grpo": ({"loss_type": "dr_grpo"}, {"loss": "dr_grpo"}),
    "bnpo": ({"loss_type": "bnpo"}, {"loss": "bnpo"}),
    "gspo": ({"importance_sampling_level": "sequence"}, {"loss": "gspo"}),
    "clip": (
        {"epsilon_low": 0.1, "epsilon_high": 0.3, "delta": 1.4},
        {"clip_low": 0.1, "clip_high": 0.3, "clip_dual": 1.4},
    ),
    # TRL's bound is the ratio itself, and there is none below
    "cispo": ({"loss_type": "cispo", "epsilon_high": 1.3}, {"loss": "cispo", "clip_high": 0.3, "clip_low": 1.0}),
    "k3": ({"beta": 0.3}, {"beta": 0.3}),
    "k3 of gspo": ({"beta": 0.3, "importance_sampling_level": "sequence"}, {"beta": 0.3, "loss": "gspo"}),
    "uncertain": ({"top_entropy_quantile": 0.4, "beta": 0.3}, {"uncertain": 0.4, "beta": 0.3}),
    "uncertain gspo": (
        {"top_entropy_quantile": 0.4, "importance_sampling_level": "sequence"},
        {"uncertain": 0.4, "loss": "gspo"},
    ),
    "entropy": ({"entropy_coef": 0.2}, {"entropy_weight": 0.2}),
    "entropy of the uncertain": (
        {"entropy_coef": 0.2, "top_entropy_quantile": 0.4, "loss_type": "dr_grpo"},
        {"entropy_weight": 0.2, "uncertain": 0.4, "loss": "dr_grpo"},
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_loss_is_that_of_trl(name: str) -> None:
    settings, fields = SAME[name]
    cfg = dataclasses.replace(PLAIN, **{"beta": 0.0} | fields)
    assert (CASE.reference - VARIED["logp"])[CASE.mask].max() < math.log(10), "our k3 is theirs up to there"
    # entropies choose tokens, and are rewarded: in TRL these are of one policy
    varied = VARIED | {"entropy": CASE.entropy_before}
    rows = CASE.mask.shape[0] * CASE.mask.shape[1]
    logp, entropy = (torch.tensor(varied[name].reshape(rows, -1), requires_grad=True) for name in ("logp", "entropy"))
    wanted = loss(logp, entropy, **settings)
    wanted.backward()
    single = {name: jnp.asarray(x, jnp.float32) for name, x in varied.items()}
    value, slopes = jax.value_and_grad(functools.partial(ours, cfg=cfg))(single)
    np.testing.assert_allclose(value, float(wanted.detach()), atol=1e-6)
    np.testing.assert_allclose(slopes["logp"], logp.grad.reshape(CASE.mask.shape), atol=1e-6)
    if entropy.grad is not None:
        np.testing.assert_allclose(slopes["entropy"], entropy.grad.reshape(CASE.mask.shape), atol=1e-6)
