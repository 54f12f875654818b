"""Padding, missing streams and what stands off the mask change nothing, however media meet the decoder."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax import param
from emojax.config import (
    Config,
    LinearProjectorConfig,
    Mesh,
    MlpProjectorConfig,
    PreFusionConfig,
    QFormerConfig,
    media_positions,
)
from emojax.encoders import fusion, media, project
from emojax.types import Features
from support import made_up

CFG = made_up.config()
QUERIES = QFormerConfig(queries=5, width=20, layers=4, heads=4, ff=28, cross_every=2)
FUSED = PreFusionConfig(tokens=4, width=10, ff=14, convolutions=2)
PROJECTORS = {
    "linear": LinearProjectorConfig(),
    "mlp": MlpProjectorConfig(),
    "q-former": QUERIES,
    "q-former, frames in every layer": QFormerConfig(queries=3, width=15, layers=2, heads=3, ff=22),
}
D, WIDTH, ROWS, FRAMES = 21, 14, 5, 9
LENGTHS, EVERY = np.array([9, 4, 0, 1, 6]), np.arange(5)


def model(**fields) -> Config:
    return dataclasses.replace(CFG, model=dataclasses.replace(CFG.model, **fields))


ALL = model(audio_projector=QUERIES, video_projector=MlpProjectorConfig(), fusion=FUSED)


def frames(seed: int, width: int = D, lengths: np.ndarray = LENGTHS) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(ROWS, FRAMES, width)).astype(np.float32)
    return x, np.arange(FRAMES) < lengths[:, None]


def weights(declared):
    r = np.random.default_rng(3)
    tree = param.init(declared, jax.random.key(0))
    return jax.tree.map(lambda w: np.asarray(w) + r.normal(size=w.shape, scale=0.1).astype(np.float32), tree)


class Stream:
    """A projector, or the fusion of the stream with another of which every second clip lacks it, as a function."""

    def __init__(self, name: str) -> None:
        self.cfg = FUSED if name == "fusion" else PROJECTORS[name]
        if isinstance(self.cfg, PreFusionConfig):
            self.p = weights(fusion.declare(self.cfg, (D, 8), WIDTH))
        else:
            self.p = weights(project.declare(self.cfg, D, WIDTH))

    def __call__(self, p, x, mask, rows=EVERY):
        if isinstance(self.cfg, PreFusionConfig):
            y, there = frames(1, 8, np.array([2, 0, 0, 7, 9]))
            return fusion.run(p, ((x, mask), (jnp.asarray(y)[rows], jnp.asarray(there)[rows])), self.cfg)
        return project.run(p, x, mask, 4, self.cfg, False)


@pytest.fixture(scope="module", params=[*PROJECTORS, "fusion"])
def stream(request: pytest.FixtureRequest) -> Stream:
    return Stream(request.param)


def test_padding_other_rows_and_what_stands_off_the_mask_change_nothing(stream: Stream) -> None:
    x, mask = frames(0)
    y, there = jax.jit(stream)(stream.p, x, mask)
    assert np.isfinite(y).all()
    has = (
        LENGTHS > 0 if not isinstance(stream.cfg, PreFusionConfig) else (LENGTHS > 0) | [True, False, False, True, True]
    )
    np.testing.assert_array_equal(there, np.repeat(has[:, None], y.shape[1], 1))
    assert np.abs(np.diff(y[has], axis=0)).max() > 0.1, "clips that hardly differ show nothing"

    garbage = np.where(mask[..., None], x, 1e3 * np.random.default_rng(9).normal(size=x.shape)).astype(np.float32)
    np.testing.assert_allclose(jax.jit(stream)(stream.p, garbage, mask)[0], y, atol=1e-6)
    longer = np.pad(garbage, ((0, 0), (0, 7), (0, 0)), constant_values=3.0), np.pad(mask, ((0, 0), (0, 7)))
    # float32 sums over 16 positions and not 9, through four normed layers: they differ by 4e-6, a frame that leaks by 4
    np.testing.assert_allclose(jax.jit(stream)(stream.p, *longer)[0], y, atol=1e-5)
    order = np.array([3, 0, 4, 2, 1])
    np.testing.assert_allclose(jax.jit(stream)(stream.p, x[order], mask[order], order)[0], y[order], atol=1e-6)


def test_gradients_are_finite_and_none_reaches_what_stands_off_the_mask(stream: Stream) -> None:
    x, mask = frames(0)

    def loss(p, x):
        y, there = stream(p, x, mask)
        return jnp.where(there[..., None], jnp.sin(y), 0).sum()

    by_weight, by_frame = jax.jit(jax.grad(loss, (0, 1)))(stream.p, 50 * x)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves((by_weight, by_frame)))
    assert (np.asarray(by_frame)[~mask] == 0).all()
    assert (np.abs(by_frame)[mask].max(-1) > 0).all()


def test_a_missing_stream_changes_nothing_of_the_others() -> None:
    batch: Any = made_up.batch(ALL)
    p = made_up.params(ALL).encoders
    encode = jax.jit(lambda batch: media.encode(p, batch, ALL, jnp.float32))
    whole = encode(batch)
    q, v, f = QUERIES.queries, 2, FUSED.tokens
    assert whole.embed.shape[1] == media_positions(ALL.model) == q + v + f
    hears, sees = batch.audio_length > 0, batch.video_mask.any(-1)
    want = np.repeat(np.stack([hears, sees, hears | sees], 1), (q, v, f), 1)
    np.testing.assert_array_equal(whole.mask, want)

    deaf = encode(batch.replace(audio_length=np.zeros_like(batch.audio_length), audio=1 + 9 * batch.audio))
    np.testing.assert_array_equal(deaf.embed[:, q : q + v], whole.embed[:, q : q + v])
    assert not deaf.mask[:, :q].any()
    assert np.abs(deaf.embed[:, -f:] - whole.embed[:, -f:])[hears & sees].min() > 1e-4  # what is fused is another
    np.testing.assert_array_equal(deaf.embed[~hears], whole.embed[~hears])
    blind = encode(batch.replace(video_mask=np.zeros_like(batch.video_mask), video=255 - batch.video))
    np.testing.assert_array_equal(blind.embed[:, :q], whole.embed[:, :q])
    assert not blind.mask[:, q : q + v].any()
    np.testing.assert_array_equal(blind.embed[~sees], whole.embed[~sees])
    neither = encode(
        batch.replace(video_mask=np.zeros_like(batch.video_mask), audio_length=np.zeros_like(batch.audio_length))
    )
    assert not neither.mask.any()
    assert np.isfinite(neither.embed).all()


@pytest.mark.parametrize(
    "sizes", [(5, 20, 4, 4, 28, 2, 23), (1, 15, 2, 3, 22, 1, 15), (7, 32, 3, 2, 9, 3, 10)], ids=str
)
def test_the_q_former_is_blip_2s(sizes: tuple[int, ...]) -> None:
    torch, t = pytest.importorskip("torch"), pytest.importorskip("transformers")
    queries, width, layers, heads, ff, every, d = sizes
    cfg = QFormerConfig(queries, width, layers, heads, ff, every)
    p = weights(project.qformer.declare(cfg, d))
    theirs = t.Blip2QFormerModel(
        t.Blip2QFormerConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=ff,
            cross_attention_frequency=every,
            encoder_hidden_size=d,
            attn_implementation="eager",
        )
    ).eval()
    state = {}

    def put(name: str, ours) -> None:
        if hasattr(ours, "scale"):
            state[f"{name}.weight"], state[f"{name}.bias"] = ours.scale, ours.bias
        else:
            state[f"{name}.weight"], state[f"{name}.bias"] = ours.w.T, ours.b

    def put_attention(name: str, ours, norm) -> None:
        for part, w in (("query", ours.q), ("key", ours.k), ("value", ours.v)):
            put(f"{name}.attention.{part}", w)
        put(f"{name}.output.dense", ours.o)
        put(f"{name}.output.LayerNorm", norm)

    put("layernorm", p.norm)
    for i in range(layers):
        layer, at = jax.tree.map(lambda w, i=i: w[i], p.layers), f"encoder.layer.{i}"
        put_attention(f"{at}.attention", layer.attention, layer.attention_norm)
        put(f"{at}.intermediate_query.dense", layer.mlp.up)
        put(f"{at}.output_query.dense", layer.mlp.down)
        put(f"{at}.output_query.LayerNorm", layer.mlp_norm)
        if i % every == 0:
            cross = jax.tree.map(lambda w, i=i: w[i // every], p.cross)
            put_attention(f"{at}.crossattention", cross.attention, cross.norm)
    theirs.load_state_dict({name: torch.tensor(np.array(w)) for name, w in state.items()})
    x, mask = frames(0, d, np.array([9, 4, 2, 1, 6]))
    with torch.no_grad():
        wanted = theirs(
            query_embeds=torch.tensor(np.broadcast_to(p.queries, (ROWS, queries, width)).copy()),
            encoder_hidden_states=torch.tensor(x),
            encoder_attention_mask=torch.tensor(mask.astype(np.int64)),
        ).last_hidden_state.numpy()
    ours = project.qformer.run(p, jnp.asarray(x), jnp.asarray(mask), cfg, False)
    assert wanted.std() > 0.3
    np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_every_weight_of_a_projector_learns() -> None:
    """But the keys' biases: they add the same number to all scores of a query, and no softmax sees that."""
    batch, p = made_up.batch(ALL), made_up.params(ALL).encoders

    def loss(p) -> jax.Array:
        prefix = media.encode(p, batch, ALL, jnp.dtype("float32"))
        return jnp.where(prefix.mask[..., None], jnp.sin(prefix.embed), 0).sum()

    grad = jax.jit(jax.grad(loss))(p)
    parts = {"audio_projector": grad.audio_projector, "video_projector": grad.video_projector, "fusion": grad.fusion}
    size = {param.dotted(at): np.abs(g).max() for at, g in jax.tree_util.tree_leaves_with_path(parts)}
    assert {at for at, most in size.items() if most < 1e-3} == {
        "audio_projector.qformer.cross.attention.k.b",
        "audio_projector.qformer.layers.attention.k.b",
    }


def test_a_stream_that_a_clip_lacks_has_no_term_in_what_is_fused() -> None:
    """Its own weights do not move a clip's fused positions, though the zeros that it is pooled to would, by biases."""
    fused = Stream("fusion")
    x, mask = frames(0)
    other = fused.p.replace(streams=(jax.tree.map(lambda w: w + 1, fused.p.streams[0]), fused.p.streams[1]))
    (y, _), (z, _) = (jax.jit(fused)(p, x, mask) for p in (fused.p, other))
    np.testing.assert_array_equal(y[LENGTHS == 0], z[LENGTHS == 0])
    assert np.abs(y - z)[LENGTHS > 0].min(axis=(1, 2)).max() > 1e-3


def test_what_a_file_holds_off_the_mask_reaches_nothing() -> None:
    """Features that were made before need not be finite there."""
    p, x, mask = made_up.params(ALL).encoders, *frames(0, 24)
    batch: Any = jax.tree.map(lambda a: a[:ROWS], made_up.batch(ALL))

    def loss(p, x) -> tuple[jax.Array, Any]:
        features = Features(x, jnp.asarray(mask))
        prefix = media.encode(p, batch.replace(audio_features=features), ALL, jnp.dtype("float32"))
        return jnp.where(prefix.mask[..., None], jnp.sin(prefix.embed), 0).sum(), prefix.embed

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, clean), grad = run(p, x)
    (_, embed), same = run(p, np.where(mask[..., None], x, np.nan).astype(np.float32))
    np.testing.assert_array_equal(embed, clean)
    assert made_up.distance(grad, same) == 0


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_both_stages_run_and_eight_devices_equal_one(stage: str) -> None:
    build = made_up.sft if stage == "sft" else made_up.grpo
    alone, spread = build(ALL), build(dataclasses.replace(ALL, mesh=Mesh(fsdp=2, model=2)), 8)
    start, batch = made_up.state(alone, ALL, step=2), made_up.batch(ALL)
    one, ours = made_up.run(alone, start, made_up.frozen(alone, ALL), batch)
    eight, theirs = made_up.run(spread, start, made_up.frozen(spread, ALL), batch)
    for name in ours.keys() - {"samples"}:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5, err_msg=name)
    assert np.isfinite(ours["loss"])
    assert ours["grad_norm"] > 0.01
    # Adam's first step is the gradient's sign, whose rounding shows: its moments are compared
    assert made_up.distance(one.opt_state, eight.opt_state) < 1e-5
