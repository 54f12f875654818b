"""Directories of published speech encoders: read, written for transformers, refused by name."""

import json

import jax
import numpy as np
import pytest

pytest.importorskip("torch", reason="parity with torch")

import transformers
from safetensors.numpy import load_file, save_file
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from emojax.encoders import wav2vec2, whisper
from emojax.hub import weights
from support.speech_models import MODELS, clips, family, loaded, made, theirs


@pytest.mark.parametrize("name", MODELS)
def test_saved_and_loaded_again_by_both(name, tmp_path):
    model = made(name, tmp_path / "a")
    cfg, tree = loaded(name, tmp_path / "a")
    (tmp_path / "b").mkdir()
    weights.write(tmp_path / "b", tree, family(name).names(cfg))
    (tmp_path / "b" / "config.json").write_text(json.dumps(family(name).to_json(cfg)))
    (tmp_path / "b" / "preprocessor_config.json").write_text(json.dumps(family(name).preprocessor_json(cfg)))
    again, same_tree = loaded(name, tmp_path / "b")
    assert again == cfg
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), tree, same_tree))
    cls = WhisperEncoder if name.startswith("whisper") else transformers.AutoModel
    exported, info = cls.from_pretrained(tmp_path / "b", output_loading_info=True)
    assert not any(info.values())
    clip = clips()[0][0, :803]
    for a, b in zip(
        theirs(name, model, tmp_path / "a", clip),
        theirs(name, exported.eval(), tmp_path / "b", clip),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_heads_and_older_spellings_are_read(tmp_path):
    for name, prefix, heads in (
        ("wavlm-base", "wavlm.", ["lm_head.weight", "projector.bias", "classifier.out_proj.weight", "layer_weights"]),
        ("wav2vec2-large", "wav2vec2.", ["quantizer.codevectors", "project_q.weight", "project_hid.bias"]),
        ("data2vec-audio", "data2vec_audio.", ["lm_head.bias", "classifier.weight"]),
        ("whisper", "model.", ["proj_out.weight"]),
    ):
        made(name, tmp_path / name)
        _, tree = loaded(name, tmp_path / name)
        file = tmp_path / name / "model.safetensors"
        tensors = {
            prefix
            + key.replace("parametrizations.weight.original0", "weight_g").replace(
                "parametrizations.weight.original1", "weight_v"
            ): x
            for key, x in load_file(file).items()
        }
        save_file(tensors | {head: np.ones(3, np.float32) for head in heads}, file)
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), tree, loaded(name, tmp_path / name)[1]))


def test_options_that_are_not_implemented_are_named():
    with pytest.raises(
        ValueError, match=r"hidden_act='mish'.*add_adapter=True.*adapter_attn_dim=16.*sampling_rate=8000"
    ):
        wav2vec2.config(
            {"model_type": "wav2vec2", "hidden_act": "mish", "add_adapter": True, "adapter_attn_dim": 16},
            {"sampling_rate": 8000},
        )
    with pytest.raises(ValueError, match=r"model_type='unispeech'.*feat_extract_norm='batch'.*conv_pos_batch_norm"):
        wav2vec2.config({"model_type": "unispeech", "feat_extract_norm": "batch", "conv_pos_batch_norm": True}, {})
    with pytest.raises(ValueError, match=r"do_stable_layer_norm=True \(implemented: False\)"):
        wav2vec2.config({"model_type": "data2vec-audio", "do_stable_layer_norm": True}, {})
    with pytest.raises(
        ValueError, match=r"hidden_size=20.*num_attention_heads=12.*conv_pos.*16; conv_dim.*\[7, 1, 7\]"
    ):
        wav2vec2.config({"model_type": "hubert", "hidden_size": 20, "conv_kernel": [10]}, {})
    with pytest.raises(
        ValueError, match=r"activation_function='mish'.*hop_length=80.*feature_size=128.*chunk_length=15"
    ):
        whisper.config(
            {"model_type": "whisper", "activation_function": "mish"},
            {"hop_length": 80, "feature_size": 128, "chunk_length": 15},
        )
    with pytest.raises(ValueError, match="d_model=384 is not a multiple of encoder_attention_heads=7"):
        whisper.config({"model_type": "whisper", "encoder_attention_heads": 7}, {})


@pytest.mark.parametrize("kind", ["Wav2Vec2", "Hubert", "WavLM", "Data2VecAudio", "Whisper"])
def test_what_a_configuration_does_not_say_is_the_default_of_transformers(kind):
    module = family(kind.lower())
    theirs = getattr(transformers, f"{kind}Config")().to_dict()
    extractor = "WhisperFeatureExtractor" if kind == "Whisper" else "Wav2Vec2FeatureExtractor"
    processing = getattr(transformers, extractor)().to_dict()
    assert module.config({"model_type": theirs["model_type"]}, {}) == module.config(theirs, processing)
