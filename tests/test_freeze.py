"""What is frozen keeps its weights, is no part of the optimizer's state, and the rest learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax import param
from emojax.config import Config, ConfigError, Grpo
from emojax.decoder import captioner
from emojax.training import freeze
from emojax.training.grpo import Frozen
from support import made_up

CFG = made_up.config()
WHOLE = captioner.declare(CFG)
PARTS = {  # a pattern, and the weights that it stands for
    ("encoders.audio",): WHOLE.encoders.audio,
    ("encoders.audio", "encoders.video"): (WHOLE.encoders.audio, WHOLE.encoders.video),
    ("encoders.*_projector",): (WHOLE.encoders.audio_projector, WHOLE.encoders.video_projector),
    ("decoder",): WHOLE.decoder,
    ("decoder.embed",): WHOLE.decoder.embed,
    ("encoders.*.transformer.layers.mlp.*.w",): [
        (tower.layers.mlp.up.w, tower.layers.mlp.down.w) for tower in (WHOLE.encoders.audio.transformer,)
    ],
}


def leaves(tree) -> dict[str, np.ndarray]:
    return {param.dotted(at): np.asarray(x) for at, x in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize("patterns", PARTS, ids=str)
def test_the_state_holds_all_but_what_is_named(patterns: tuple[str, ...]) -> None:
    program = made_up.sft(made_up.with_sft(CFG, freeze=patterns))
    trained = param.count(WHOLE) - param.count(PARTS[patterns])
    assert param.count(program.state.params) == trained < param.count(WHOLE)
    moments = [x for x in jax.tree.leaves(program.state.opt_state) if x.ndim]
    assert sum(x.size for x in moments) == 2 * trained  # Adam's, of nothing else
    assert param.count(program.frozen) == param.count(PARTS[patterns])


def test_the_cold_start_trains_all_but_what_is_named() -> None:
    cfg = made_up.with_sft(CFG, freeze=("encoders.audio", "encoders.*_projector", "decoder.embed"))
    program = made_up.sft(cfg)
    start, frozen = made_up.state(program, cfg), made_up.frozen(program, cfg)
    state, metrics = made_up.run(program, start, frozen, made_up.batch(cfg))
    before, after = leaves(start.params), leaves(state.params)
    assert before.keys() == after.keys()
    assert before.keys() | leaves(frozen).keys() == leaves(made_up.params(cfg)).keys()
    assert not before.keys() & leaves(frozen).keys()
    assert all((before[path] != after[path]).any() for path in before)
    assert metrics["loss"] == pytest.approx(float(loss_of_all(cfg)), rel=1e-5)  # frozen weights are read


def loss_of_all(cfg: Config) -> np.ndarray:
    whole = made_up.with_sft(cfg, freeze=())
    program = made_up.sft(whole)
    _, metrics = made_up.run(program, made_up.state(program, whole), made_up.frozen(program, whole), made_up.batch(cfg))
    return metrics["loss"]


def test_emo_grpo_shares_what_is_frozen_with_the_reference_policy() -> None:
    cfg = made_up.with_grpo(CFG, freeze=("decoder.embed", "decoder.layers.mlp"))
    program = made_up.grpo(cfg)
    d = WHOLE.decoder
    assert param.count(program.state.params) == param.count(d) - param.count((d.embed, d.layers.mlp))
    start, frozen = made_up.state(program, cfg), made_up.frozen(program, cfg)
    state, _ = made_up.run(program, start, frozen, made_up.batch(cfg))
    before, after = leaves(start.params), leaves(state.params)
    assert all((before[path] != after[path]).any() for path in before)

    # the policy with the reference's frozen weights, all of it in the state: the same samples, the same reward
    plain = made_up.with_grpo(CFG, freeze=())
    whole = param.merge(start.params, frozen.reference)
    other = made_up.grpo(plain)
    weights = made_up.params(plain).replace(decoder=whole)
    _, theirs = made_up.run(other, made_up.state(other, plain, weights=weights), frozen, made_up.batch(cfg))
    _, ours = made_up.run(program, start, frozen, made_up.batch(cfg))
    assert (ours["samples"].ids == theirs["samples"].ids).all()
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5, abs=1e-6)


def test_emo_grpo_trains_what_is_named_and_its_reference_sees_media_as_before() -> None:
    cfg = made_up.with_grpo(CFG, train=("encoders.*_projector",), freeze=("encoders.*_projector.norm",))
    program, batch = made_up.grpo(cfg), made_up.batch(cfg)
    before, frozen = made_up.state(program, cfg), made_up.frozen(program, cfg)
    parts = {".".join(path.split(".")[:3]) for path in leaves(before.params)}
    assert parts == {f"encoders.{stream}_projector.linear" for stream in ("audio", "video")}
    state, first = made_up.run(program, before, frozen, batch)
    was, now = leaves(before.params), leaves(state.params)
    assert all((was[path] != now[path]).any() for path in was)
    assert first["logp_gap"] < 1e-4
    assert first["kl"] < 1e-10, "the policy still is its reference"
    far = state.replace(params=jax.tree.map(lambda then, now: then + 300 * (now - then), before.params, state.params))
    _, second = made_up.run(program, far, frozen, batch)
    assert second["kl"] > 1e-3, "the reference reads what the policy's projectors make of the media"
    assert second["logp_gap"] < 1e-4


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_frozen_weights_may_be_kept_in_bfloat16(stage: str) -> None:
    cfg = made_up.with_sft(made_up.config(frozen_precision="bfloat16"), freeze=("encoders.audio", "encoders.video"))
    program = made_up.sft(cfg) if stage == "sft" else made_up.grpo(cfg)
    frozen = made_up.frozen(program, cfg)
    kept = (frozen.encoders, frozen.reference) if isinstance(frozen, Frozen) else frozen
    assert {x.dtype for x in jax.tree.leaves(kept)} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in jax.tree.leaves(program.state.params)} == {jnp.dtype("float32")}
    state, metrics = made_up.run(program, made_up.state(program, cfg), frozen, made_up.batch(cfg))
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {np.dtype("float32")}
    if stage == "sft":
        assert 0 < abs(metrics["loss"] - loss_of_all(made_up.config())) < 0.02 * metrics["loss"]


def test_a_pattern_that_matches_nothing_is_refused_and_the_nearest_part_offered() -> None:
    with pytest.raises(
        ConfigError, match=r"freeze='encoders.audoi' matches no weight .* did you mean 'encoders.audio'"
    ):
        freeze.split(WHOLE, ("encoders.audoi",))
    trained, _ = freeze.split_policy(WHOLE, Grpo(freeze=("encoders.audio",)))
    assert trained == WHOLE.decoder, "encoders are frozen in Emo-GRPO anyway"
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        freeze.split(WHOLE, ("encoders", "decoder"))


def test_split_and_merge_are_inverse() -> None:
    params = made_up.params(CFG)
    trained, frozen = freeze.split(params, ("encoders.video", "decoder.layers.attention.q"))
    merged = leaves(param.merge(trained, frozen))
    assert merged.keys() == leaves(params).keys()
    assert all((merged[path] == x).all() for path, x in leaves(params).items())
