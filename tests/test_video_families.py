"""Our CLIP, SigLIP, ViT, DINOv2 and VideoMAE are theirs: outputs equal those of transformers, read from its files and
written to files that it reads."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from emojax.config import VideoConfig, VideoMaeConfig, VitConfig
from emojax.encoders import videomae, vit
from emojax.hub import weights

torch = pytest.importorskip("torch", reason="parity with torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

SMALL = {"hidden_size": 21, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 20, "patch_size": 5}
WIDE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 23, "patch_size": 4}
FLAT = {
    "hidden_size": 10,
    "num_hidden_layers": 1,
    "num_attention_heads": 5,
    "image_size": [12, 12],
    "patch_size": [6, 6],
}
TEXT = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 30}


def clip(whole: bool = False, text: dict = TEXT, **fields) -> Any:
    if whole:
        ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 5}
        return transformers.CLIPModel(transformers.CLIPConfig(vision_config=fields, text_config=text | ids))
    return transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**fields))


def whole(kind: str, text: dict = TEXT, **fields) -> Any:
    """An image and a text encoder."""
    fields = {"vision_config": fields, "text_config": text | {"max_position_embeddings": 5, "pad_token_id": 0}}
    return model(kind, **fields)


def model(kind: str, head: str = "Model", **fields) -> Any:
    return getattr(transformers, f"{kind}{head}")(getattr(transformers, f"{kind}Config")(**fields))


IMAGES = {  # name: what makes the model
    "clip": lambda: clip(**SMALL, intermediate_size=37),
    "clip-whole": lambda: clip(True, **WIDE, intermediate_size=19, hidden_act="gelu", layer_norm_eps=0.1),
    "clip-flat": lambda: clip(**FLAT | {"image_size": 12, "patch_size": 6}, intermediate_size=7),
    "clip-classifier": lambda: transformers.CLIPForImageClassification(
        transformers.CLIPConfig(vision_config=SMALL | {"intermediate_size": 9}, text_config=TEXT)
    ),
    "clip-projection": lambda: transformers.CLIPVisionModelWithProjection(
        transformers.CLIPVisionConfig(**SMALL, intermediate_size=9)
    ),
    "vit": lambda: model("ViT", **SMALL, intermediate_size=37),
    "vit-classifier": lambda: model("ViT", "ForImageClassification", **WIDE, intermediate_size=11, qkv_bias=False),
    "vit-flat": lambda: model("ViT", **FLAT, intermediate_size=64, hidden_act="gelu_new", layer_norm_eps=0.1),
    "vit-pretraining": lambda: model("ViT", "ForMaskedImageModeling", **WIDE, intermediate_size=11, encoder_stride=4),
    "dinov2": lambda: model("Dinov2", **SMALL, mlp_ratio=3),
    "dinov2-giant": lambda: model("Dinov2", **WIDE, use_swiglu_ffn=True, layer_norm_eps=0.1),
    "dinov2-classifier": lambda: model(
        "Dinov2", "ForImageClassification", **FLAT, qkv_bias=False, use_mask_token=False
    ),
    "registers": lambda: model("Dinov2WithRegisters", **SMALL, mlp_ratio=3, num_register_tokens=3),
    "registers-giant": lambda: model(
        "Dinov2WithRegisters", "ForImageClassification", **WIDE, use_swiglu_ffn=True, num_register_tokens=1
    ),
    "siglip": lambda: model("SiglipVision", **SMALL, intermediate_size=37),
    "siglip-whole": lambda: whole("Siglip", **WIDE, intermediate_size=19, hidden_act="gelu", layer_norm_eps=0.1),
    "siglip-classifier": lambda: transformers.SiglipForImageClassification(
        transformers.SiglipConfig(vision_config=FLAT | {"image_size": 12, "patch_size": 6, "intermediate_size": 9})
    ),
    "chinese-clip": lambda: model("ChineseCLIPVision", **SMALL, intermediate_size=37),
    "chinese-clip-whole": lambda: whole("ChineseCLIP", **WIDE, intermediate_size=19),
}
TUBES = {"num_frames": 6, "tubelet_size": 3, "intermediate_size": 37}
DECODER = {
    "decoder_hidden_size": 8,
    "decoder_num_attention_heads": 2,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 8,
}
VIDEOS = {
    "normed": lambda: model("VideoMAE", **SMALL, **TUBES, use_mean_pooling=False),
    "pooled": lambda: model("VideoMAE", **FLAT, num_frames=4, intermediate_size=9, hidden_act="gelu_new"),
    "classifier": lambda: model("VideoMAE", "ForVideoClassification", **SMALL, **TUBES, qv_bias=False),
    "pretraining": lambda: model("VideoMAE", "ForPreTraining", **WIDE, **TUBES, **DECODER, use_mean_pooling=False),
    "long": lambda: model("VideoMAE", **SMALL | {"patch_size": 2, "num_hidden_layers": 1}, **TUBES),
}


def saved(root: Path, made: Any, seed: int = 0) -> tuple[Any, dict]:
    """The model with weights far from what it starts with, in a directory; and its config.json."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            norm = ("norm" in name and name.endswith("weight")) or "lambda" in name
            weight.copy_(torch.randn(weight.shape, generator=generator) * (0.4 if norm else 0.3) + (1 if norm else 0))
    made.eval().save_pretrained(root)
    return made, json.loads((root / "config.json").read_text())


def frames_of(cfg: VideoConfig, clips: int = 2, frames: int = 3) -> np.ndarray:
    r = np.random.default_rng(1)
    return r.integers(0, 256, (clips, frames, cfg.image_size, cfg.image_size, 3)).astype(np.uint8)


def normal(video: np.ndarray, cfg: Any) -> np.ndarray:
    return ((video / 255 - np.array(cfg.mean)) / np.array(cfg.std)).astype(np.float32)


def run(family: Any, p: Any, video: np.ndarray, cfg: Any, mask: np.ndarray | None = None, dtype=jnp.float32) -> Any:
    mask = np.ones(video.shape[:2], bool) if mask is None else mask
    return jax.jit(family.encode, static_argnums=(3, 4, 5))(p, video, mask, cfg, dtype, False)


def images(made: Any, video: np.ndarray, cfg: VitConfig, **options) -> tuple[np.ndarray, np.ndarray]:
    """What transformers makes of frames: the last hidden state, and the vector that we give."""
    names = ("vision_model", "vit", "dinov2", "dinov2_with_registers")
    tower = next((getattr(made, name) for name in names if hasattr(made, name)), made)
    x = torch.tensor(normal(video, cfg)).flatten(0, 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        out = tower(x, **options)
    state = out.last_hidden_state.numpy()
    vector = out.pooler_output.numpy() if cfg.kind in ("clip", "siglip") else state[:, 0]
    return state, vector.reshape(*video.shape[:2], -1)


def close(ours: Any, theirs: np.ndarray) -> None:
    assert np.std(theirs) > 0.1
    np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-5 * np.abs(theirs).max(), rtol=0)


def same(a: Any, b: Any) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: x.shape == y.shape and bool((x == y).all()), a, b))


@pytest.mark.parametrize("name", IMAGES)
def test_images_equal_transformers_and_so_does_what_we_write(tmp_path: Path, name: str) -> None:
    made, json_ = saved(tmp_path / "theirs", IMAGES[name]())
    cfg = vit.config(json_, {})
    p = weights.read(tmp_path / "theirs", vit.declare(cfg), vit.names(cfg))
    video = frames_of(cfg)
    state, vector = images(made, video, cfg)
    x = jnp.asarray(normal(video, cfg).reshape(-1, *video.shape[2:]))
    close(jax.jit(vit.hidden, static_argnums=(2, 3))(p, x, cfg, True), state)
    close(run(vit, p, video, cfg)[0], vector)

    ours = tmp_path / "ours"
    ours.mkdir()
    weights.write(ours, p, vit.names(cfg))
    (ours / "config.json").write_text(json.dumps(vit.to_json(cfg)))
    assert same(weights.read(ours, vit.declare(cfg), vit.names(cfg)), p)
    assert vit.config(vit.to_json(cfg), {}) == cfg
    theirs, info = transformers.AutoModel.from_pretrained(ours, output_loading_info=True)
    assert not info["unexpected_keys"]
    # ViTModel's own, on top of what we give; and what stands for hidden patches in pretraining
    assert all(key.startswith("pooler.") or key == "embeddings.mask_token" for key in info["missing_keys"])
    close(images(theirs.eval(), video, cfg)[0], state)


@pytest.mark.parametrize(("trained", "now"), [(35, 20), (20, 35), (20, 23), (37, 38)])
@pytest.mark.parametrize("kind", ["Dinov2", "Dinov2WithRegisters", "ViT"])
def test_positions_are_interpolated_as_transformers_does(tmp_path: Path, kind: str, trained: int, now: int) -> None:
    made, json_ = saved(tmp_path, model(kind, **SMALL | {"image_size": trained}))
    if kind != "ViT":
        cfg = vit.config(json_, {"size": {"shortest_edge": now + 2}, "crop_size": now})
    else:
        with pytest.raises(
            ValueError, match=rf"vit reads image_size={trained} pixels, its image processor gives {now}"
        ):
            vit.config(json_, {"size": now})
        cfg = dataclasses.replace(vit.config(json_, {"size": trained}), image_size=now)
    assert (cfg.trained_size, cfg.image_size) == (trained, now)
    p = weights.read(tmp_path, vit.declare(cfg), vit.names(cfg))
    video = frames_of(cfg, 1, 2)
    options = {} if kind != "ViT" else {"interpolate_pos_encoding": True}
    close(run(vit, p, video, cfg)[0], images(made, video, cfg, **options)[1])


def clips(made: Any, video: np.ndarray, cfg: VideoMaeConfig) -> np.ndarray:
    with torch.no_grad():
        x = torch.tensor(normal(video, cfg)).permute(0, 1, 4, 2, 3)
        return getattr(made, "videomae", made)(x).last_hidden_state.numpy()


@pytest.mark.parametrize("name", VIDEOS)
def test_videos_equal_transformers_and_so_does_what_we_write(tmp_path: Path, name: str) -> None:
    made, json_ = saved(tmp_path / "theirs", VIDEOS[name]())
    cfg = videomae.config(json_, {})
    p = weights.read(tmp_path / "theirs", videomae.declare(cfg), videomae.names(cfg))
    video = frames_of(cfg, frames=cfg.frames)
    state = clips(made, video, cfg)
    x, all_there = normal(video, cfg), np.ones(state.shape[:2], bool)
    close(jax.jit(videomae.hidden, static_argnums=(3, 4))(p, x, all_there, cfg, True), state)
    times = cfg.frames // cfg.tubelet
    vectors, there = run(videomae, p, video, cfg)
    close(vectors, state.reshape(len(video), times, -1, cfg.width).mean(2))
    assert there.shape == (len(video), times)
    assert there.all()

    ours = tmp_path / "ours"
    ours.mkdir()
    weights.write(ours, p, videomae.names(cfg))
    (ours / "config.json").write_text(json.dumps(videomae.to_json(cfg)))
    assert same(weights.read(ours, videomae.declare(cfg), videomae.names(cfg)), p)
    assert videomae.config(videomae.to_json(cfg), {}) == cfg
    theirs, info = transformers.AutoModel.from_pretrained(ours, output_loading_info=True)
    assert not info["unexpected_keys"] | info["missing_keys"]
    close(clips(theirs.eval(), video, cfg), state)


def test_fixed_positions_are_theirs_to_the_end_of_a_real_video() -> None:
    from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

    for positions, d in ((1568, 384), (1000, 21)):
        theirs = get_sinusoid_encoding_table(positions, d)[0].numpy()
        np.testing.assert_allclose(videomae.sinusoid_table(positions, d), theirs, atol=1e-6)


def random(family: Any, cfg: Any) -> Any:
    r = np.random.default_rng(2)
    return jax.tree.map(lambda p: r.normal(size=p.shape, scale=0.3).astype(np.float32), family.declare(cfg))


VIT = VitConfig(image_size=20, trained_size=20, patch=5, width=24, layers=2, heads=3, ff=30)
MAE = VideoMaeConfig(image_size=20, patch=5, frames=6, width=24, layers=2, heads=3, ff=30)


def test_frames_that_are_not_there_say_nothing_and_break_nothing() -> None:
    video = frames_of(VIT, clips=3, frames=6)
    mask = np.array([[True] * 6, [False] * 6, [True, True, True, False, False, False]])
    other = np.where(mask[..., None, None, None], video, 255 - video)
    p = random(vit, VIT)
    (x, there), (y, _) = run(vit, p, video, VIT, mask), run(vit, p, other, VIT, mask)
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(there, mask)
    np.testing.assert_allclose(np.asarray(x)[mask], np.asarray(y)[mask], atol=1e-6)

    p = random(videomae, MAE)
    (x, there), (y, _) = run(videomae, p, video, MAE, mask), run(videomae, p, other, MAE, mask)
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(there, [[True] * 3, [False] * 3, [True, False, False]])  # of a tube, all frames
    x, y = np.asarray(x), np.asarray(y)
    np.testing.assert_allclose(x[0], y[0], atol=1e-6)
    full, _ = run(videomae, p, video, MAE)
    assert np.abs(np.asarray(full)[2, 0] - x[2, 0]).max() > 1e-3  # the second half was seen when it was there
    hidden_frame = mask.copy()
    hidden_frame[2, 2] = False
    np.testing.assert_array_equal(run(videomae, p, video, MAE, hidden_frame)[0], x)


def test_wrong_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reads frames of 20 pixels, got \(16, 16\)"):
        run(vit, random(vit, VIT), np.zeros((1, 2, 16, 16, 3), np.uint8), VIT)
    for shape in ((1, 4, 20, 20, 3), (1, 6, 20, 16, 3)):
        with pytest.raises(ValueError, match=r"= \(6, 20, 20\), got"):
            run(videomae, random(videomae, MAE), np.zeros(shape, np.uint8), MAE)


@pytest.mark.parametrize(("family", "cfg"), [(vit, VIT), (videomae, MAE)])
def test_low_precision_stays_near_and_keeps_its_type(family: Any, cfg: Any) -> None:
    video, p = frames_of(cfg, frames=6), random(family, cfg)
    exact = np.asarray(run(family, p, video, cfg)[0])
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), p)
    for tree, dtype in ((half, jnp.float32), (p, jnp.bfloat16)):
        got = run(family, tree, video, cfg, dtype=dtype)[0]
        assert got.dtype == dtype
        np.testing.assert_allclose(np.asarray(got, np.float32), exact, atol=0.06 * np.abs(exact).max())


def test_a_full_clip_file_of_transformers_4_is_read(tmp_path: Path) -> None:
    """Its config.json may hold the vision tower twice, and `vision_config_dict` is what counts."""
    made, json_ = saved(tmp_path, clip(True, **SMALL, intermediate_size=37))
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["vision_model.embeddings.position_ids"] = np.arange(17)[None]
    tensors["text_model.embeddings.position_ids"] = np.arange(5)[None]
    save_file(tensors, tmp_path / "model.safetensors")
    old = {key: json_["vision_config"][key] for key in [*SMALL, "intermediate_size"]}
    cfg = vit.config({"model_type": "clip", "vision_config": {"hidden_size": 7}, "vision_config_dict": old}, {})
    assert cfg == vit.config(json_, {})
    assert (cfg.activation, cfg.norm_eps) == ("quick_gelu", 1e-5)
    p = weights.read(tmp_path, vit.declare(cfg), vit.names(cfg))
    video = frames_of(cfg)
    close(run(vit, p, video, cfg)[0], images(made, video, cfg)[1])
    save_file(tensors | {"vision_model.extra": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"unused     vision_model\.extra"):
        weights.read(tmp_path, vit.declare(cfg), vit.names(cfg))
