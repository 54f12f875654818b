"""What a token's loss is: every policy gradient, divergence, clip and mean is that of the plain formula, value and
gradient; so are baselines and deviations of advantages."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.config import Grpo
from emojax.training.advantages import advantages
from emojax.training.controls import Weights
from emojax.training.grpo import compared
from emojax.training.objective import BY_CAPTION, caption_ratio, objective
from emojax.training.roll_out import Rolled
from emojax.training.token_weights import kept, token_weights
from emojax.training.tokens import TokenScores
from emojax.training.updates import Before, Rows, weigh
from emojax.types import Array, Rollout
from support import loss_by_hand as by_hand

CASE, VARIED = by_hand.case()
MASK = jnp.asarray(CASE.mask)
LOSSES = ("grpo", "dapo", "dr_grpo", "bnpo", "gspo", "gspo_token", "cispo", "reinforce")
KLS = ("k1", "k2", "k3", "exact")
PLAIN = Grpo(batch=4, group=3, updates=2)


def ours(varied: dict[str, Array], cfg: Grpo) -> Array:
    """Of what the program does, all but the model."""
    old, reference, entropy, advantage = (
        jnp.asarray(x, jnp.float32) for x in (CASE.old, CASE.reference, CASE.entropy_before, CASE.advantage)
    )
    samples = Rollout(MASK.astype(jnp.int32), MASK, old, jnp.asarray(CASE.ended))
    before = Before(TokenScores(old, entropy, reference), None)
    given = weigh(Rows(None, None, samples, advantage, before), Weights(cfg.beta, cfg.entropy_weight), cfg)
    if cfg.loss in BY_CAPTION:
        ratio = caption_ratio(jax.lax.stop_gradient(varied["logp"]), old, kept(MASK, samples.ended, cfg))
        given = given.replace(caption=ratio)
    scores = TokenScores(varied["logp"], varied["entropy"], reference, varied["divergence"])
    return jnp.where(MASK, objective(scores, given, cfg), 0).sum()


CHOICES = [
    *(dataclasses.replace(PLAIN, loss=loss) for loss in LOSSES),
    *(dataclasses.replace(PLAIN, loss=loss, clip_low=0.1, clip_high=0.3, clip_dual=1.3) for loss in LOSSES),
    *(dataclasses.replace(PLAIN, loss=loss, uncertain=0.4, mask_truncated=True, micro_batch=2) for loss in LOSSES),
    *(dataclasses.replace(PLAIN, kl=kl, beta=0.3) for kl in KLS),
    *(dataclasses.replace(PLAIN, kl=kl, beta=0.3, kl_gradient="true", kl_clamp=0.3) for kl in KLS),
    *(dataclasses.replace(PLAIN, loss=loss, entropy_weight=0.2, beta=0.0) for loss in ("grpo", "reinforce")),
    dataclasses.replace(PLAIN, loss="gspo", entropy_weight=0.2, uncertain=0.4, kl_clamp=0.1),
    dataclasses.replace(PLAIN, kl_in="reward"),
]


def told(cfg: Grpo) -> str:
    usual = dataclasses.asdict(PLAIN)
    return ",".join(f"{name}={value}" for name, value in dataclasses.asdict(cfg).items() if usual[name] != value)


@pytest.mark.parametrize("cfg", CHOICES, ids=told)
def test_value_and_gradient_are_those_of_the_formula(cfg: Grpo) -> None:
    single = {name: jnp.asarray(x, jnp.float32) for name, x in VARIED.items()}
    value, slopes = jax.value_and_grad(functools.partial(ours, cfg=cfg))(single)
    wanted, slopes_wanted = by_hand.value_and_gradient(VARIED, CASE, cfg)
    np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)
    for name, wanted in slopes_wanted.items():
        np.testing.assert_allclose(slopes[name], wanted, rtol=1e-5, atol=1e-6, err_msg=name)
    assert np.abs(slopes_wanted["logp"]).max() > 0.01, "nothing is learnt"


def test_the_case_reaches_every_branch() -> None:
    """Ratios on both sides of the range, a dual bound that binds, divergences beyond the clamp and far references."""
    ratio, a = np.exp(VARIED["logp"] - CASE.old)[CASE.mask], np.broadcast_to(CASE.advantage[..., None], MASK.shape)
    a = a[CASE.mask]
    assert ((ratio < 0.9) & (a < 0)).any()
    assert ((ratio > 1.3) & (a > 0)).any()
    assert ((ratio > 1.3) & (a < 0)).any(), "the dual bound"
    gap = (CASE.reference - VARIED["logp"])[CASE.mask]
    assert (np.abs(gap) > 0.3).any()
    assert (np.abs(gap) < 0.3).any()
    assert CASE.ended.any()
    assert not CASE.ended.all()


# --- advantages ---


def by_the_book(reward: np.ndarray, greedy: np.ndarray, cfg: Grpo) -> np.ndarray:
    out, less = np.zeros(reward.shape), cfg.deviation == "sample"

    def deviation(x: np.ndarray) -> float:
        return np.sqrt(np.square(x - x.mean()).sum() / (len(x) - less))

    whole = deviation(reward[np.isfinite(reward)])
    for b, rewards in enumerate(reward):
        known = [g for g in range(len(rewards)) if np.isfinite(rewards[g])]
        if not known:
            continue
        spread = deviation(rewards[known])
        for g in known:
            others = rewards[[x for x in known if x != g]].mean()
            baseline = {"mean": rewards[known].mean(), "leave_one_out": others, "greedy": greedy[b]}[cfg.baseline]
            divisor = {"group": spread + 1e-4, "batch": whole + 1e-4, "none": 1.0}[cfg.scale]
            silent = spread < 1e-6 and (cfg.baseline != "greedy" or cfg.scale == "group")
            out[b, g] = 0.0 if silent or np.isnan(baseline) else (rewards[g] - baseline) / divisor
    return out


@pytest.mark.parametrize("baseline", ["mean", "leave_one_out", "greedy"])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("deviation", ["population", "sample"])
def test_advantages(baseline: str, scale: str, deviation: str) -> None:
    """With rewards that are not numbers, which are as if they were not there, and a group that does not differ."""
    r = np.random.default_rng(0)
    reward, greedy = r.normal(size=(6, 5)), r.normal(size=6)
    reward[1], reward[2, [0, 3]], reward[3], reward[4, 1], greedy[5] = 0.7, np.nan, np.nan, np.inf, np.nan
    cfg = Grpo(baseline=baseline, scale=scale, deviation=deviation)  # pyright: ignore[reportArgumentType]
    found = advantages(jnp.asarray(reward, jnp.float32), cfg, jnp.asarray(greedy, jnp.float32))
    np.testing.assert_allclose(found, by_the_book(reward, greedy, cfg), rtol=1e-5, atol=1e-5)
    centred = [0, 1, 2, 4] if baseline != "greedy" else []
    np.testing.assert_allclose(np.asarray(found)[centred].sum(-1), 0, atol=1e-5)


@pytest.mark.parametrize("clamp", [0.0, 0.3])
@pytest.mark.parametrize("kl", KLS)
def test_a_divergence_in_the_reward_is_its_sum_over_a_caption(kl: str, clamp: float) -> None:
    """It is taken off before captions are compared, so it is scaled as the reward is."""
    cfg = dataclasses.replace(PLAIN, kl=kl, kl_in="reward", kl_clamp=clamp)  # pyright: ignore[reportArgumentType]
    reward = CASE.advantage.copy()
    reward[0, 0] = np.nan
    wanted = reward.copy()
    for b, g in np.ndindex(*reward.shape):
        wanted[b, g] -= 0.7 * sum(float(by_hand.kl(VARIED, (b, g, t), CASE, cfg)) for t in range(CASE.length[b, g]))
    single = {name: jnp.asarray(x, jnp.float32) for name, x in VARIED.items()}
    reference = jnp.asarray(CASE.reference, jnp.float32)
    told = TokenScores(single["logp"], single["entropy"], reference, single["divergence"])
    samples, scored = Rollout(MASK, MASK, single["logp"], MASK[..., 0]), jnp.asarray(reward, jnp.float32)
    rolled = Rolled(None, None, samples, scored, {}, scored, None)
    found = compared(rolled, Before(told, None), jnp.float32(0.7), cfg)  # a weight that a controller has moved
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert np.nanmax(np.abs(wanted - reward)) > 0.1
    advantage = advantages(found, cfg)
    np.testing.assert_allclose(advantage, by_the_book(wanted, np.zeros(len(wanted)), cfg), rtol=1e-4, atol=1e-5)
    assert compared(rolled, Before(told, None), jnp.float32(0.7), dataclasses.replace(cfg, kl_in="loss")) is scored


# --- means ---


@pytest.mark.parametrize("loss", LOSSES)
def test_padding_changes_no_mean_but_the_fixed_one(loss: str) -> None:
    cfg = dataclasses.replace(PLAIN, loss=loss, mask_truncated=True)  # pyright: ignore[reportArgumentType]
    short, long = (
        token_weights(kept(mask, jnp.asarray(CASE.ended), cfg), cfg)
        for mask in (MASK, jnp.pad(MASK, [(0, 0), (0, 0), (0, 5)]))
    )
    captions = CASE.ended.sum()
    wanted = {"dr_grpo": short.sum(), "reinforce": CASE.length[CASE.ended].sum() / captions}.get(loss, 1)
    np.testing.assert_allclose(short.sum(), wanted, rtol=1e-6)
    assert (np.asarray(long)[..., MASK.shape[-1] :] == 0).all()
    shrunk = MASK.shape[-1] / long.shape[-1] if loss == "dr_grpo" else 1
    np.testing.assert_allclose(long[..., : MASK.shape[-1]], short * shrunk, rtol=1e-6)
