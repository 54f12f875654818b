"""The rollout on a mesh: what the devices say to each other while captions grow, and how often they ask for the end."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.config import Mesh, Sampling
from emojax.decoder import lm, sample
from emojax.decoder.sample import Drawing, noise, rollout
from emojax.parallel import sharding
from emojax.types import KVCache, Rollout
from support import made_up

CFG = made_up.config()
LM = CFG.model.decoder


def cache(clips: int) -> KVCache:
    shape = (2, LM.layers, clips, 3, LM.kv_heads, LM.head_width)
    return KVCache(*np.random.default_rng(0).normal(size=shape).astype(np.float32))


def captions(p: lm.Lm, cache: KVCache, key: jax.Array) -> Rollout:
    clips = cache.k.shape[1]
    keys = noise(key, jnp.arange(clips, dtype=jnp.uint32), 4)
    how = Drawing(Sampling(temperature=4.0))
    return rollout(p, cache, jnp.ones((clips, 3), bool), keys, length=9, how=how, sizes=LM)


def test_how_often_the_end_is_asked_for_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    p, made = made_up.params(CFG).decoder, []
    assert 9 % sample.TOKENS, "the last tokens are fewer"
    for tokens in (1, sample.TOKENS):
        monkeypatch.setattr(sample, "TOKENS", tokens)
        step = jax.jit(lambda *args: captions(*args))  # a program of its own
        made.append([step(p, cache(4), jax.random.key(seed)) for seed in range(3)])
    for one, some in zip(*made, strict=True):
        assert 0 < one.ended.mean() < 1, "some captions end, some are cut off"
        jax.tree.map(np.testing.assert_array_equal, one, some)


def loops(program: str) -> dict[str, int]:
    """Of each computation of a compiled program (HLO text): loops that it stands in. A loop's condition is inside."""
    bodies = dict(re.findall(r"^(?:ENTRY )?%?([\w.-]+) [^\n]*\{\n(.*?)^\}", program, re.M | re.S))
    entry = re.findall(r"^ENTRY %?([\w.-]+)", program, re.M)[0]
    depth, ahead = {entry: 0}, [entry]
    while ahead:
        name = ahead.pop()
        for line in bodies[name].splitlines():
            inside = " while(" in line
            for called in re.findall(r"(?:condition|body|to_apply|calls)=%?([\w.-]+)", line):
                if depth.get(called, -1) < depth[name] + inside:
                    depth[called] = depth[name] + inside
                    ahead.append(called)
    return {name: depth[name] for name in bodies if name in depth}


def collectives(mesh: Mesh, clips: int) -> tuple[list[tuple[int, str]], int]:
    """(loops around it, kind) of each collective of a rollout on eight devices; and loops around what is innermost."""
    cfg = dataclasses.replace(CFG, mesh=mesh)
    made = sharding.make_mesh(cfg, jax.devices()[:8])
    weights = sharding.shardings(lm.declare(LM), made)
    shared = jax.NamedSharding(made, sharding.spec("LB-K", cache(clips).k.shape, made.shape))
    with jax.set_mesh(made):
        step = jax.jit(captions, in_shardings=(weights, shared, sharding.replicated(made)))
        text = step.lower(made_up.params(CFG).decoder, cache(clips), jax.random.key(0)).compile().as_text() or ""
    depth, found = loops(text), []
    kind = r" (all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
    name = ""
    for line in text.splitlines():
        if line.endswith("{") and (header := re.match(r"(?:ENTRY )?%?([\w.-]+) ", line)):
            name = header[1]
        found += [(depth[name], k) for k in re.findall(kind, line)]
    return found, max(depth.values())


@pytest.mark.parametrize(("mesh", "clips"), [(Mesh(data=8), 8), (Mesh(fsdp=8), 8), (Mesh(data=2, fsdp=4), 2)], ids=str)
def test_devices_speak_once_in_a_few_tokens(mesh: Mesh, clips: int) -> None:
    """Weights are gathered before the first token; then nothing but "has every caption ended?" between some tokens."""
    found, innermost = collectives(mesh, clips)
    assert innermost == 3, "some tokens, a token, a layer"
    later = [(depth, kind) for depth, kind in found if depth]
    assert set(later) == {(1, "all-reduce")}, "more is said, or at every token"
    assert len(later) == (2 if clips < 8 else 1), "over data, and over fsdp where samples are cut"
    assert ((0, "all-gather") in found) == (mesh.fsdp is not None)
