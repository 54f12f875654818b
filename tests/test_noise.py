"""Noise has names: a clip's samples depend on (seed, step, clip, sample, position), on nothing else; and a token is
drawn as often as its probability says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from emojax.config import Config
from emojax.decoder.logits import NEVER
from emojax.decoder.sample import draw
from emojax.types import Batch, Metrics, Samples, TrainState
from support import made_up

CFG = made_up.config()
BATCH = made_up.batch(CFG)
ORDER = np.random.default_rng(0).permutation(8)
SMALL = {"sft": made_up.with_sft(CFG, micro_batch=2), "grpo": made_up.with_grpo(CFG, micro_batch=2)}


def step(
    stage: str, cfg: Config = CFG, batch: Batch = BATCH, number: int = 3, seed: int = 0
) -> tuple[TrainState, Metrics]:
    program = made_up.sft(cfg) if stage == "sft" else made_up.grpo(cfg)
    return made_up.run(
        program, made_up.state(program, CFG, step=number), made_up.frozen(program, CFG), batch, seed=seed
    )


@functools.cache
def usual(stage: str) -> tuple[TrainState, Metrics]:
    return step(stage)


def reordered(batch: Batch) -> Batch:
    return jax.tree.map(lambda x: x[ORDER], batch)


def assert_same_samples(a: Samples, b: Samples) -> None:
    """Of each clip, wherever it stands."""
    a, b = (jax.tree.map(lambda x, of=s: x[np.argsort(of.clip_id)], s) for s in (a, b))
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_array_equal(a.mask, b.mask)
    np.testing.assert_allclose(a.reward, b.reward, atol=1e-5)


@pytest.mark.parametrize("stage", [pytest.param("sft", marks=pytest.mark.slow), "grpo"])
@pytest.mark.parametrize("change", ["order", "micro-batch"])
def test_neither_order_nor_micro_batch_matter(stage: str, change: str) -> None:
    state, metrics = usual(stage)
    other = step(stage, batch=reordered(BATCH)) if change == "order" else step(stage, cfg=SMALL[stage])
    if stage == "grpo":
        assert_same_samples(metrics["samples"], other[1]["samples"])
    for name in metrics.keys() - {"samples"}:
        np.testing.assert_allclose(other[1][name], metrics[name], rtol=1e-5, atol=1e-5, err_msg=name)
    assert made_up.distance(state.params, other[0].params) < 1e-5
    assert made_up.distance(state.opt_state, other[0].opt_state) < 1e-5


def test_on_policy_no_ratio_moves_and_nothing_is_clipped() -> None:
    for metrics in (usual("grpo")[1], step("grpo", cfg=SMALL["grpo"])[1]):
        assert metrics["ratio"] == 1
        assert metrics["clip_fraction"] == 0


@pytest.mark.parametrize("other", [{"number": 4}, {"seed": 1}], ids=["another step", "another seed"])
def test_noise_is_never_used_again(other: dict) -> None:
    before, after = usual("grpo")[1]["samples"], step("grpo", **other)[1]["samples"]
    assert (before.ids != after.ids).any((1, 2)).all(), "a clip has the same samples again"


def test_every_sample_has_noise_of_its_own() -> None:
    """The same clip under another name has other samples, and under the same name the same; so has each of a group."""
    twins = jax.tree.map(lambda x: np.repeat(x[:1], 8, 0), BATCH)
    ids = step("grpo", batch=twins.replace(clip_id=np.array([1, 2, 3, 4, 1, 2, 3, 4], np.uint32)))[1]["samples"].ids
    np.testing.assert_array_equal(ids[:4], ids[4:])
    assert len({sample.tobytes() for sample in ids[:4].reshape(16, -1)}) == 16


def grid(n: int) -> np.ndarray:
    return ((np.arange(n) + 0.5) / n).astype(np.float32)


drawn = jax.jit(lambda logits, uniform: jax.lax.map(lambda u: draw(logits, u), uniform, batch_size=20_000))


def random_logits(v: int, seed: int = 0) -> np.ndarray:
    """Of a language model's kind: most of the mass on few tokens, a long tail, and tokens that cannot be drawn."""
    r = np.random.default_rng(seed)
    logits = (r.normal(size=v) * 2.5).astype(np.float32)
    logits[r.random(v) < 0.2] = NEVER
    return logits


def probabilities(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits.astype(np.float64) - logits.max())
    return p / p.sum()


@pytest.mark.parametrize("v", [2, 7, 46, 1025, pytest.param(30_522, marks=pytest.mark.slow)])
def test_tokens_are_drawn_as_often_as_their_probability_says(v: int) -> None:
    """Chi-square of named uniforms; and evenly spaced ones, which show errors far below what chance would."""
    logits = random_logits(v, seed=v) if v > 2 else np.array([0.3, -1], np.float32)
    p, n = probabilities(logits), 200_000
    named = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(jax.random.key(5), i)))(jnp.arange(n))
    token, logp = drawn(logits, named)
    counts = np.bincount(token, minlength=v)
    assert counts[p == 0].sum() == 0
    np.testing.assert_allclose(logp, np.log(p, where=p > 0, out=np.zeros(v))[token], atol=2e-5)
    expected = n * p
    common = expected >= 10
    observed, wanted = (np.append(x[common], x[~common].sum()) for x in (counts, expected))
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    assert stats.chisquare(observed, wanted).pvalue > 1e-4
    even = np.bincount(drawn(logits, grid(n))[0], minlength=v)
    assert np.abs(even - expected).max() < 2 + 1e-5 * n


EDGES = np.array([0, 2.0**-149, 2.0**-24, 0.5, 1 - 2.0**-23, 1 - 2.0**-24], np.float32)


@pytest.mark.parametrize("v", [3, 46, 300, 30_522])
def test_a_token_without_probability_is_never_drawn(v: int) -> None:
    """Not by the smallest uniform number nor the largest below one, wherever the support lies."""
    r = np.random.default_rng(v)
    supports = [[0], [v - 1], [v // 2], [1, v - 1], [0, v // 2], sorted(r.choice(v, min(v, 20) - 1, replace=False))]
    for support in supports:
        logits = np.full(v, NEVER, np.float32)
        logits[support] = r.normal(size=len(support)) * 3
        uniform = np.concatenate([EDGES, r.random(500, np.float32)])
        token, logp = drawn(logits, uniform)
        assert set(np.asarray(token).tolist()) <= set(support)
        np.testing.assert_allclose(logp, np.asarray(jax.nn.log_softmax(logits))[token], atol=2e-5)
        order = np.argsort(uniform)
        assert (np.diff(np.asarray(token)[order]) >= 0).all(), "inverse CDF is monotone"
        assert token[0] == support[0]


def test_not_even_where_rounding_passes_every_sum() -> None:
    """Uniform numbers on the border between two tokens, to the bit, and the largest, over gaps in the support."""
    r = np.random.default_rng(11)
    logits = random_logits(300)
    logits = np.where(r.random((400, 300)) < 0.5, NEVER, r.permuted(np.tile(logits, (400, 1)), axis=1))
    logits = logits.astype(np.float32)
    borders = np.stack([np.cumsum(probabilities(row))[r.integers(0, 300, 60)] for row in logits]).astype(np.float32)
    borders = np.concatenate([borders, np.nextafter(borders, np.float32(0)), np.ones((400, 1), np.float32)], 1)
    borders = np.minimum(borders, EDGES[-1])
    token, _ = jax.jit(jax.vmap(lambda row, us: jax.vmap(lambda u: draw(row, u))(us)))(logits, borders)
    assert (np.take_along_axis(logits, np.asarray(token), 1) > NEVER).all()
