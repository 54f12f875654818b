"""A step of DPO: one program without the host, whose gradient is the textbook's; micro-batches and devices change
nothing; a run resumed is the unbroken run, with or without adapters."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.config import Config, Dpo, Mesh, Optimizer, presets
from emojax.data.clips import Clip, write_manifest
from emojax.parallel import sharding
from emojax.planning.hlo import host_traffic
from emojax.training import checkpoint, freeze, initial, stages
from emojax.types import Batch, Metrics, TrainState, Tree
from support import made_up, plain
from test_gradient import assert_same_gradient, recovered

WHOLE = made_up.config(
    dpo=Dpo(
        batch=8,
        rejected=2,
        beta=0.4,
        text_prior=0.3,
        optimizer=Optimizer(learning_rate=1e-4, weight_decay=0.0, epsilon=1e-6),
    )
)
LM = WHOLE.model.decoder


@pytest.fixture(autouse=True, scope="module")
def as_on_paper() -> Iterator[None]:
    """As in test_gradient."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def clips(cfg: Config = WHOLE) -> Batch:
    """Recordings of one length, as in test_gradient."""
    batch = made_up.pairs(cfg)
    return batch.replace(audio_length=np.where(batch.audio_length > 0, 6007, 0).astype(np.int32))


def first_step(cfg: Config, devices: int = 1) -> tuple[TrainState, Metrics, str]:
    """The reference policy is another one than the policy."""
    program = made_up.dpo(cfg, devices)
    compiled = program.lower().compile()
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), program.state)
    state = state.replace(params=freeze.split_policy(made_up.params(cfg), cfg.dpo)[0])
    reference = made_up.params(cfg, 1).replace(encoders=made_up.params(cfg).encoders)
    given = jax.tree.map(
        lambda x, like: jax.device_put(x, like.sharding),
        (state, reference, clips(cfg), jax.random.key(0)),
        (program.state, program.frozen, program.batch, program.key),
    )
    told = jax.tree.map(np.array, compiled(*given))
    return (*told, compiled.as_text() or "")


@pytest.fixture(scope="module")
def step() -> tuple[TrainState, Metrics, str]:
    return first_step(WHOLE)


def test_it_is_one_program_that_never_asks_the_host(step: tuple[TrainState, Metrics, str]) -> None:
    assert host_traffic(step[2]) == {"host_callbacks": 0, "infeeds": 0, "outfeeds": 0}


def textbook(batch: Batch) -> tuple[float, Tree, dict[str, float]]:
    """float64: the loss, its gradient and what is logged."""
    mel = np.stack([plain.log_mel(audio[:6007], WHOLE.model.audio.mels) for audio in batch.audio])
    blind = batch.replace(audio_length=0 * batch.audio_length, video_mask=batch.video_mask & False)
    seen, unseen = (
        np.stack([[plain.sequence(b, n, ids, WHOLE) for ids in b.caption[n]] for n in range(8)]) for b in (batch, blind)
    )
    mask, dpo = batch.caption_mask, WHOLE.dpo
    share = mask.any(-1)[:, 1:] / mask.any(-1)[:, 1:].sum(-1, keepdims=True)

    def apart(x):
        return x[:, 0] - (share * x[:, 1:]).sum(-1)

    with jax.enable_x64(True):
        policy, reference = (plain.double(made_up.params(WHOLE, seed).decoder) for seed in (0, 1))
        encoders = plain.double(made_up.params(WHOLE).encoders)
        streams = jax.jit(plain.streams, static_argnums=3)(encoders, mel, batch.video.astype(np.float64), WHOLE)

        @jax.jit
        def logp(params, sequences):
            each = plain.log_probability(params, streams, sequences, batch.caption, LM)
            return (each * mask).sum(-1)

        other, prior = logp(reference, seen), logp(policy, unseen)

        def loss(params):
            now = logp(params, seen)
            rewards = dpo.beta * (now - other)
            margin = apart(rewards) - dpo.text_prior * apart(prior)
            told = {
                "rewards/chosen": rewards[:, 0].mean(),
                "rewards/margins": apart(rewards).mean(),
                "rewards/rejected": (rewards[:, 0] - apart(rewards)).mean(),
                "rewards/accuracies": (apart(rewards) > 0).mean(),
                "logps/chosen": now[:, 0].mean(),
                "logps/rejected": (now[:, 0] - apart(now)).mean(),
                "text_prior": apart(prior).mean(),
            }
            return jnp.log1p(jnp.exp(-margin)).mean(), told

        (value, told), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(policy)
    return float(value), grads, told


def test_gradient_and_metrics_are_those_of_the_textbook(step: tuple[TrainState, Metrics, str]) -> None:
    """Of the whole step, from the clips on, with two rejected captions and the text prior."""
    state, metrics, _ = step
    value, grads, told = textbook(clips())
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    for name, wanted in told.items():
        np.testing.assert_allclose(metrics[name], wanted, rtol=1e-5, atol=1e-5, err_msg=name)
    assert 0 < metrics["rewards/accuracies"] < 1
    assert abs(metrics["text_prior"]) > 0.1
    assert 1 < metrics["entropy"] < np.log(LM.vocab)
    assert_same_gradient(recovered(state, metrics, WHOLE.dpo.optimizer), grads)


@pytest.mark.parametrize("how", ["micro-batches", "eight devices"])
def test_parts_of_a_batch_and_devices_change_nothing(how: str, step: tuple[TrainState, Metrics, str]) -> None:
    other = dataclasses.replace(WHOLE, dpo=dataclasses.replace(WHOLE.dpo, micro_batch=2))
    if how == "eight devices":
        other = dataclasses.replace(WHOLE, mesh=Mesh(data=2, fsdp=2, model=2))
    state, metrics, _ = first_step(other, 8 if how == "eight devices" else 1)
    for name, value in step[1].items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    assert made_up.distance(state.params, step[0].params) < 1e-5


def test_pairs_that_are_the_same_to_both_policies_cost_log_two() -> None:
    cfg = dataclasses.replace(WHOLE, dpo=Dpo(batch=8, train=("encoders.*_projector",)))
    program = made_up.dpo(cfg)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), program.state)
    state = state.replace(params=freeze.split_policy(made_up.params(cfg), cfg.dpo)[0])
    parts = {".".join(jax.tree_util.keystr(at, simple=True, separator=".").split(".")[:2]) for at, _ in leaves(state)}
    assert parts == {"encoders.audio_projector", "encoders.video_projector"}
    with jax.set_mesh(program.mesh):
        after, metrics = program.step(state, made_up.params(cfg), made_up.pairs(cfg), jax.random.key(0))
    np.testing.assert_allclose(metrics["loss"], np.log(2), rtol=1e-6)
    assert metrics["rewards/margins"] == 0
    assert metrics["grad_norm"] > 0.01
    assert made_up.distance(jax.tree.map(np.array, after.params), state.params) > 0


def leaves(state: TrainState) -> list:
    return jax.tree_util.tree_leaves_with_path(state.params)


# --- whole runs ---


def paired(folder: Path, *settings: str) -> Config:
    """Of words alone: a pair a clip."""
    folder.mkdir()
    made = [
        Clip(f"c{n}", transcript=f"number {n}", chosen="a calm voice", rejected=("a loud voice",), split="train")
        for n in range(5)
    ]
    write_manifest(folder / "clips.jsonl", made)
    few = ("steps=4", "checkpoint_every=2", "keep=9", "dpo.optimizer.learning_rate=0.01")
    return presets.load("tiny", [f"data.manifest={folder / 'clips.jsonl'}", *few, *settings])


def logged(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "step_seconds"} for line in lines]


@pytest.mark.parametrize("adapted", [False, True])
def test_a_resumed_run_is_the_unbroken_one_and_its_captioner_is_there(adapted: bool, tmp_path: Path) -> None:
    lora = (
        ("lora.targets=decoder.layers.attention.*", "lora.rank=2", "dpo.optimizer.learning_rate=0.1") if adapted else ()
    )
    cfg, run = paired(tmp_path / "data", *lora), tmp_path / "run"
    stages.dpo(cfg, run, init=None)
    unbroken = logged(run)
    assert unbroken[-1]["rewards/margins"] > unbroken[0]["rewards/margins"] == 0
    shutil.rmtree(run / "checkpoints" / "4")
    stages.dpo(cfg, run, init=None, resume=True)
    assert logged(run) == unbroken

    begun = tmp_path / "next"
    stages.dpo(presets.override(cfg, ["steps=1"]), begun, init=run)
    ended = initial.run_captioner(run, cfg, sharding.make_mesh(cfg, jax.devices()[:1], "dpo"))
    start = checkpoint.restore_tree(begun / "start", ended)
    jax.tree.map(np.testing.assert_array_equal, start, ended)
    assert logged(begun)[0]["rewards/margins"] == 0, "and that is its reference policy"
