"""One device or eight, however weights and clips are cut: the same samples, the same update."""

import dataclasses
import functools

import made_up
import numpy as np
import pytest

from emojax.config import Config, ConfigError, Mesh
from emojax.sharding import make_mesh
from emojax.types import Metrics, TrainState

CFG = made_up.config()
MESHES = {
    "data=8": dataclasses.replace(CFG, mesh=Mesh(data=8)),
    "data=2, fsdp=2, model=2": dataclasses.replace(CFG, mesh=Mesh(fsdp=2, model=2)),
}


def step(stage: str, cfg: Config, devices: int) -> tuple[TrainState, Metrics]:
    """The fourth of a run, with the reward that is shipped; the optimizer has the moments of a step before."""
    program = made_up.sft(cfg, devices) if stage == "sft" else made_up.grpo(cfg, devices, shipped_reward=True)
    frozen = made_up.frozen(program, CFG, made_up.reward_model(CFG)[0])
    return made_up.run(program, before(stage), frozen, made_up.batch(CFG))


@functools.cache
def before(stage: str) -> TrainState:
    """From another batch, on one device. Adam's very first step is the gradient's sign: where a gradient happens to be
    as small as its rounding, no two orders of summation would agree on it."""
    program = made_up.sft(CFG) if stage == "sft" else made_up.grpo(CFG, shipped_reward=True)
    frozen = made_up.frozen(program, CFG, made_up.reward_model(CFG)[0])
    state, _ = made_up.run(program, made_up.state(program, CFG, step=2), frozen, made_up.batch(CFG, seed=1))
    return state


@pytest.fixture(scope="module", params=["sft", "grpo"])
def stage(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def alone(stage: str) -> tuple[TrainState, Metrics]:
    return step(stage, CFG, 1)


@pytest.mark.parametrize("cfg", MESHES.values(), ids=MESHES)
def test_eight_devices_equal_one(stage: str, alone: tuple[TrainState, Metrics], cfg: Config) -> None:
    (one, one_metrics), (eight, metrics) = alone, step(stage, cfg, 8)
    if stage == "grpo":
        ours, theirs = metrics.pop("samples"), dict(one_metrics)["samples"]
        np.testing.assert_array_equal(ours.clip, theirs.clip)
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
