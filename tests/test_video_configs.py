"""Video encoders get the sizes that transformers reads in the same config.json; the rest is refused by name."""

import pytest

from emojax.config import VideoMaeConfig, VitConfig
from emojax.encoders import videomae, vit

transformers = pytest.importorskip("transformers")


TOWERS = {"clip": "clip_vision_model", "siglip": "siglip_vision_model", "chinese_clip": "chinese_clip_vision_model"}


@pytest.mark.parametrize("kind", [*TOWERS, "vit", "dinov2", "dinov2_with_registers", "videomae"])
def test_what_a_config_leaves_out_is_what_transformers_fills_in(kind: str) -> None:
    family = videomae if kind == "videomae" else vit
    theirs = transformers.AutoConfig.for_model(TOWERS.get(kind, kind)).to_dict()
    assert family.config({"model_type": theirs["model_type"]}, {}) == family.config(theirs, {})


def test_published_sizes() -> None:
    published = vit.config(
        {"model_type": "clip", "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "patch_size": 14}
         | {"num_hidden_layers": 24, "num_attention_heads": 16}},
        {"crop_size": 224, "size": 224, "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3},
    )  # fmt: skip
    assert published == VitConfig()
    giant = {
        "model_type": "dinov2",
        "hidden_size": 1536,
        "use_swiglu_ffn": True,
        "image_size": 518,
        "num_hidden_layers": 40,
    }
    cfg = vit.config(giant | {"num_attention_heads": 24}, {"size": {"shortest_edge": 256}, "crop_size": 224})
    assert (cfg.ff, cfg.image_size, cfg.trained_size) == (4096, 224, 518)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    old = {"feature_extractor_type": "VideoMAEFeatureExtractor", "image_mean": list(mean), "image_std": list(std)}
    cfg = videomae.config({"model_type": "videomae", "qkv_bias": True, "use_mean_pooling": True}, old | {"size": 224})
    assert cfg == VideoMaeConfig()


def test_options_that_are_not_implemented_are_named() -> None:
    small = {"num_attention_heads": 3}
    wrong = {"hidden_act": "tanh", "num_channels": 1, "patch_size": [5, 4], "hidden_size": 20}
    for family, kind in ((vit, "vit"), (videomae, "videomae")):
        with pytest.raises(ValueError, match="hidden_act='tanh'") as error:
            family.config(small | wrong | {"model_type": kind}, {})
        for part in (
            "num_channels=1",
            r"patch_size=[5, 4]",
            "hidden_size=20 is not a multiple of num_attention_heads=3",
        ):
            assert part in str(error.value)
    with pytest.raises(ValueError, match=r"model_type='beit' \(implemented: clip, .*siglip, .*dinov2_with_registers\)"):
        vit.config({"model_type": "beit"}, {})
    with pytest.raises(ValueError, match=r"vision_use_head=False \(implemented: True\)"):
        vit.config({"model_type": "siglip_vision_model", "vision_use_head": False}, {})
    with pytest.raises(ValueError, match=r"model_type='vivit'.*num_frames=15 is not a multiple of tubelet_size=2"):
        videomae.config({"model_type": "vivit", "num_frames": 15}, {})
    with pytest.raises(ValueError, match="videomae reads image_size=224 pixels, its image processor gives 112"):
        videomae.config({"model_type": "videomae"}, {"crop_size": 112})
    with pytest.raises(ValueError, match="width=24 with ff=30 has no whole mlp_ratio"):
        vit.to_json(VitConfig(kind="dinov2", width=24, heads=3, ff=30))
