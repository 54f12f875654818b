"""Weights in 8 bits: off by half a step at most, and products with them are exactly those of what they stand for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax import param
from emojax.bench import precision
from emojax.config import Config
from emojax.decoder import captioner
from emojax.nn.layers import Linear, conv1d, conv2d, linear
from emojax.nn.quantize import Quantized, dequantize, quantize
from emojax.training import freeze
from emojax.training.grpo import Frozen
from support import made_up

CFG = made_up.config(frozen_precision="int8")


def maps(tree) -> list[Linear]:
    found = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, Linear))
    return [x for x in found if isinstance(x, Linear)]


@pytest.mark.parametrize("shape", [(7, 5), (3, 33, 17), (2, 1, 9)], ids=str)
@pytest.mark.parametrize("scale", [1e-20, 0.03, 1e8])
def test_no_weight_is_off_by_more_than_half_a_step(shape: tuple[int, ...], scale: float) -> None:
    w = np.random.default_rng(0).normal(size=shape).astype(np.float32) * np.float32(scale)
    w[..., 2] = 0
    w[..., 0, 3] = 100 * scale
    q = jax.tree.map(np.asarray, quantize(w))
    assert (q.int8.dtype, q.int8.shape) == (np.int8, shape)
    assert q.scale.shape == (*shape[:-2], 1, shape[-1])
    step = np.abs(w.astype(np.float64)).max(-2, keepdims=True) / 127
    error = np.abs(q.int8 * q.scale.astype(np.float64) - w)
    assert (error <= step / 2 * (1 + 1e-4)).all()  # of float32's rounding
    assert np.abs(q.int8).max() == 127, "the largest weight takes the last step"
    assert not q.int8[..., 2].any()
    assert np.isfinite(q.scale).all()
    again = jax.tree.map(np.asarray, quantize(dequantize(q)))
    np.testing.assert_array_equal(again.int8, q.int8)


def test_the_error_of_a_product_is_that_of_its_weights() -> None:
    """|x Ŵ - x W| <= Σ |x_i| · scale / 2: a theorem, of every product."""
    r = np.random.default_rng(1)
    w, x = r.normal(size=(61, 23)).astype(np.float32), r.normal(size=(5, 61)).astype(np.float32)
    q = quantize(w)
    y = np.asarray(linear(Linear(q, None), jnp.asarray(x)))
    bound = np.abs(x).sum(-1, keepdims=True) * np.asarray(q.scale) / 2
    error = np.abs(y - x.astype(np.float64) @ w)
    assert (error <= bound * (1 + 1e-3)).all()
    assert error.max() > 1e-3 * bound.max(), "nothing was rounded"


def test_products_are_those_of_the_dense_weight() -> None:
    r = np.random.default_rng(2)
    w, b = r.normal(size=(3 * 3 * 4, 6)).astype(np.float32), r.normal(size=6).astype(np.float32)
    q = Linear(quantize(w), b)
    plain = Linear(dequantize(q.w), b)
    x = jnp.asarray(r.normal(size=(2, 8, 8, 4)).astype(np.float32))
    for ours, theirs in (
        (conv2d(q, x, 3, 2), conv2d(plain, x, 3, 2)),
        (conv1d(q, x.reshape(2, 16, 16)[..., :12], 3), conv1d(plain, x.reshape(2, 16, 16)[..., :12], 3)),
        (linear(q, x.reshape(-1)[:36]), linear(plain, x.reshape(-1)[:36])),
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    bent = jax.grad(lambda x: linear(q, x).sum())(x.reshape(-1)[:36])
    np.testing.assert_allclose(bent, dequantize(q.w).sum(1), rtol=1e-5)


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_frozen_maps_are_int8_and_trained_ones_are_not(stage: str) -> None:
    cfg = made_up.with_sft(CFG, freeze=("encoders.audio", "encoders.video", "decoder.layers.mlp"))
    program = made_up.sft(cfg) if stage == "sft" else made_up.grpo(cfg)
    frozen = made_up.frozen(program, cfg)
    kept = [frozen.encoders, frozen.reference] if isinstance(frozen, Frozen) else frozen
    ours = [x for x in maps(kept) if x.w is not None]
    assert ours
    assert all(isinstance(x.w, Quantized) for x in ours)
    others = {x.dtype for x in jax.tree.leaves(kept)} - {jnp.dtype("int8"), jnp.dtype("float32")}  # the scales
    assert others == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in jax.tree.leaves(program.state.params)} == {jnp.dtype("float32")}
    wanted = program.frozen
    wanted = [wanted.encoders, wanted.reference] if isinstance(wanted, Frozen) else wanted
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), kept, wanted)
    assert all(jax.tree.leaves(same)), "what a plan compiles for is what a run has"


def test_a_cast_leaves_eight_bits_alone() -> None:
    for computed in ("float32", "bfloat16"):
        cfg: Config = dataclasses.replace(CFG, precision=computed)
        q = Linear(quantize(np.ones((4, 3), np.float32)), np.zeros(3, np.float32))
        cast = captioner.cast(q, cfg)
        assert (cast.w.int8.dtype, cast.w.scale.dtype) == (jnp.int8, jnp.float32)
        assert cast.b.dtype == computed


def test_the_same_bits_wherever_it_is_done() -> None:
    """So that a run that is resumed goes on with the weights that it had."""
    w = np.random.default_rng(5).normal(size=(2, 40, 56)).astype(np.float32)
    mesh = jax.make_mesh((8,), ("x",))
    cut = jax.device_put(w, jax.NamedSharding(mesh, jax.P(None, "x", None)))
    for other in (jax.jit(lambda w: freeze.kept_map(w, "int8"))(w), quantize(cut)):
        jax.tree.map(np.testing.assert_array_equal, quantize(w), other)


def test_what_fewer_bits_cost_is_told() -> None:
    """Logits move with the weights: not at all where nothing is rounded, more in 8 bits than in bfloat16."""
    cfg = made_up.config()
    decoder = param.init(captioner.declare(cfg).decoder, jax.random.key(3))
    told = precision.measure(cfg, decoder, clips=2, prefix=5, length=4)
    for found in told.values():
        assert found["kl"] > 0
        assert found["logits_largest"] > 0
    assert told["bfloat16"]["weights_relative_rms"] < 2**-8, "half a step of 8 bits of mantissa"
    assert told["bfloat16"]["logits_relative_rms"] < told["int8"]["logits_relative_rms"]
    exact = jax.tree.map(lambda w: w.astype(jnp.bfloat16).astype(jnp.float32), decoder)
    found = precision.measure(cfg, exact, clips=2, prefix=5, length=4)["bfloat16"]
    assert (found["weights_relative_rms"], found["logits_relative_rms"], found["kl"]) == (0, 0, 0)
    assert found["same_likeliest"] == 1
