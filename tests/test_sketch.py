"""A leaf's sketch: the same wherever the leaf lies, another for any other, and what two tell of a distance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from emojax.training import sketch
from emojax.training.digests import bits, digests, hashes

R = np.random.default_rng(0)
LEAVES = {
    "float32": R.normal(size=(8, 4, 6)).astype(np.float32),
    "small": (R.normal(size=(16, 3)) * 1e-18).astype(np.float32),
    "bfloat16": np.asarray(jnp.asarray(R.normal(size=(4, 8)), jnp.bfloat16)),
    "bool": R.normal(size=(8, 5)) > 0,
    "int32": R.integers(-9, 9, (4, 4, 4)).astype(np.int32),
    "uint8": R.integers(0, 256, (3, 8)).astype(np.uint8),
    "scalar": np.float32(3.5),
    "odd": np.array([np.inf, np.nan, 1e-42, -0.0, 0.0, -np.inf, 3e38, -1e-38], np.float32),
}


def by_hand(x: np.ndarray) -> list[int]:
    """The definitions, element by element, in Python's whole numbers."""

    def mix(h: int) -> int:
        h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
        h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
        return h ^ h >> 16

    words, floating = [0] * sketch.WORDS, x.dtype.kind in "fV"
    numbers = x.astype(np.float32) if floating else x
    for place, raw in enumerate(bits(numbers).ravel().tolist()):
        number = float(numbers.ravel()[place])
        finite = bool(np.isfinite(number))
        ordered = raw if not floating else raw ^ 0xFFFFFFFF if raw >> 31 else raw ^ 0x80000000
        first = [mix(raw ^ mix((place + seed) % 2**32)) for seed in (0x9E3779B9, 0x85EBCA6B)]
        first += [ordered, place * ordered, mix(place ^ 0xC2B2AE3D) * ordered, int(floating and not finite)]
        for n, term in enumerate(first):
            words[n] = (words[n] + term) % 2**32
        magnitude = 0 if not finite else raw & 0x7FFFFFFF if floating else raw
        words[sketch.LARGEST] = max(words[sketch.LARGEST], magnitude)
        for n in range(16):
            fixed = (int(np.trunc(number * 2.0 ** sketch.QUANTA[n // 4])) if finite else 0) if floating else raw
            sign = -1 if mix(place ^ 0x27D4EB2F) >> n % 4 & 1 else 1
            words[sketch.SIGNED + n] = (words[sketch.SIGNED + n] + sign * fixed) % 2**32
    return words


@pytest.mark.parametrize("name", LEAVES)
def test_a_sketch_is_what_it_is_defined_to_be(name: str) -> None:
    assert sketch.on_host(LEAVES[name]).tolist() == by_hand(LEAVES[name])


def test_a_sketch_does_not_depend_on_the_mesh_or_on_who_is_summed_with_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketch, "_BLOCK", 32)
    monkeypatch.setattr(sketch, "_SMALL", 100)  # the first leaf is summed alone
    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "fsdp"))
    specs = [P("data", None, "fsdp"), P(("data", "fsdp")), P(None, "fsdp"), P("fsdp"), P(None, "data"), P(), P(), P()]
    leaves = [jnp.asarray(x) for x in LEAVES.values()]
    found = jax.jit(lambda leaves: sketch.sketches(leaves, mesh, specs))(leaves)
    np.testing.assert_array_equal(found, np.stack([sketch.on_host(x) for x in LEAVES.values()]))
    hashed = np.asarray(found)[:, sketch.HASH].tolist()
    told = digests(dict(zip(LEAVES, leaves, strict=True)))
    assert {name: "".join(f"{h:08x}" for h in each) for name, each in zip(LEAVES, hashed, strict=True)} == told


def test_any_bit_swap_or_transposition_changes_the_hash() -> None:
    """10,000 of each."""
    trials, shape = 10_000, (6, 8)
    size = shape[0] * shape[1]
    x = R.normal(size=(trials, size)).astype(np.float32)
    one, two = (R.permuted(np.tile(np.arange(size), (trials, 1)), axis=1)[:, :2]).T
    row = np.arange(trials)
    flipped, swapped = x.copy(), x.copy()
    flipped.view(np.uint32)[row, one] ^= np.uint32(1) << R.integers(0, 32, trials).astype(np.uint32)
    swapped[row, one], swapped[row, two] = x[row, two], x[row, one]
    turned = x.reshape(trials, *shape).swapaxes(1, 2).reshape(trials, size)

    def hashed(x: np.ndarray) -> np.ndarray:
        place = np.arange(size, dtype=np.uint32)
        return np.stack([h.sum(1, dtype=np.uint32) for h in hashes(bits(x), place)], 1)

    for changed in (flipped, swapped, turned):
        assert (hashed(changed) != hashed(x)).any(1).all()


def test_one_element_that_differs_is_named_and_several_are_not() -> None:
    x = R.normal(size=(37, 41)).astype(np.float32)
    before = sketch.on_host(x)
    for _ in range(50):
        at, ulps = int(R.integers(x.size)), int(R.integers(1, 2**20)) * (-1) ** int(R.integers(2))
        other = x.copy()
        other.ravel()[at] = sketch.unordered(int(sketch.order(other.view(np.uint32).ravel()[[at]])[0]) + ulps)
        gap = sketch.on_host(other) - before
        assert sketch.alone(gap, x.size) == (at, ulps)
        assert sketch.norm(gap) == pytest.approx(abs(float(other.ravel()[at]) - float(x.ravel()[at])), abs=2**-60)
        other.ravel()[(at + 1 + int(R.integers(x.size - 1))) % x.size] += 0.25
        assert sketch.alone(sketch.on_host(other) - before, x.size) is None
    turned = x.copy()
    turned[3, 4] *= -1  # whose difference is even
    assert sketch.alone(sketch.on_host(turned) - before, x.size)[0] == 3 * 41 + 4  # pyright: ignore[reportOptionalSubscript]
    twice = x.copy()  # one ulp each, at two places whose mean is a place
    twice.view(np.uint32)[0, [10, 20]] += 1
    assert sketch.alone(sketch.on_host(twice) - before, x.size) is None


@pytest.mark.parametrize("scale", [1e-18, 1e-9, 1e-6, 1e-3, 1.0, 1e3])
def test_the_distance_of_two_leaves_is_estimated_within_a_factor_of_two(scale: float) -> None:
    found = []
    for seed in range(8):
        r = np.random.default_rng(seed)
        x = (r.normal(size=2000) * min(scale, 1)).astype(np.float32)
        y = (x + scale * r.normal(size=2000)).astype(np.float32)
        true = float(np.linalg.norm(y.astype(np.float64) - x))
        found.append(sketch.norm(sketch.on_host(y) - sketch.on_host(x)) / true)
    assert 0.7 < float(np.sqrt(np.mean(np.square(found)))) < 1.4
    assert all(0.3 < ratio < 2 for ratio in found)
