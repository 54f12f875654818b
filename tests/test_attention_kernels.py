"""Attention is one function however it is computed: all scores at once, by blocks of queries, by a fused kernel."""

import functools
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo
from jax.core import ShapedArray
from jax.extend.core import Jaxpr, jaxprs_in_params

from emojax.nn import kernels
from emojax.nn.attention import View, attend, attend_own, attend_prefix, attention
from emojax.types import Array, KVCache, Tree

CASES = {  # lead, T, S, N, K, H; the mask's shape after the lead; the bias's
    "no mask": ((3,), 13, 11, 4, 2, 8, None, None),
    "keys": ((3,), 13, 11, 6, 3, 8, (1, 11), None),
    "each query its own": ((3,), 17, 17, 2, 2, 16, (17, 17), None),
    "a bias": ((2,), 19, 7, 3, 3, 5, (1, 7), (3, 19, 7)),
    "a bias of all heads": ((2,), 8, 7, 6, 2, 8, (8, 7), (1, 8, 7)),
    "a bias of all queries": ((2,), 9, 6, 3, 1, 8, None, (3, 1, 6)),
    "two leading axes": ((2, 3), 10, 9, 4, 4, 8, (10, 9), None),
}


def made(case: str, dtype: str = "float32") -> tuple[Array, Array, Array, Array | None, Array | None]:
    """Every fifth row of a mask shows nothing."""
    lead, t, s, n, k, h, mask, bias = CASES[case]
    r = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return jnp.asarray(2 * r.normal(size=(*lead, *shape)), dtype)

    if mask is not None:
        mask = jnp.asarray((r.random((*lead, *mask)) < 0.6) & (np.arange(mask[0]) % 5 != 3)[:, None])
        mask = mask.at[-1].set(False) if mask.shape[-2] == 1 else mask
    if bias is not None and bias[0] == 1:
        bias = (CASES[case][3], *bias[1:])  # one for all heads is broadcast by who makes it
    return normal(t, n, h), normal(s, k, h), normal(s, k, h), mask, None if bias is None else normal(*bias)


def with_gradient(f: Callable[..., Array], *args: Array | None) -> tuple[Array, tuple[Array, ...]]:
    """The value, and the gradient of a sum that weighs each number of it, with respect to all that is not a mask."""
    floats = tuple(i for i, x in enumerate(args) if x is not None and x.dtype != bool)

    def total(*args: Array | None) -> Array:
        y = f(*args).astype(jnp.float32)
        return (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum()

    return jax.jit(lambda *args: (f(*args), jax.grad(total, floats)(*args)))(*args)


def same(got: Tree, expected: Tree, bound: float) -> None:
    """Every array to `bound` of its largest number."""

    def one(a: Array, b: Array) -> None:
        wide, wanted = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(wide, wanted, rtol=0, atol=bound * np.abs(wanted).max())

    jax.tree.map(one, got, expected)


def widest(jaxpr: Jaxpr) -> int:
    """Bytes of the largest array that a program makes."""
    sizes = [0]
    for eqn in jaxpr.eqns:
        arrays = [v.aval for v in eqn.outvars if isinstance(v.aval, ShapedArray)]
        sizes += [x.size * x.dtype.itemsize for x in arrays]
        sizes += [widest(sub) for sub in jaxprs_in_params(eqn.params)]
    return max(sizes)


@pytest.mark.parametrize("count", [3, 50])
@pytest.mark.parametrize("case", CASES)
def test_blocks_of_queries_give_the_whole(case: str, count: int) -> None:
    args = made(case)
    expected = with_gradient(kernels.whole, *args)
    got = with_gradient(functools.partial(kernels.by_blocks, count=count), *args)
    same(got, expected, 2e-6)


def test_the_gradient_of_a_row_that_sees_nothing_is_nothing() -> None:
    """With a bias, and compiled without optimisation, the largest score is not found again among its own."""
    value, gradients = with_gradient(kernels.whole, *made("a bias"))
    assert not value[-1].any()
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        assert not gradient[-1].any()


def test_blocks_sum_the_gradient_of_keys_in_float32() -> None:
    """Summed in bfloat16, one block after the other, 832 queries are 3 to 4 % off."""
    q, k, v, mask, _ = made("keys", "bfloat16")
    q = jnp.tile(q, (1, 64, 1, 1))

    def gradient(f: Callable[..., Array], *args: Array) -> tuple[Array, ...]:
        def total(*args: Array) -> Array:
            return jnp.square(f(*args, mask, None).astype(jnp.float32)).sum()

        return jax.jit(jax.grad(total, (0, 1, 2)))(*args)

    exact = gradient(kernels.whole, *(x.astype(jnp.float32) for x in (q, k, v)))
    same(gradient(functools.partial(kernels.by_blocks, count=200), q, k, v), exact, 0.006)


@pytest.mark.parametrize("case", ["keys", "each query its own", "no mask"])
def test_long_clips_never_have_all_their_scores_in_memory(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, mask, _ = made(case)
    clips, n = len(q), q.shape[2]
    q, k, v = (jnp.tile(x, (1, 10, 1, 1)) for x in (q, k, v))
    mask = None if mask is None else jnp.tile(mask, (1, 1 if mask.shape[1] == 1 else 10, 10))
    every = 4 * clips * n * q.shape[1] * k.shape[1]

    def largest() -> int:
        def total(q: Array, k: Array, v: Array) -> Array:
            return attention(q, k, v, mask).sum()

        return widest(jax.make_jaxpr(jax.grad(total, (0, 1, 2)))(q, k, v).jaxpr)

    assert largest() >= every
    monkeypatch.setattr(kernels, "AT_ONCE", every // clips // 8)
    assert largest() < every / 6
    same(attention(q, k, v, mask), kernels.whole(q, k, v, mask, None), 2e-6)


# cuDNN's kernel cannot run here: jax's own arithmetic stands in for it, behind the same arguments


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = jax.nn.dot_product_attention

    def refusing(q: Array, k: Array, v: Array, *, scale: float, implementation: str) -> Array:
        """What cuDNN refuses, of odd lengths in a gradient too, and what this module never asks of it."""
        assert implementation == "cudnn"
        assert q.shape[1] % 2 == k.shape[1] % 2 == q.shape[-1] % 8 == 0
        return theirs(q, k, v, scale=scale, implementation="xla")

    monkeypatch.setattr(jax.nn, "dot_product_attention", refusing)


@pytest.mark.parametrize("lengths", [(13, 11), (12, 11), (13, 10), (12, 10)])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.usefixtures("stand_in")
def test_the_fused_kernel_is_asked_for_the_same(masked: bool, lengths: tuple[int, int]) -> None:
    """Odd lengths, hidden keys, a clip that has none to look at, grouped heads."""
    (t, s), (q, k, v, mask, _) = lengths, made("keys")
    q, k, v, mask = q[:, :t], k[:, :s], v[:, :s], mask[..., :s] if masked and mask is not None else None
    expected = with_gradient(functools.partial(kernels.whole, bias=None), q, k, v, mask)
    got = with_gradient(kernels.flash, q, k, v, mask)
    same(got, expected, 2e-6)
    if masked:
        assert not got[0][-1].any(), "a clip without keys gives zeros"


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with one; jax asks for the version of cuDNN's library when it traces the call."""
    monkeypatch.setattr(kernels, "has_flash", lambda: True)
    monkeypatch.setattr(kernels, "AT_ONCE", 64)
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)


def lowered(f: Callable[..., Array], platform: str, *args: Array | None) -> str:
    """The gradient's program: StableHLO."""
    floats = tuple(i for i, x in enumerate(args) if x is not None and x.dtype != bool)
    program = jax.jit(jax.grad(lambda *args: f(*args).astype(jnp.float32).sum(), floats))
    return program.trace(*args).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.usefixtures("a_gpu")
def test_long_bfloat16_clips_take_cudnn_where_the_program_is_for_cuda() -> None:
    for case in ("keys", "no mask"):
        args = made(case, "bfloat16")
        calls = lowered(attention, "cuda", *args)
        assert {"__cudnn$fmhaSoftmax(", "__cudnn$fmhaSoftmaxBackward("} <= set(re.findall(r"__cudnn\$\w+\(", calls))
        assert "cudnn" not in lowered(attention, "cpu", *args) + lowered(attention, "tpu", *args)


@pytest.mark.usefixtures("a_gpu")
@pytest.mark.parametrize("case", [c for c in CASES if c not in ("keys", "no mask")])
def test_what_cudnn_does_not_take_goes_by_blocks(case: str) -> None:
    assert "cudnn" not in lowered(attention, "cuda", *made(case, "bfloat16"))


@pytest.mark.usefixtures("a_gpu")
def test_float32_and_odd_heads_and_short_clips_never_take_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, mask, _ = made("keys", "bfloat16")
    assert "cudnn" not in lowered(attention, "cuda", *made("keys"))
    assert "cudnn" not in lowered(attention, "cuda", q[..., :7], k[..., :7], v[..., :7], mask)
    wide = (jnp.tile(x, (1, 1, 1, 16)) for x in (q, k, v))  # 128, and no room for what hides keys
    assert "cudnn" not in lowered(attention, "cuda", *wide, mask)
    monkeypatch.setattr(kernels, "AT_ONCE", 1 << 24)
    assert "cudnn" not in lowered(attention, "cuda", q, k, v, mask)


@pytest.mark.usefixtures("a_gpu")
def test_captions_never_take_cudnn_so_decoding_and_the_update_round_alike() -> None:
    q, k, v, mask, _ = made("keys", "bfloat16")
    assert mask is not None
    prefix, seen = KVCache(k, v), mask[:, :, None]
    samples = q[:, None], k[:, None], v[:, None]

    def read(q: Array, k: Array, v: Array) -> Array:
        own = jnp.ones((1, 1), bool)
        view = View((prefix, seen), None, own)
        return attend(view, q, k, v) + attend_own(view, q, k, v) + attend_prefix(view, q)

    assert "cudnn" not in lowered(read, "cuda", *samples)
    prefill = functools.partial(attend, View(None, None, mask))
    assert "cudnn" in lowered(prefill, "cuda", q, k, v), "the prefix itself is read by one function"


def test_without_a_gpu_at_hand_the_cuda_program_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "AT_ONCE", 64)
    assert not kernels.has_flash()
    assert "cudnn" not in lowered(attention, "cuda", *made("keys", "bfloat16"))


@pytest.mark.parametrize(
    ("capability", "fits"), [("8.0", True), ("10.3", True), ("7.5", False), ("gfx942", False), (None, False)]
)
def test_flash_attention_is_for_nvidia_from_ampere_on(
    capability: str | None, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = type("Device", (), {} if capability is None else {"compute_capability": capability})()
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert not kernels.has_flash()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert kernels.has_flash() == fits
