"""Projectors by configuration: chosen by name, refused where they do not fit, frozen, counted, exported, restored."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from emojax import param
from emojax.config import ConfigError, MlpProjectorConfig, PreFusionConfig, QFormerConfig, presets
from emojax.data.text import train_tokenizer
from emojax.decoder import captioner
from emojax.encoders import fusion
from emojax.errors import RunError
from emojax.export import directory
from emojax.parallel.sharding import make_mesh
from emojax.planning import flops
from emojax.training import checkpoint, exported, freeze, initial
from support import made_up

CFG = made_up.config()
QUERIES = QFormerConfig(queries=5, width=20, layers=4, heads=4, ff=28, cross_every=2)
FUSED = PreFusionConfig(tokens=4, width=10, ff=14, convolutions=2)
ALL = dataclasses.replace(
    CFG,
    model=dataclasses.replace(CFG.model, audio_projector=QUERIES, video_projector=MlpProjectorConfig(), fusion=FUSED),
)


def test_projectors_are_exported_and_read_again(tmp_path: Path) -> None:
    params = made_up.params(ALL)
    directory.write(ALL, params, train_tokenizer(["a calm voice"], 300), "card", tmp_path / "out")
    _, read, _, _ = exported.read(tmp_path / "out")
    assert made_up.distance(read, params) == 0
    with safe_open(tmp_path / "out" / "captioner.safetensors", framework="np") as file:
        paths = list(file.keys())
    assert sum(path.startswith(("encoders.audio_projector.", "encoders.fusion.")) for path in paths) == 57


def test_a_checkpoint_of_another_projector_is_refused(tmp_path: Path) -> None:
    """One that was written before a part had a name is read as one without it; one that lacks a weight is not."""
    old = {"norm": jnp.ones(3, jnp.float32)}
    checkpoint.save_tree(tmp_path / "tree", old)

    def like(**more) -> dict:
        one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return {"norm": jax.ShapeDtypeStruct((3,), jnp.float32, sharding=one), **more}

    assert checkpoint.restore_tree(tmp_path / "tree", like(fusion=None))["norm"].tolist() == [1, 1, 1]
    with pytest.raises(RunError, match=r"checkpoint of another model: it has no fusion\.norm"):
        checkpoint.restore_tree(tmp_path / "tree", like(fusion=like()))
    (tmp_path / "config.json").write_text(presets.dumps(CFG))
    with pytest.raises(RunError, match="has another model than this configuration"):
        initial.run_captioner(tmp_path, ALL, make_mesh(ALL))


def test_freeze_patterns_name_projectors() -> None:
    declared = captioner.declare(ALL)
    frozen = freeze.split(declared, ("encoders.audio_projector.qformer", "encoders.fusion"))[1]
    kept = (declared.encoders.audio_projector.qformer, declared.encoders.fusion)
    assert param.count(frozen) == param.count(kept)


def test_operations_are_those_of_the_products() -> None:
    """A weight of a linear map costs two operations a position that it is applied to."""
    d, lm, s = 24, ALL.model.decoder.width, 12  # half a second: 12 frames of 40 ms
    q, f = QUERIES, FUSED
    own = q.queries * q.layers * (4 * q.width**2 + 2 * q.width * q.ff + 2 * q.queries * q.width)
    cross = 2 * q.queries * q.width**2 + 2 * s * d * q.width + 2 * q.queries * s * q.width
    assert flops.projector(ALL, "audio", 0.5) == 2 * (own + 2 * cross + q.queries * q.width * lm)
    assert flops.projector(ALL, "video", 0.5) == 2 * 2 * (d * lm + lm**2)
    declared = fusion.declare(f, (d, d), lm)
    maps = sum(np.prod(p.shape) for p in jax.tree.leaves(declared) if len(p.shape) > 1 and p.axes != ("L", "D"))
    assert flops.fusion(ALL) == 2 * f.tokens * (maps + 2 * f.width)  # and the weighted sum of two streams
    assert flops.sft_flops(ALL, 0.5) > flops.sft_flops(CFG, 0.5)


def test_kinds_are_chosen_by_name_and_survive_json(tmp_path: Path) -> None:
    items = ["model.audio_projector.family=QFormer", "queries=7", "audio_projector.heads=4", "fusion.family=PreFusion"]
    again = ["fusion.tokens=3", "video_projector.family=MlpProjector", "audio_projector.family=QFormer"]
    cfg = presets.load("tiny", [*items, *again])
    assert cfg.model.audio_projector == QFormerConfig(queries=7, heads=4)  # naming the kind that it is changes nothing
    assert (cfg.model.video_projector, cfg.model.fusion) == (MlpProjectorConfig(), PreFusionConfig(tokens=3))
    (tmp_path / "config.json").write_text(presets.dumps(cfg))
    assert presets.read_json(tmp_path / "config.json") == cfg
    assert presets.override(cfg, ["fusion.family=none"]).model.fusion is None


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            ["audio_projector.family=Qformer"],
            "is one of LinearProjector, MlpProjector, QFormer, got 'Qformer', did you",
        ),
        (
            ["audio_projector.family=QFormer", "queries=0"],
            "audio_projector.queries: QFormer.queries wants a positive number, got 0",
        ),
        (["audio_projector.family=QFormer", "audio_projector.heads=5"], "wants a multiple of .*heads=5, got 768"),
        (["audio_projector.family=QFormer", "cross_every=3"], "layers wants a multiple of .*cross_every=3, got 2"),
        (
            ["fusion.family=PreFusion", "convolutions=0"],
            "model.fusion.convolutions: PreFusion.convolutions wants a positive number",
        ),
        (["fusion.family=PreFusion", "video.family=none"], r"fusion wants both streams, got model\.video=None"),
        (["video_projector.family=QFormer", "video.family=none"], r"a stream that model\.video=None does not read"),
        (["fusion.family=QFormer"], "fusion.family is one of PreFusion, none, got 'QFormer'"),
    ],
    ids=lambda x: x[-1] if isinstance(x, list) else "",
)
def test_what_does_not_fit_is_refused(items: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        presets.load("tiny", items)
