"""Speech encoders as they are published, small and of random weights; what transformers makes of a clip with them."""

import json
import math

import numpy as np
import pytest

from emojax.encoders import wav2vec2, whisper
from emojax.hub import weights

torch = pytest.importorskip("torch", reason="parity with torch")
torch.set_num_threads(1)
transformers = pytest.importorskip("transformers", reason="parity with torch")

CONVS = {"conv_dim": [12, 8, 20], "conv_kernel": [10, 3, 2], "conv_stride": [5, 2, 2]}
SIZES = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 37,
    "num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 4, **CONVS,
}  # fmt: skip
WHISPER = {
    "d_model": 24, "encoder_layers": 3, "encoder_attention_heads": 3, "encoder_ffn_dim": 37,
    "max_source_positions": 50, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8,
    "vocab_size": 11, "max_target_positions": 5, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1,
}  # fmt: skip
MODELS = {
    "wav2vec2-base": ("Wav2Vec2", SIZES, {"do_normalize": True}),
    "wav2vec2-large": (
        "Wav2Vec2",
        SIZES
        | {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True, "layer_norm_eps": 1e-3},
        {"do_normalize": True},
    ),
    "distilhubert": (
        "Hubert",
        SIZES | {"feat_proj_layer_norm": False, "num_attention_heads": 8, "num_conv_pos_embeddings": 7},
        {"do_normalize": False},
    ),
    "hubert-large": (
        "Hubert",
        SIZES | {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "hidden_act": "relu"},
        {"do_normalize": True},
    ),
    "wavlm-base": (
        "WavLM",
        SIZES | {"num_buckets": 14, "max_bucket_distance": 19, "feat_extract_activation": "relu", "conv_bias": True},
        {"do_normalize": False},
    ),
    "wavlm-large": (
        "WavLM",
        SIZES
        | {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "num_hidden_layers": 3, "num_buckets": 12}
        | {"max_bucket_distance": 40, "hidden_act": "gelu_new"},
        {"do_normalize": True},
    ),
    "data2vec-audio": (
        "Data2VecAudio",
        SIZES | {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5, "layer_norm_eps": 1e-3},
        {"do_normalize": True},
    ),
    "data2vec-even": (
        "Data2VecAudio",
        SIZES | {"num_conv_pos_embeddings": 1, "conv_pos_kernel_size": 6, "conv_bias": True}
        | {"feat_extract_activation": "relu", "hidden_act": "gelu_new"},
        {"do_normalize": False},
    ),
    "whisper": ("Whisper", WHISPER, {"feature_size": 80, "chunk_length": 1}),
    "whisper-v3": (
        "Whisper",
        WHISPER | {"num_mel_bins": 128, "activation_function": "relu", "encoder_layers": 1, "d_model": 32}
        | {"encoder_attention_heads": 2},
        {"feature_size": 128, "chunk_length": 1},
    ),
    "whisper-odd": (
        "Whisper",
        WHISPER | {"num_mel_bins": 5, "d_model": 10, "encoder_attention_heads": 5, "max_source_positions": 100},
        {"feature_size": 5, "chunk_length": 2},
    ),
}  # fmt: skip
SPEECH = [name for name in MODELS if not name.startswith("whisper")]
LENGTHS = [803, 0, 400, 29, 777]  # of the second and fourth, none has a frame; frames are 65 samples long here


def family(name):
    return whisper if name.startswith("whisper") else wav2vec2


def made(name, directory):
    """A published-like directory with weights that are far from nought and one; the torch model of it."""
    kind, sizes, processing = MODELS[name]
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**sizes)).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if (p.ndim == 1 and "bias" not in key) or "original0" in key or "gru_rel_pos_const" in key:
                p.uniform_(0.5, 1.5)
            else:
                p.normal_(std=0.3 if p.ndim == 1 else 1.2 / math.sqrt(math.prod(p.shape[1:])))
    model.save_pretrained(directory)
    extractor = "WhisperFeatureExtractor" if kind == "Whisper" else "Wav2Vec2FeatureExtractor"
    getattr(transformers, extractor)(**processing).save_pretrained(directory)
    return model.encoder if kind == "Whisper" else model


def loaded(name, directory):
    """cfg and our tree, from the files alone."""
    read = [json.loads((directory / f"{file}.json").read_text()) for file in ("config", "preprocessor_config")]
    cfg = family(name).config(*read)
    return cfg, weights.read(directory, family(name).declare(cfg).backbone, family(name).names(cfg))


def clips(seed=0, lengths=LENGTHS, bucket=850):
    r = np.random.default_rng(seed)
    x = r.normal(0.3, 1, (len(lengths), bucket)) * r.uniform(0.02, 0.5, (len(lengths), 1))
    return np.where(np.arange(bucket) < np.array(lengths)[:, None], x, np.nan).astype(np.float32), np.array(lengths)


def theirs(name, model, directory, clip):
    """Hidden states of one clip, unpadded; the last is `last_hidden_state`."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(directory)
    x = extractor(clip, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        out = model(x.get("input_values", x.get("input_features")), output_hidden_states=True)
    return [h[0].numpy() for h in (*out.hidden_states[:-1], out.last_hidden_state)]
