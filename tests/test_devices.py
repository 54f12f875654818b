"""One device or eight, however weights and clips are cut: the same samples, the same update."""

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest

from emojax.config import Config, ConfigError, Mesh
from emojax.parallel.sharding import make_mesh
from emojax.types import Metrics, TrainState
from support import made_up

CFG = made_up.config()
ALL_AXES = Mesh(data=2, fsdp=2, model=2)
SHAPES = {  # all others that divide the sizes above
    f"data={d}, fsdp={f}, model={m}": Mesh(d, f, m)
    for m in (1, 2)
    for f in (1, 2, 4, 8)
    for d in (1, 2, 4, 8)
    if d * f * m in (2, 4, 8) and Mesh(d, f, m) != ALL_AXES
}
FEW = made_up.with_grpo(CFG, batch=4, micro_batch=2)  # of two clips at once, eight devices share the samples


def step(stage: str, cfg: Config = CFG, mesh: Mesh | None = None) -> tuple[TrainState, Metrics]:
    """The fourth of a run, with the reward that is shipped; the optimizer has the moments of a step before."""
    devices = math.prod(dataclasses.astuple(mesh)) if mesh else 1
    cfg = dataclasses.replace(cfg, mesh=mesh) if mesh else cfg
    program = made_up.sft(cfg, devices) if stage == "sft" else made_up.grpo(cfg, devices, shipped_reward=True)
    frozen = made_up.frozen(program, CFG, made_up.reward_model(CFG)[0])
    clips = cfg.sft.batch if stage == "sft" else cfg.grpo.batch
    return made_up.run(program, before(stage), frozen, made_up.batch(CFG, clips))


@functools.cache
def before(stage: str) -> TrainState:
    """From another batch, on one device. Adam's very first step is the gradient's sign: where a gradient happens to be
    as small as its rounding, no two orders of summation would agree on it."""
    program = made_up.sft(CFG) if stage == "sft" else made_up.grpo(CFG, shipped_reward=True)
    frozen = made_up.frozen(program, CFG, made_up.reward_model(CFG)[0])
    state, _ = made_up.run(program, made_up.state(program, CFG, step=2), frozen, made_up.batch(CFG, seed=1))
    return state


@functools.cache
def alone(stage: str, cfg: Config = CFG) -> tuple[TrainState, Metrics]:
    return step(stage, cfg)


@pytest.mark.parametrize("stage", [pytest.param("sft", marks=pytest.mark.slow), "grpo"])
def test_eight_devices_equal_one(stage: str) -> None:
    """In the shape that shards along every axis."""
    assert_equal(stage, alone(stage), step(stage, CFG, ALL_AXES))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "grpo"])
@pytest.mark.parametrize("mesh", SHAPES.values(), ids=SHAPES)
def test_devices_in_any_shape_equal_one(stage: str, mesh: Mesh) -> None:
    assert_equal(stage, alone(stage), step(stage, CFG, mesh))
    jax.clear_caches()  # of all shapes together a process would have more programs than it can map (conftest.py)


@pytest.mark.slow
def test_fewer_clips_than_devices_equal_one_device() -> None:
    assert_equal("grpo", alone("grpo", FEW), step("grpo", FEW, Mesh(data=2, fsdp=4, model=1)))


def assert_equal(stage: str, alone: tuple[TrainState, Metrics], cut: tuple[TrainState, Metrics]) -> None:
    """One device and several: the same samples, and numbers that differ by the order of sums."""
    (one, one_metrics), (eight, metrics) = alone, cut
    metrics = dict(metrics)
    if stage == "grpo":
        ours, theirs = metrics.pop("samples"), dict(one_metrics)["samples"]
        np.testing.assert_array_equal(ours.clip_id, theirs.clip_id)
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        np.testing.assert_allclose(ours.reward, theirs.reward, atol=1e-5)
        assert theirs.reward.std() > 0.1, "a reward that hardly varies shows nothing"
    for name, value in metrics.items():
        np.testing.assert_allclose(value, one_metrics[name], rtol=1e-5, atol=1e-5, err_msg=name)
    assert made_up.distance(one.params, eight.params) < 1e-5
    assert made_up.distance(one.opt_state, eight.opt_state) < 1e-5
    assert made_up.distance(one.params, before(stage).params) > 5e-5, "the update hardly moved anything"


@pytest.mark.parametrize(
    ("cfg", "names"),
    [
        (dataclasses.replace(CFG, mesh=Mesh(model=4)), "kv_heads"),
        (dataclasses.replace(CFG, mesh=Mesh(fsdp=3)), "fsdp"),
        (dataclasses.replace(made_up.with_grpo(CFG, micro_batch=4), mesh=Mesh(data=8)), "grpo.micro_batch"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_mesh_that_does_not_fit_is_refused(cfg: Config, names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        make_mesh(cfg)
