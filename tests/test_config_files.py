"""Published configurations that are not what they say: one line that names the directory, and nothing that hangs."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from emojax.config import (
    BartConfig,
    Config,
    Gpt2Config,
    LlamaConfig,
    RopeScaling,
    VideoMaeConfig,
    VitConfig,
    Wav2Vec2Config,
    WhisperConfig,
    presets,
)
from emojax.data.text import train_tokenizer
from emojax.decoder import captioner, pretrained
from emojax.hub import weights
from support.mutations import refusals

YARN = RopeScaling("yarn", 4.0, 32_768, attention_factor=1.0)
FAMILIES: dict[str, Any] = {
    "qwen2": LlamaConfig(window=9, window_from=1, rope_scaling=YARN),
    "qwen3": LlamaConfig(qkv_bias=False, qk_norm=True),
    "llama": LlamaConfig(qkv_bias=False, rope_scaling=RopeScaling("llama3", 8.0, 8192)),
    "mistral": LlamaConfig(qkv_bias=False, window=9),
    "gpt2": Gpt2Config(),
    "bart": BartConfig(),
    "wav2vec2": Wav2Vec2Config(kind="wavlm"),
    "hubert": Wav2Vec2Config(),
    "data2vec": Wav2Vec2Config(kind="data2vec-audio", conv_norm="layer", position_layers=5, position_kernel=19),
    "whisper": WhisperConfig(),
    "clip": VitConfig(),
    "dinov2": VitConfig(kind="dinov2", width=384, heads=6, ff=1536, trained_size=518, activation="gelu"),
    "siglip": VitConfig(kind="siglip", activation="gelu_pytorch_tanh"),
    "videomae": VideoMaeConfig(),
}


def field(part: Any) -> str:
    audio, video = isinstance(part, Wav2Vec2Config | WhisperConfig), isinstance(part, VitConfig | VideoMaeConfig)
    return "audio" if audio else "video" if video else "decoder"


def write(folder: Path, part: Any) -> Config:
    """The files of a family, and a configuration that reads them."""
    files, cfg = pretrained.files(part), presets.load("tiny")
    data = dataclasses.replace(cfg.data, frame_size=getattr(part, "image_size", 16), frames=getattr(part, "frames", 8))
    json_ = files.to_json(part)
    if part == FAMILIES["clip"]:
        json_ = {"model_type": "clip", "vision_config": json_}
    (folder / "config.json").write_text(json.dumps(json_))
    told = {"audio": (part,), "video": (part, data), "decoder": ()}[field(part)]
    if told:
        (folder / "preprocessor_config.json").write_text(json.dumps(files.preprocessor_json(*told)))
    else:
        train_tokenizer([], 259).save(str(folder / "tokenizer.json"))
    save_file({"other": np.zeros(3, np.float32)}, folder / "model.safetensors")
    part = dataclasses.replace(part, weights=str(folder))
    return dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, **{field(part): part}), data=data)


def read(cfg: Config) -> None:
    """All that is made of the sizes before weights are."""
    found = pretrained.resolve(cfg, fetch=True)
    declared = captioner.declare(found)
    for path, part in pretrained.backbones(found).items():
        if not part.weights:
            continue
        shapes = {"decoder": declared.decoder, "encoders.video": declared.encoders.video}
        tree = shapes.get(path) or declared.encoders.audio.backbone
        with pytest.raises(ValueError, match="do not fit the model"):
            weights.read(part.weights, tree, pretrained.files(part).names(part))


@pytest.mark.parametrize("count", [60, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_mutated_configuration_is_read_or_named(family: str, count: int, tmp_path: Path) -> None:
    cfg = write(tmp_path, FAMILIES[family])
    read(cfg)
    for path in sorted(tmp_path.glob("*config.json")):
        found = refusals(path, lambda: read(cfg), count)
        assert len(found) > count // 4
        assert not [e for e in found if str(tmp_path) not in str(e)]
        assert max(len(str(e).splitlines()) for e in found) == 1


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        (
            "clip",
            {"vision_config": {"patch_size": 10**9}},
            "this clip is not supported: patch_size=1000000000",
        ),
        ("clip", {"vision_config": {"patch_size": 512}}, "patch_size=512 is above image_size=224"),
        ("gpt2", {"n_layer": 10**9}, r"n_layer=1000000000 \(wanted a whole number from 1 to 1000\)"),
        ("gpt2", {"n_embd": "768"}, r"n_embd='768' \(wanted a whole number"),
        ("gpt2", {"n_embd": None, "n_head": True}, r"n_embd=None .*; n_head=True "),
        ("bart", {"d_model": -16}, "d_model=-16"),
        ("bart", {"vocab_size": 10**400}, "vocab_size=1000.*whole number from 1 to 16777216"),
        ("llama", {"rms_norm_eps": float("nan")}, r"rms_norm_eps=nan \(wanted a number above 0\)"),
        ("qwen2", {"tie_word_embeddings": "false"}, r"tie_word_embeddings='false' \(wanted true or false\)"),
        ("qwen2", {"layer_types": "full"}, r"layer_types='full' \(wanted a list"),
        ("llama", {"rope_parameters": 5, "rope_scaling": None}, r"rope_parameters=5 \(wanted an object or null\)"),
        ("whisper", {"model_type": ["whisper"]}, r"config.json: model_type=\['whisper'\]"),
        ("wav2vec2", {"conv_kernel": [10, 0, 3]}, r"conv_kernel=\[10, 0, 3\]"),
        ("qwen3", {"quantization_config": {"quant_method": "awq", "bits": 4}}, r"config.json: .*\('awq'\).*not read"),
        ("qwen3", {"quantization_config": {"quant_method": "fp8"}}, r"\('fp8'\): quantized weights are not read"),
    ],
)
def test_what_is_wrong_is_told_with_its_directory(family: str, fields: dict, message: str, tmp_path: Path) -> None:
    cfg = write(tmp_path, FAMILIES[family])
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(ValueError, match=message) as error:
        pretrained.resolve(cfg, fetch=False)
    assert str(error.value).startswith(str(tmp_path))
    assert len(str(error.value)) < len(str(tmp_path)) + 400
