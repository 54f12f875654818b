"""A loss of tokens is what its objective says of their log-probabilities, and its gradient that of the plain formula:
however tokens are cut into chunks and dealt to devices, wherever captions end."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from emojax.config import Sampling
from emojax.decoder.logits import restrict
from emojax.training import tokens
from emojax.training.tokens import Read, Rule

B, G, T, D, V = 4, 2, 5, 6, 23
SAMPLING = Sampling(temperature=0.7, top_k=9, repetition_penalty=1.5)
RULE = Rule(V - 2, SAMPLING, entropy=True, divergence=True)
R = np.random.default_rng(0)
IDS = R.integers(0, V - 2, (B, G, T)).astype(np.int32)
MASK = np.arange(T) < R.integers(0, T + 1, (B, G, 1))
GIVEN = R.normal(size=(B, G, T)).astype(np.float32)


def policy(seed: int) -> Read:
    r = np.random.default_rng(seed)
    hidden, head = r.normal(size=(B, G, T, D)), r.normal(size=(V, D))
    return Read(jnp.asarray(hidden, jnp.float32), jnp.asarray(head, jnp.float32))


def objective(scores: tokens.TokenScores, given: jax.Array) -> jax.Array:
    logp = scores.logp
    loss = given * jnp.exp(logp - jax.lax.stop_gradient(logp)) + 0.3 * jnp.square(logp - scores.reference)
    return loss + 0.7 * scores.divergence - 0.2 * jnp.square(scores.entropy)


def ours(read: Read, other: Read, drew: Read | None) -> tuple[jax.Array, tokens.TokenScores]:
    return tokens.token_loss(read, IDS, jnp.asarray(MASK), RULE, objective, jnp.asarray(GIVEN), other, drew)


def plain(read: Read, other: Read, drew: Read | None) -> tuple[jax.Array, tokens.TokenScores]:
    """All logits at once, and jax's own derivative."""
    seen = np.zeros((B, G, T, V - 2), bool)  # in the caption, before
    for b, g, t in np.ndindex(B, G, T):
        seen[b, g, t, IDS[b, g, :t]] = True

    def all_logits(x: Read) -> jax.Array:
        y = jnp.einsum("bgtd,vd->bgtv", x.hidden, x.head)[..., : V - 2]
        return jnp.where(seen, jnp.where(y > 0, y / 1.5, y * 1.5), y)

    own, reference, drawn = (x and all_logits(x) for x in (read, other, drew))
    support = restrict(own if drawn is None else drawn, RULE.sampling, jnp.asarray(IDS)) > -1e30
    p, q = (jax.nn.log_softmax(jnp.where(support, x / 0.7, -np.inf)) for x in (own, reference))
    at, there = functools.partial(jnp.take_along_axis, indices=IDS[..., None], axis=-1), jnp.asarray(MASK)
    logp, other_logp = (jnp.where(there, at(x)[..., 0], 0) for x in (p, q))
    safe_p, safe_q = (jnp.where(support, x, 0) for x in (p, q))
    entropy = jnp.where(there, -(jnp.where(support, jnp.exp(p), 0) * safe_p).sum(-1), 0)
    divergence = jnp.where(
        there, (jnp.where(support, jnp.exp(p), 0) * (safe_p - jax.lax.stop_gradient(safe_q))).sum(-1), 0
    )
    scores = tokens.TokenScores(logp, entropy, jax.lax.stop_gradient(other_logp), divergence)
    return jnp.where(there, objective(scores, jnp.asarray(GIVEN)), 0).sum(), scores


def same(a: Any, b: Any) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-5), a, b)


def both(f: Callable[..., Any], drew: Read | None) -> Any:
    return jax.jit(jax.value_and_grad(f, has_aux=True))(policy(0), policy(1), drew)


@pytest.mark.parametrize("drew", [None, policy(2)], ids=["on-policy", "off-policy"])
@pytest.mark.parametrize(("least", "mesh"), [(7, (1, 1, 1)), (64, (1, 1, 1)), (3, (2, 2, 1)), (3, (4, 2, 1))], ids=str)
def test_loss_scores_and_gradient_are_those_of_all_logits(
    least: int, mesh: tuple[int, int, int], drew: Read | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meshes: clips over all devices; clips over `data` and samples over `fsdp`."""
    monkeypatch.setattr(tokens, "CHUNK", 0)
    monkeypatch.setattr(tokens, "LEAST", least)
    wanted = both(plain, drew)
    grid = np.array(jax.devices()[: math.prod(mesh)]).reshape(mesh)
    with jax.set_mesh(Mesh(grid, ("data", "fsdp", "model"), axis_types=(AxisType.Auto,) * 3)):
        same(both(ours, drew), wanted)


@pytest.mark.parametrize("differ", ["head", "hidden"])
def test_a_gradient_is_made_only_where_it_is_asked_for(differ: str) -> None:
    read = policy(0)

    def loss(part: jax.Array) -> jax.Array:
        return ours(read.replace(**{differ: part}), policy(1), None)[0]

    def products(f: Callable[..., Any]) -> int:
        return str(jax.make_jaxpr(f)(getattr(read, differ))).count("dot_general")

    assert products(loss) == 2, "of the policy, and of the reference"
    assert products(jax.grad(loss)) == 3
    wanted = both(plain, None)[1]
    same(jax.jit(jax.grad(loss))(getattr(read, differ)), getattr(wanted, differ))


def test_chunks_of_padding_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there may be anything: nothing of it is read, and its logits are never made."""
    monkeypatch.setattr(tokens, "CHUNK", 0)
    monkeypatch.setattr(tokens, "LEAST", 4)
    ran: list[int] = []
    one = tokens._one

    def counted(*args: Any) -> Any:
        jax.debug.callback(lambda: ran.append(1))
        return one(*args)

    monkeypatch.setattr(tokens, "_one", counted)
    read = policy(0)
    dirty = read.replace(hidden=jnp.where(jnp.asarray(MASK)[..., None], read.hidden, jnp.nan))
    found = jax.jit(lambda read: ours(read, policy(1), None))(dirty)
    jax.effects_barrier()
    same(found, plain(read, policy(1), None))
    assert len(ran) == -(-int(MASK.sum()) // 4) < B * G * T // 4
