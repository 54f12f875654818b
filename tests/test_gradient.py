"""The gradient of both steps is that of the textbook's loss: what is shared, chunked, rematerialised or accumulated
changes nothing."""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emojax.config import Config, Sampling
from emojax.training import tokens
from emojax.training.advantages import advantages
from emojax.training.controls import Weights
from emojax.training.roll_out import Rolled
from emojax.training.updates import Rows, look_back, updates
from emojax.types import Batch, Prefix, Rollout, TrainState, Tree
from support import made_up, plain

CFG = made_up.config()
TOLERANCE = 1e-5  # of the gradient's norm


@pytest.fixture(autouse=True, scope="module")
def as_on_paper() -> Iterator[None]:
    """The plain model is written as textbooks are, who broadcast without a word."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def clips() -> Batch:
    """Recordings of one length, shorter than the bucket: the plain model has no padding."""
    batch = made_up.batch(CFG)
    return batch.replace(audio_length=np.where(batch.audio_length > 0, 6007, 0).astype(np.int32))


@pytest.fixture(scope="module")
def media(clips: Batch) -> tuple[np.ndarray, np.ndarray]:
    mel = np.stack([plain.log_mel(audio[:6007], CFG.model.audio.mels) for audio in clips.audio])
    return mel, clips.video.astype(np.float64)


@pytest.fixture(scope="module")
def step(clips: Batch) -> tuple[TrainState, dict]:
    program = made_up.grpo(CFG)
    return made_up.run(program, made_up.state(program, CFG), made_up.frozen(program, CFG), clips)


@pytest.fixture(scope="module")
def streams(media: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(
            jax.jit(plain.streams, static_argnums=3)(plain.double(made_up.params(CFG).encoders), *media, CFG)
        )


def recovered(state: TrainState, metrics: dict, cfg) -> Tree:
    """The gradient, from Adam's first moment after the first update of a run."""
    scale = max(1.0, float(metrics["grad_norm"]) / cfg.clip) / (1 - cfg.b1)
    return jax.tree.map(lambda m: scale * m.astype(np.float64), optax.tree.get(state.opt_state, "mu"))


def assert_same_gradient(ours: Tree, theirs: Tree) -> None:
    def norm(tree: Tree) -> float:
        return np.sqrt(sum(np.square(np.asarray(x, np.float64)).sum() for x in jax.tree.leaves(tree)))

    whole = norm(theirs)
    assert whole > 0.01, "a gradient this small shows nothing"
    apart = jax.tree.map(lambda x, y: norm(np.asarray(x, np.float64) - np.asarray(y)), ours, theirs)
    assert norm(apart) < TOLERANCE * whole
    for (path, gap), leaf in zip(jax.tree_util.tree_leaves_with_path(apart), jax.tree.leaves(theirs), strict=True):
        assert gap < 1e-3 * norm(leaf) + 1e-6 * whole, f"{jax.tree_util.keystr(path)}: a small part of it is wrong"


def cold_start_loss(params, mel, video, sequences, ids, mask, labels, attributes, there):
    """All parts; `there` bool[B streams], `labels` shares or 0 and `attributes` -1 where a clip has none."""
    seen = plain.streams(params.encoders, mel, video, CFG)
    logp = plain.log_probability(params.decoder, seen, sequences, ids, CFG.model.decoder)
    captions = -(logp * mask).sum() / mask.sum()
    words = -sum(
        (plain.words(params.decoder, streams[there[b]], CFG.model.decoder)[ids[b]] * mask[b]).sum()
        for b, streams in enumerate(seen)
    )
    words = words / mask.sum()
    named = [
        (labels[b] * plain.name_emotion(params.encoders, streams[there[b]])).sum()
        for b, streams in enumerate(seen)
        if labels[b].any() and there[b].any()
    ]
    emotion = -sum(named) / len(named)
    counts = [len(attribute.values) for attribute in CFG.reward.attributes]
    told = {}
    for b, streams in enumerate(seen):
        if there[b].any() and (attributes[b] >= 0).any():
            values = plain.name_attributes(params.encoders, streams[there[b]], counts)
            told[b] = -sum(value[n] for value, n in zip(values, attributes[b], strict=True) if n >= 0)
    attributes = sum(told.values()) / len(told)
    total = captions + CFG.sft.words_weight * words + CFG.sft.emotion_weight * emotion
    total += CFG.sft.attributes_weight * attributes
    parts = {"loss": captions, "words_loss": words, "emotion_loss": emotion, "attributes_loss": attributes}
    return total, parts


def test_cold_start(clips: Batch, media: tuple[np.ndarray, np.ndarray]) -> None:
    program = made_up.sft(CFG)
    state, metrics = made_up.run(program, made_up.state(program, CFG), made_up.frozen(program, CFG), clips)
    sequences = np.stack([[plain.sequence(clips, b, ids, CFG) for ids in clips.caption[b]] for b in range(8)])
    hears, sees = clips.audio_length > 0, clips.video_mask.any(-1)
    assert (hears | sees).all()
    assert not (hears & sees).all()
    model = CFG.model
    there = np.concatenate([np.tile(hears, (model.audio.tokens, 1)), np.tile(sees, (model.video.tokens, 1))]).T
    with jax.enable_x64(True):
        loss = functools.partial(cold_start_loss, labels=clips.emotion, attributes=clips.attributes, there=there)
        (_, parts), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
            plain.double(made_up.params(CFG)), *media, sequences, clips.caption, clips.caption_mask
        )
    for name, part in parts.items():
        np.testing.assert_allclose(metrics[name], part, rtol=1e-6, err_msg=name)
    assert_same_gradient(recovered(state, metrics, CFG.sft.optimizer), grads)
    assert (metrics["captioned"], metrics["labelled"]) == (7, 6)

    mute = dataclasses.replace(clips, caption_mask=np.zeros_like(clips.caption_mask))
    _, told = made_up.run(program, made_up.state(program, CFG), made_up.frozen(program, CFG), mute)
    assert told["emotion_loss"] == pytest.approx(float(metrics["emotion_loss"]))
    assert (told["captioned"], told["skipped"]) == (0, 0)
    assert all(np.isnan(told[name]) for name in ("loss", "words_loss", "entropy")), (
        "a loss of no captions is no loss of 0"
    )


LM = CFG.model.decoder
read_all = jax.jit(lambda params, streams, sequences: plain.logits(params, streams, sequences, CFG.caption_tokens, LM))
score_all = jax.jit(lambda *args: plain.log_probability(*args[:4], LM, *args[4:]))


@jax.jit
@functools.partial(jax.value_and_grad, has_aux=True)
def policy_loss(params, streams, sequences, ids, temperature, support, old, reference, advantage, weight, grpo):
    logp = plain.log_probability(params, streams, sequences, ids, LM, temperature, support)
    each = plain.objective(logp, old, reference, advantage, *grpo)
    return -(weight * each).sum(), jnp.exp(logp - old)


def textbook(
    cfg: Config, clips: Batch, streams: np.ndarray, samples: Rollout, reward: np.ndarray, params: Tree, old_params: Tree
) -> tuple[float, Tree, np.ndarray]:
    """Loss and gradient of the whole objective at `params`, the samples drawn from `old_params`; and the ratios."""
    grpo = cfg.grpo
    sequences = np.stack([[plain.sequence(clips, b, ids, cfg) for ids in samples.ids[b]] for b in range(len(streams))])
    weight = plain.weights(samples.mask, samples.ended, grpo.loss, grpo.mask_truncated)
    advantage = plain.advantage(reward, grpo.scale)
    now, old, reference = (plain.double(p) for p in (params, old_params, made_up.params(CFG, 1).decoder))
    temperature, k = grpo.sampling.temperature, grpo.sampling.top_k or LM.vocab
    drawn = np.eye(LM.vocab, dtype=bool)[samples.ids]
    with jax.enable_x64(True):
        # what the tokens were drawn from: the k best of the policy that drew them, and the token itself
        support = plain.top_k(np.asarray(read_all(old, streams, sequences)), k) | drawn
        before = score_all(old, streams, sequences, samples.ids, temperature, support)
        other = score_all(reference, streams, sequences, samples.ids, temperature, support)
        (value, ratio), grads = policy_loss(
            now, streams, sequences, samples.ids, temperature, support, before, other, advantage, weight,
            (grpo.beta, grpo.clip_low, grpo.clip_high),
        )  # fmt: skip
    return float(value), grads, np.asarray(ratio)


def test_group_relative_policy_optimization(clips: Batch, streams: np.ndarray, step: tuple[TrainState, dict]) -> None:
    """The whole step, from the clips on; samples and rewards are its own."""
    state, metrics = step
    samples = metrics["samples"]
    ended = (samples.ids == LM.end_token).any(-1)
    drawn = Rollout(samples.ids, samples.mask, np.zeros(0), ended)
    policy = made_up.params(CFG).decoder
    value, grads, _ = textbook(CFG, clips, streams, drawn, samples.reward, policy, policy)
    np.testing.assert_allclose(metrics["loss"], value, atol=1e-6)
    assert_same_gradient(recovered(state, metrics, CFG.grpo.optimizer), grads)


OFF_POLICY = [
    made_up.with_grpo(CFG, loss="grpo", mask_truncated=True, updates=3, beta=0.2),
    made_up.with_grpo(
        CFG,
        loss="dapo",
        scale="none",
        mask_truncated=True,
        micro_batch=2,
        updates=3,
        clip_high=0.3,
        sampling=Sampling(temperature=0.8, top_k=20),
    ),
    dataclasses.replace(
        made_up.with_grpo(CFG, loss="dr_grpo", updates=3), model=dataclasses.replace(CFG.model, remat=True)
    ),
]


@pytest.mark.parametrize("cfg", OFF_POLICY, ids=lambda cfg: cfg.grpo.loss)
def test_off_policy(
    cfg: Config,
    clips: Batch,
    streams: np.ndarray,
    step: tuple[TrainState, dict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gradient of the third update on one rollout, where ratios are clipped; and of the first, where they are 1."""
    monkeypatch.setattr(tokens, "CHUNK", 0)
    monkeypatch.setattr(tokens, "LEAST", 50)  # of 288
    samples = step[1]["samples"]
    ended = (samples.ids == LM.end_token).any(-1)
    assert 0 < ended.mean() < 1
    drawn = Rollout(samples.ids, samples.mask, np.zeros(samples.ids.shape, np.float32), ended)
    captioner, reference = made_up.params(CFG), made_up.params(CFG, 1)
    policy = captioner.decoder
    r = np.random.default_rng(3)
    move = jax.tree.map(lambda w: r.normal(size=w.shape, scale=0.005).astype(np.float32), policy)
    hears, sees = clips.audio_length > 0, clips.video_mask.any(-1)
    there = np.repeat(np.stack([hears, sees], 1), (CFG.model.audio.tokens, CFG.model.video.tokens), 1)
    seen = Prefix(np.where(there[..., None], streams, 7.0).astype(np.float32), there)

    @jax.jit
    def gradients(captioner, reference, move, rolled):
        """`updates` itself, with an optimizer that goes by `move` whatever the gradients are, and keeps them."""
        nothing = jax.tree.map(jnp.zeros_like, captioner.decoder)
        keep = optax.GradientTransformation(
            lambda _: (nothing, nothing, nothing), lambda grads, kept, _: (move, (*kept[1:], grads))
        )
        weights = Weights(jnp.float32(cfg.grpo.beta), jnp.float32(0))
        before = look_back(captioner, reference, rolled, weights, cfg)
        rows = Rows(rolled.batch, rolled.streams, rolled.samples, advantages(rolled.reward, cfg.grpo), before)
        zero = jnp.zeros((), jnp.int32)
        state = TrainState(zero, captioner.decoder, keep.init(captioner.decoder), zero)
        state, _, metrics = updates(state, reference, rows, weights, cfg, keep)
        return state.opt_state[0], state.opt_state[2], metrics["loss"]

    batch = clips.replace(references=None)
    rolled = Rolled(batch, seen, drawn, samples.reward, {}, samples.reward, None)
    first, third, loss = gradients(captioner, reference, move, rolled)
    _, wanted, ratio = textbook(cfg, clips, streams, drawn, samples.reward, policy, policy)
    assert_same_gradient(first, wanted)
    moved = jax.tree.map(lambda w, d: w + d + d, policy, move)
    value, wanted, ratio = textbook(cfg, clips, streams, drawn, samples.reward, moved, policy)
    clipped = (ratio < 1 - cfg.grpo.clip_low) | (ratio > 1 + cfg.grpo.clip_high)
    assert 0.05 < clipped[samples.mask].mean() < 0.9, "nothing is clipped, or everything"
    np.testing.assert_allclose(loss, value, atol=1e-6)
    assert_same_gradient(third, wanted)
