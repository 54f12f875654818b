"""The laws of Emo-GRPO, and of what both steps do with data that is missing, padded or not finite."""

import dataclasses
import functools

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.config import Config, Optimizer
from emojax.encoders import media
from emojax.types import Batch, Metrics, TrainState, Tree
from support import made_up

CFG = made_up.config()
BATCH = made_up.batch(CFG)
OPTIMIZER = Optimizer(learning_rate=0.03, weight_decay=0.0)
EAGER = made_up.with_grpo(CFG, updates=3, beta=0.0, micro_batch=4, mask_truncated=True, optimizer=OPTIMIZER)


def step(
    batch: Batch = BATCH, cfg: Config = CFG, reward: Tree = None, state: TrainState | None = None, stage: str = "grpo"
) -> tuple[TrainState, Metrics]:
    program = made_up.sft(cfg) if stage == "sft" else made_up.grpo(cfg)
    state = made_up.state(program, CFG) if state is None else state
    return made_up.run(program, state, made_up.frozen(program, CFG, reward), batch)


@functools.cache
def usual(stage: str) -> tuple[TrainState, Metrics]:
    return step(stage=stage)


def assert_same_bits(a: Tree, b: Tree) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def without_preference(batch: Batch) -> tuple[Batch, np.ndarray]:
    """A reward that is the same for every caption."""
    refs = batch.references
    assert refs is not None
    assert refs.tokens is not None
    unread = refs.tokens.replace(mask=np.zeros_like(refs.tokens.mask))
    batch = batch.replace(references=refs.replace(tokens=unread))
    return batch, np.full(CFG.model.decoder.vocab, 0.5, np.float32)


# --- the reward and the advantage ---


def test_equal_rewards_give_exactly_no_gradient() -> None:
    batch, reward = without_preference(BATCH)
    before = made_up.state(made_up.grpo(EAGER), CFG)
    after, metrics = step(batch, EAGER, reward)
    assert metrics["flat_groups"] == 1
    assert metrics["grad_norm"] == 0
    assert_same_bits(after.params, before.params)


def test_a_step_goes_on_without_rewards_that_are_not_numbers() -> None:
    reward = made_up.values(CFG)
    ids = usual("grpo")[1]["samples"].ids
    reward[ids[0, 0, 0]] = np.nan
    state, metrics = step(reward=reward)
    scored = metrics["samples"].reward
    assert 0 < np.isnan(scored).sum() < scored.size / 2
    np.testing.assert_allclose(metrics["reward"], np.nanmean(scored), rtol=1e-5)
    np.testing.assert_allclose(metrics["reward_std"], np.nanstd(scored), rtol=1e-5)
    assert all(np.isfinite(metrics[name]) for name in metrics.keys() - {"samples"})
    assert metrics["skipped"] == 0
    assert made_up.distance(state.params, made_up.params(CFG).decoder) > 0


# --- the loss ---


def test_several_updates_move_the_ratio_and_clip_it() -> None:
    _, metrics = step(cfg=EAGER)
    assert 0 < metrics["samples"].mask.mean() < 1
    assert abs(metrics["ratio"] - 1) > 1e-3
    assert metrics["clip_fraction"] > 0.01
    assert_same_bits(metrics["samples"].ids, usual("grpo")[1]["samples"].ids)


def test_without_beta_no_reference_is_kept_and_no_divergence_is_told() -> None:
    assert not jax.tree.leaves(made_up.grpo(EAGER).frozen.reference)
    assert "kl" not in step(cfg=EAGER)[1]
    assert "kl" in usual("grpo")[1]


def test_sampler_and_update_agree() -> None:
    assert usual("grpo")[1]["logp_gap"] < 1e-4


# --- missing, padded ---


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_what_is_masked_is_not_read(stage: str) -> None:
    r = np.random.default_rng(4)
    b, refs, vocab = BATCH, BATCH.references, CFG.model.decoder.vocab
    assert refs is not None
    assert refs.tokens is not None

    def other(x: np.ndarray, mask: np.ndarray, garbage: np.ndarray | float) -> np.ndarray:
        mask = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
        assert not mask.all(), "nothing is masked"
        return np.where(mask, x, garbage).astype(x.dtype)

    heard = np.arange(b.audio.shape[1]) < b.audio_length[:, None]
    words = refs.tokens
    garbage = r.integers(0, vocab, words.ids.shape)
    batch = b.replace(
        audio=other(b.audio, heard, np.nan),
        video=other(b.video, b.video_mask, r.integers(0, 256, b.video.shape)),
        transcript=other(b.transcript, b.transcript_mask, r.integers(0, vocab, b.transcript.shape)),
        caption=other(b.caption, b.caption_mask, r.integers(0, vocab, b.caption.shape)),
        references=refs.replace(tokens=words.replace(ids=other(words.ids, words.mask, garbage))),
    )
    (state, metrics), (same_state, same_metrics) = usual(stage), step(batch, stage=stage)
    assert_same_bits(state, same_state)
    assert_same_bits(metrics, same_metrics)


def test_policies_far_apart_overflow_nowhere() -> None:
    """After a caption's end stands id 0. This policy finds it e^-100 times as likely there as the reference does."""
    weights = made_up.params(CFG)
    along = np.full(CFG.model.decoder.width, 0.3, np.float32)
    embed = weights.decoder.embed + along  # so that every hidden state has a part along it
    embed[0] -= 20 * along
    embed[CFG.model.decoder.end_token] += 0.8 * along
    far = weights.replace(decoder=weights.decoder.replace(embed=embed))
    _, metrics = step(state=made_up.state(made_up.grpo(CFG), CFG, weights=far))
    assert not metrics["samples"].mask.all(), "every caption is as long as can be"
    assert metrics["skipped"] == 0
    assert np.isfinite(metrics["loss"])


def test_a_longer_bucket_of_audio_changes_nothing() -> None:
    length = np.array([0, 8000, 7999, 4001, 161, 1, 640, 5000], np.int32)

    @jax.jit
    def encode(encoders: Tree, batch: Batch) -> Tree:
        return media.encode(encoders, batch, CFG, jnp.dtype("float32"))

    batch = BATCH.replace(audio_length=length, references=None)
    longer = batch.replace(audio=np.pad(batch.audio, ((0, 0), (0, 4800)), constant_values=0.3))
    short, long = (encode(made_up.params(CFG).encoders, x) for x in (batch, longer))
    np.testing.assert_array_equal(short.mask, long.mask)
    np.testing.assert_allclose(short.embed, long.embed, atol=1e-5)


# --- not finite ---


@pytest.mark.parametrize("what", ["weight", "audio", "sft weight"])
def test_an_update_that_is_not_finite_is_skipped(what: str) -> None:
    stage = "sft" if what.startswith("sft") else "grpo"
    start, batch = usual(stage)[0], BATCH
    broken = jax.tree.map(np.copy, start)
    if what.endswith("weight"):
        norm = broken.params.decoder.norm if stage == "sft" else broken.params.norm
        norm.scale[3] = np.nan
    else:
        batch = batch.replace(audio=np.where(np.arange(8)[:, None] == 1, np.inf, batch.audio).astype(np.float32))
        assert batch.audio_length[1] > 0
    for skipped in (1, 2):
        state, metrics = step(batch, state=broken, stage=stage)
        assert metrics["skipped"] == skipped
        assert not np.isfinite(metrics["loss"])
        assert state.step == broken.step + 1
        assert_same_bits(state.params, broken.params)
        assert_same_bits(state.opt_state, broken.opt_state)
        broken = state
    state, metrics = step(BATCH, state=start.replace(skipped=broken.skipped), stage=stage)
    assert metrics["skipped"] == state.skipped == 0
    assert made_up.distance(state.params, start.params) > 0


# --- a run ---


@pytest.fixture(scope="module")
def twenty_steps() -> tuple[TrainState, list[Metrics], list[str]]:
    """In bfloat16, from a policy near the reference and with a reward that prefers nothing; and what was compiled."""
    optimizer = Optimizer(learning_rate=0.001, weight_decay=0.0)
    cfg = dataclasses.replace(made_up.with_grpo(CFG, beta=0.5, optimizer=optimizer), precision="bfloat16")
    program = made_up.grpo(cfg)
    batch, reward = without_preference(BATCH)
    reference, policy = made_up.params(CFG, 1).decoder, made_up.params(CFG).decoder
    near = jax.tree.map(lambda r, p: r + np.float32(0.2) * (p - r), reference, policy)
    state = made_up.state(program, cfg).replace(params=near)
    state = jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), state, program.state)
    frozen, key = made_up.frozen(program, cfg, reward), jax.random.key(0)
    run, compiled = [], []

    def listen(event: str, seconds: float, **facts: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(str(facts.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        with jax.set_mesh(program.mesh):
            for _ in range(20):
                given = jax.tree.leaves(state)
                state, metrics = program.step(state, frozen, batch, key)
                assert all(x.is_deleted() for x in given), "the state was copied, not given away"
                run.append(jax.device_get(metrics))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return state, run, compiled


def test_twenty_steps_compile_once(twenty_steps: tuple) -> None:
    state, run, compiled = twenty_steps
    assert len([name for name in compiled if "grpo_step" in name]) == 1
    assert int(state.step) == len(run) == 20


def test_bfloat16_stays_finite_and_keeps_float32_weights(twenty_steps: tuple) -> None:
    state, run, _ = twenty_steps
    for metrics in run:
        assert all(np.isfinite(x) for name, x in metrics.items() if name != "samples"), metrics
        assert metrics["skipped"] == 0
        assert metrics["ratio"] == 1
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves((state.params, state.opt_state)) if x.ndim)


def test_the_divergence_pulls_towards_the_reference(twenty_steps: tuple) -> None:
    run = twenty_steps[1]
    assert all(metrics["flat_groups"] == 1 for metrics in run)
    assert all(metrics["grad_norm"] > 0 for metrics in run)
    before, after = (np.mean([metrics["kl"] for metrics in part]) for part in (run[:5], run[-5:]))
    assert after < 0.8 * before
