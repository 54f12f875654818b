"""Adapters change nothing at first, are all that is trained, and share their base with the reference policy."""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax import param
from emojax.config import Config, ConfigError, Grpo, Lora, Mesh
from emojax.decoder import captioner
from emojax.nn.layers import Linear
from emojax.parallel import sharding
from emojax.planning import flops
from emojax.training import adapters, freeze
from emojax.training.grpo import Frozen
from emojax.training.program import Program
from emojax.training.sft import caption_scores
from emojax.types import Metrics, TrainState, Tree
from support import made_up
from support.xla_flags import EMITTERS

CFG = made_up.config()
TARGETS = ("decoder.layers.attention.*", "decoder.layers.mlp.down", "encoders.audio")
LORA = dataclasses.replace(CFG, lora=Lora(TARGETS, rank=3, alpha=4.0))
DORA = dataclasses.replace(CFG, lora=Lora(TARGETS, rank=2, alpha=5.0, dora=True), frozen_precision="int8")
WHOLE = captioner.declare(CFG)


def begun(cfg: Config) -> captioner.Params:
    mesh = sharding.make_mesh(CFG, jax.devices()[:1])
    return jax.tree.map(np.array, adapters.begin(made_up.params(CFG), cfg, mesh))


def moved(cfg: Config, seed: int) -> captioner.Params:
    """Adapters that are none of them zero, beside the same weights."""
    r = np.random.default_rng(seed)

    def move(x: np.ndarray) -> np.ndarray:
        return x + r.normal(size=x.shape, scale=0.1).astype(np.float32)

    whole = begun(cfg)
    return param.merge(jax.tree.map(move, adapters.of(whole)), whole)


def frozen(program: Program, cfg: Config, whole: captioner.Params) -> Tree:
    if not isinstance(program.frozen, Frozen):
        return freeze.kept(freeze.split(whole, cfg.sft.freeze)[1], cfg)
    return Frozen(freeze.kept(whole.encoders, cfg), freeze.kept(whole.decoder, cfg), made_up.values(cfg))


def step(cfg: Config, stage: str, whole: captioner.Params, reference: captioner.Params) -> tuple[TrainState, Metrics]:
    program = made_up.sft(cfg) if stage == "sft" else made_up.grpo(cfg)
    return made_up.run(
        program, made_up.state(program, cfg, weights=whole), frozen(program, cfg, reference), made_up.batch(cfg)
    )


def is_map(x: object) -> bool:
    return isinstance(x, Linear)


def weights_of_adapters(cfg: Config, tree: Tree, chosen: str) -> int:
    """The textbook's count, r (in + out) a map and a number a column for its length."""
    total = 0
    for at, x in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_map):
        if isinstance(x, Linear) and re.fullmatch(chosen, param.dotted(at)):
            *layers, d_in, d_out = x.w.shape
            total += math.prod(layers) * (cfg.lora.rank * (d_in + d_out) + cfg.lora.dora * d_out)
    return total


@pytest.mark.parametrize("cfg", [LORA, DORA], ids=["lora", "dora"])
def test_adapters_are_all_that_an_adapted_part_trains(cfg: Config) -> None:
    decoder = weights_of_adapters(cfg, WHOLE, r"decoder\.layers\.(attention\..|mlp\.down)")
    ears = weights_of_adapters(cfg, WHOLE, r"encoders\.audio\..*")
    others = param.count(WHOLE) - param.count((WHOLE.decoder, WHOLE.encoders.audio))
    for program, trained in ((made_up.sft(cfg), decoder + ears + others), (made_up.grpo(cfg), decoder)):
        assert param.count(program.state.params) == trained
        moments = [x for x in jax.tree.leaves(program.state.opt_state) if x.ndim]
        assert sum(x.size for x in moments) == 2 * trained
        assert {x.dtype for x in jax.tree.leaves(program.state.params)} == {jnp.dtype("float32")}
    reference = adapters.plain(made_up.grpo(cfg).frozen.reference)
    scales = sum(x.size for x in jax.tree.leaves(reference) if x.dtype == jnp.float32 and cfg is DORA)
    assert param.count(reference) - scales == param.count(WHOLE.decoder), "the base is there once"
    assert param.count(made_up.grpo(cfg).frozen.reference) - param.count(reference) == decoder, "its own adapters"


def test_how_an_adapter_begins() -> None:
    """As peft begins it: A uniform in ±1/√in, B zero; and a magnitude the length of its column as it is kept."""
    whole = begun(DORA)
    up, layer = whole.decoder.layers.mlp.down.w, np.asarray(made_up.params(CFG).decoder.layers.mlp.down.w)
    bound = 1 / math.sqrt(layer.shape[1])
    assert 0.9 * bound < np.abs(up.a).max() < bound
    assert abs(up.a.std() - bound / math.sqrt(3)) < 0.15 * bound
    assert not up.b.any()
    stored = np.round(layer / np.abs(layer).max(1, keepdims=True) * 127) * np.abs(layer).max(1, keepdims=True) / 127
    np.testing.assert_allclose(up.magnitude, np.sqrt((stored**2).sum(1)), rtol=1e-5)
    again, other = begun(DORA), begun(dataclasses.replace(DORA, seed=1))
    assert made_up.distance(adapters.of(whole), adapters.of(again)) == 0
    assert made_up.distance(adapters.of(whole), adapters.of(other)) > 0


# with the emitters that runs have and the other tests do without: the law is about bits
@functools.partial(jax.jit, static_argnums=1, compiler_options=EMITTERS)
def loss(params: captioner.Params, cfg: Config) -> jax.Array:
    _, scores = caption_scores(params, jax.tree.map(jnp.asarray, made_up.batch(cfg).replace(references=None)), cfg)
    return jnp.append(scores.tokens.logp.ravel(), scores.emotion)


EVERYWHERE = ("decoder", "encoders.audio", "encoders.video")  # convolutions, too


@pytest.mark.parametrize("dora", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_merged_weights_compute_the_same_and_new_adapters_change_nothing(dora: bool) -> None:
    cfg = dataclasses.replace(LORA, lora=Lora(EVERYWHERE, rank=3, alpha=4.0, dora=dora))
    whole = moved(cfg, 3)
    merged = adapters.merged(whole)
    assert jax.tree.structure(merged) == jax.tree.structure(WHOLE)
    ours, theirs, new, plain = (loss(p, CFG) for p in (whole, merged, begun(cfg), made_up.params(CFG)))
    np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=1e-4)
    assert np.abs(ours - plain).max() > 0.5, "the adapters hardly change anything"
    if dora:  # a magnitude over the length that it began with is 1 but for rounding
        np.testing.assert_allclose(new, plain, atol=1e-5, rtol=1e-5)
    else:
        np.testing.assert_array_equal(new, plain)


def test_emo_grpo_begins_at_its_reference_and_moves_adapters_alone() -> None:
    policy, reference = moved(DORA, 3), moved(DORA, 4)
    state, metrics = step(DORA, "grpo", policy, policy)
    assert metrics["kl"] < 1e-12
    assert metrics["logp_gap"] < 1e-5
    assert (metrics["ratio"], metrics["clip_fraction"]) == (1, 0)
    before, _ = freeze.split_policy(policy, Grpo())
    paths = [param.dotted(at) for at, _ in jax.tree_util.tree_leaves_with_path(before)]
    assert all(freeze.is_adapter(f"decoder.{path}") for path in paths)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), before, state.params)
    assert all(jax.tree.leaves(changed))
    _, metrics = step(DORA, "grpo", policy, reference)
    assert metrics["kl"] > 1e-3, "the reference has adapters of its own"


@pytest.mark.slow
def test_eight_devices_equal_one() -> None:
    policy, reference = moved(DORA, 3), moved(DORA, 4)
    cut = dataclasses.replace(DORA, mesh=Mesh(fsdp=2, model=2))
    one, program = made_up.grpo(DORA), made_up.grpo(cut, 8)
    start, _ = made_up.run(
        one, made_up.state(one, DORA, weights=policy), frozen(one, DORA, reference), made_up.batch(DORA, seed=1)
    )
    (alone, theirs), (eight, ours) = (
        made_up.run(p, start, frozen(p, DORA, reference), made_up.batch(DORA)) for p in (one, program)
    )
    np.testing.assert_array_equal(ours["samples"].ids, theirs["samples"].ids)
    for name in theirs.keys() - {"samples"}:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5, err_msg=name)
    assert made_up.distance(alone.params, eight.params) < 1e-5
    assert made_up.distance(alone.params, start.params) > 5e-5


def test_operations_beside_adapters() -> None:
    """Of every position two a weight and pass; three passes for adapters, two for what they stand beside."""
    cfg = dataclasses.replace(CFG, lora=Lora(("decoder",), rank=3))
    every = r"decoder\..*"
    small = weights_of_adapters(cfg, WHOLE, every)
    own = param.count([layer.w for layer in jax.tree.leaves(WHOLE.decoder, is_leaf=is_map) if is_map(layer)])
    hears, sees, t = CFG.model.audio, CFG.model.video, CFG.caption_tokens
    assert hears is not None
    assert sees is not None
    positions = hears.tokens + sees.tokens + CFG.data.transcript_tokens + t
    head = 2 * t * CFG.model.decoder.width * CFG.model.decoder.vocab
    saved = 2 * positions * own + head - 3 * 2 * positions * small
    assert flops.sft_flops(CFG, 0.5) - flops.sft_flops(cfg, 0.5) == CFG.sft.batch * saved
    static = made_up.reward_model(CFG)[1]
    one, two = (dataclasses.replace(CFG, lora=Lora(("decoder",), rank=rank)) for rank in (1, 2))
    costs = [flops.grpo_flops(cfg, static, 0.5) for cfg in (one, two, CFG)]
    assert costs == sorted(set(costs)), "more of the adapters, or of the weights, costs more"


def test_freeze_says_nothing_of_adapters() -> None:
    cfg = made_up.with_sft(LORA, freeze=("encoders.audio", "encoders.video", "encoders.emotion"))
    trained, _ = freeze.split(adapters.declare(cfg), cfg.sft.freeze)
    paths = [param.dotted(at) for at, _ in jax.tree_util.tree_leaves_with_path(trained)]
    assert {path.split(".")[1] for path in paths if not freeze.is_adapter(path)} == {
        "attributes",
        "audio_projector",
        "video_projector",
    }
    assert param.count(adapters.of(trained)) == param.count(adapters.of(adapters.declare(cfg)))


def test_what_cannot_be_adapted_is_refused() -> None:
    def refused(message: str, *targets: str, **fields: float) -> None:
        with pytest.raises(ConfigError, match=message):
            adapters.declare(dataclasses.replace(CFG, lora=Lora(targets, **fields)))

    refused(
        r"'decoder.layers.atention.q' matches no linear map, did you mean 'decoder.layers.attention.q'",
        TARGETS[0],
        "decoder.layers.atention.q",
    )
    for no_map in ("decoder.embed", "decoder.layers.attention_norm", "encoders.audio_projector", "encoders.emotion"):
        refused(f"{no_map!r} matches no linear map", no_map)
    refused("lora.rank wants a positive number, got 0", "decoder", rank=0)
    refused("lora.alpha wants a positive number, got -1", "decoder", alpha=-1.0)
