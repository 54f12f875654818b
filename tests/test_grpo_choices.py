"""One step of Emo-GRPO with every choice made at once: still one program without the host; what is done a part at a
time is what is done at once; and what a step hands on to the next."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.config import Config, Mesh, Optimizer, Reward, Sampling
from emojax.planning.hlo import host_traffic
from emojax.training import checkpoint
from emojax.training.controls import GAIN, MOST
from emojax.training.roll_out import Rolled, keep
from emojax.types import Metrics, TrainState
from support import made_up

CFG = made_up.config(reward=Reward(attributes=made_up.ATTRIBUTES, parts=("worth", "overlap*0.5..4.3")))
WHOLE = made_up.with_grpo(
    CFG,
    batch=4,
    oversample=2,
    mini_batch=2,
    updates=2,
    loss="gspo",
    clip_dual=1.5,
    uncertain=0.6,
    baseline="greedy",
    scale="batch",
    deviation="sample",
    beta=0.1,
    kl="exact",
    kl_clamp=5.0,
    kl_target=0.01,
    reference_every=2,
    reference_share=0.25,
    entropy_weight=0.05,
    entropy_target=9.0,
    temperature_last=1.66,
    sampling=Sampling(temperature=0.9, top_p=0.95, repetition_penalty=1.3),
    optimizer=Optimizer(learning_rate=1e-3, weight_decay=0.0, epsilon=1e-6, schedule="wsd"),
)
FULL = made_up.with_grpo(WHOLE, rollout_batch=2, micro_batch=1)
BATCH = made_up.batch(CFG)


@functools.cache
def compiled(cfg: Config, devices: int = 1) -> jax.stages.Compiled:
    return made_up.grpo(cfg, devices).lower().compile()


@functools.cache
def steps(cfg: Config, devices: int = 1, count: int = 2) -> list[tuple[TrainState, Metrics]]:
    """The first steps of a run, fetched, the state before them first."""
    program = made_up.grpo(cfg, devices)
    state, frozen = made_up.state(program, cfg), made_up.frozen(program, cfg)
    given = jax.tree.map(
        lambda x, like: jax.device_put(x, like.sharding), (state, frozen), (program.state, program.frozen)
    )
    batch = jax.device_put(BATCH.replace(attributes=None), jax.tree.map(lambda x: x.sharding, program.batch))
    told, (state, frozen) = [(state, {})], given
    for _ in range(count):
        state, metrics = compiled(cfg, devices)(state, frozen, batch, jax.random.key(0))
        told.append(jax.tree.map(np.array, (state, metrics)))
    return told


def test_it_is_one_program_that_never_asks_the_host() -> None:
    assert host_traffic(compiled(FULL).as_text() or "") == {"host_callbacks": 0, "infeeds": 0, "outfeeds": 0}


def test_parts_of_a_rollout_and_micro_batches_change_nothing() -> None:
    (state, metrics), (other, others) = steps(WHOLE)[1], steps(FULL)[1]
    np.testing.assert_array_equal(metrics["samples"].ids, others["samples"].ids)
    for name in metrics.keys() - {"samples"}:
        np.testing.assert_allclose(others[name], metrics[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert made_up.distance(state.params, other.params) < 1e-5
    assert made_up.distance(state.params, steps(WHOLE)[0][0].params) > 1e-4


@pytest.mark.slow
def test_eight_devices_equal_one() -> None:
    cut = dataclasses.replace(WHOLE, mesh=Mesh(data=2, fsdp=2, model=2))
    for (state, metrics), (other, others) in zip(steps(WHOLE)[1:], steps(cut, 8)[1:], strict=True):
        np.testing.assert_array_equal(metrics["samples"].ids, others["samples"].ids)
        for name in metrics.keys() - {"samples"}:
            np.testing.assert_allclose(others[name], metrics[name], rtol=1e-4, atol=1e-5, err_msg=name)
        assert made_up.distance(state.params, other.params) < 1e-5
        assert made_up.distance(state.reference, other.reference) < 1e-5


def test_a_step_says_what_it_did() -> None:
    metrics = steps(FULL)[1][1]
    assert all(np.isfinite(value) for name, value in metrics.items() if name != "samples"), metrics
    assert metrics["updates"] == 4, "two passes of two mini-batches"
    assert metrics["logp_gap"] < 1e-4, "tokens are scored as they were drawn, repetition penalty included"
    assert metrics["flat_learnt"] <= metrics["flat_groups"]
    assert metrics["samples"].ids.shape[:2] == (4, 4)
    assert metrics["ratio"] != 1


def test_temperature_and_weights_of_the_reward_move_evenly_over_the_steps() -> None:
    """In one program, compiled once for all steps."""
    for n, (_, metrics) in enumerate(steps(FULL)[1:]):
        np.testing.assert_allclose(metrics["temperature"], 0.9 + 0.04 * n, rtol=1e-6)
        np.testing.assert_allclose(metrics["weight_overlap"], 0.5 + 0.2 * n, rtol=1e-6)
        samples = metrics["samples"]
        wanted = samples.parts["worth"] + (0.5 + 0.2 * n) * samples.parts["overlap"]
        np.testing.assert_allclose(samples.reward, wanted, atol=1e-5)
        assert metrics["logp_gap"] < 1e-4, "tokens are scored at the temperature that they were drawn at"


def test_weights_follow_their_targets_and_the_reference_the_policy() -> None:
    (start, _), (one, first), (two, second) = steps(FULL)
    assert first["beta"] == np.float32(0.1)
    assert first["entropy_weight"] == np.float32(0.05)
    error = np.clip(first["kl"] / 0.01 - 1, -MOST, MOST)
    np.testing.assert_allclose(one.controls["beta"], 0.1 * (1 + GAIN * error), rtol=1e-6)
    error = np.clip(1 - first["entropy"] / 9, -MOST, MOST)
    np.testing.assert_allclose(one.controls["entropy_weight"], 0.05 * (1 + GAIN * error), rtol=1e-6)
    np.testing.assert_array_equal(second["beta"], one.controls["beta"])
    assert made_up.distance(one.reference, start.reference) == 0
    moved = jax.tree.map(lambda then, now: 0.75 * then + 0.25 * now, start.reference, two.params)
    assert made_up.distance(two.reference, moved) < 1e-6
    assert made_up.distance(two.reference, start.reference) > 1e-3


def test_what_a_step_hands_on_is_saved_and_restored(tmp_path) -> None:
    state = jax.tree.map(jnp.asarray, steps(FULL)[1][0])
    with checkpoint.manager(tmp_path, keep=1) as checkpoints:
        checkpoint.save(checkpoints, state, 1, [], ranked=True)
    restored = checkpoint.restore(tmp_path, made_up.grpo(FULL).state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)


def test_the_clips_whose_rewards_spread_most_are_kept_in_their_order() -> None:
    r = np.random.default_rng(0)
    spread = np.array([0.1, 3, 0, 2, 0.5, 0])
    reward = r.normal(size=(6, 4)) * spread[:, None]
    reward[5] = np.nan
    each = jnp.arange(6)
    kept = keep(Rolled(each, each, each, jnp.asarray(reward), {"one": each}, jnp.asarray(reward), each), 3)
    assert kept.batch.tolist() == kept.parts["one"].tolist() == kept.greedy.tolist() == [1, 3, 4]
    np.testing.assert_array_equal(kept.reward, reward[[1, 3, 4]].astype(np.float32))
