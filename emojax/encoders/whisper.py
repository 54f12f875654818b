"""Whisper's encoder (Radford et al. 2022, arXiv 2212.04356): log-mel frames of a 30 s window, a pre-norm transformer.

Transformers has a class for the encoder alone, `WhisperEncoder`, which `AutoModel` does not know; exports are for it:
`transformers.models.whisper.modeling_whisper.WhisperEncoder.from_pretrained(directory)`.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct

from emojax import param
from emojax.config import WhisperConfig
from emojax.encoders import layer_mix
from emojax.encoders.audio import HOP, SAMPLE_RATE, WINDOW, mel_filters
from emojax.hub.weights import Names, linear_names, norm_names
from emojax.nn.attention import SelfAttention, attention, declare_attention, merge, project
from emojax.nn.layers import (
    ACTIVATIONS,
    Linear,
    Mlp,
    Norm,
    conv1d,
    declare_linear,
    declare_mlp,
    declare_norm,
    gelu,
    layer_norm,
    mlp,
)
from emojax.nn.transformer import sinusoids
from emojax.parallel.sharding import clip_by_clip
from emojax.param import Param
from emojax.types import Array, Weight

POSITION = 2 * HOP  # samples from one encoder position to the next


@struct.dataclass
class Layer:
    attention_norm: Norm
    attention: SelfAttention  # keys without bias
    mlp_norm: Norm
    mlp: Mlp


@struct.dataclass
class Backbone:
    stem: tuple[Linear, Linear]
    positions: Weight  # [positions D]
    layers: Layer  # stacked on L
    norm: Norm


def config(json: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> WhisperConfig:
    """From `config.json` and `preprocessor_config.json` of transformers; what they say of the decoder is not read.

    Raises:
      ValueError: names every option which is not implemented.
    """
    cfg = WhisperConfig(
        mels=json.get("num_mel_bins", 80),
        width=json.get("d_model", 384),
        layers=json.get("encoder_layers", 4),
        heads=json.get("encoder_attention_heads", 6),
        ff=json.get("encoder_ffn_dim", 1536),
        activation=json.get("activation_function", "gelu"),
        positions=json.get("max_source_positions", 1500),
    )
    seconds = cfg.positions * POSITION / SAMPLE_RATE
    implemented: list[tuple[Mapping, str, Any, tuple]] = [
        (json, "model_type", None, ("whisper",)),
        (json, "activation_function", "gelu", tuple(ACTIVATIONS)),
        (preprocessor, "feature_extractor_type", "WhisperFeatureExtractor", ("WhisperFeatureExtractor",)),
        (preprocessor, "sampling_rate", SAMPLE_RATE, (SAMPLE_RATE,)),
        (preprocessor, "n_fft", WINDOW, (WINDOW,)),
        (preprocessor, "hop_length", HOP, (HOP,)),
        (preprocessor, "dither", 0.0, (0.0,)),
        (preprocessor, "feature_size", cfg.mels, (cfg.mels,)),
        (preprocessor, "chunk_length", seconds, (seconds,)),
    ]
    wrong = [
        f"{name}={source.get(name, default)!r} (implemented: {', '.join(map(repr, values))})"
        for source, name, default, values in implemented
        if source.get(name, default) not in values
    ]
    if cfg.width % cfg.heads:
        wrong.append(f"d_model={cfg.width} is not a multiple of encoder_attention_heads={cfg.heads}")
    if wrong:
        raise ValueError(f"this Whisper is not supported: {'; '.join(wrong)}")
    return cfg


def to_json(sizes: WhisperConfig) -> dict[str, Any]:
    """The `config.json` with which `WhisperEncoder` is the same model."""
    return {
        "model_type": "whisper",
        "architectures": ["WhisperEncoder"],
        "num_mel_bins": sizes.mels,
        "d_model": sizes.width,
        "encoder_layers": sizes.layers,
        "encoder_attention_heads": sizes.heads,
        "encoder_ffn_dim": sizes.ff,
        "activation_function": sizes.activation,
        "max_source_positions": sizes.positions,
    }


def preprocessor_json(sizes: WhisperConfig) -> dict[str, Any]:
    seconds = sizes.positions * POSITION / SAMPLE_RATE
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": sizes.mels,
        "sampling_rate": SAMPLE_RATE,
        "n_fft": WINDOW,
        "hop_length": HOP,
        "chunk_length": int(seconds) if seconds.is_integer() else seconds,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def declare(sizes: WhisperConfig) -> layer_mix.MixedLayers:
    """Raises ValueError where there is no hidden state `sizes.layer`."""
    d, h = sizes.width, sizes.width // sizes.heads
    every = declare_attention(d, sizes.heads, sizes.heads, h, qkv_bias=True, o_bias=True)
    layer = Layer(
        attention_norm=declare_norm(d),
        attention=dataclasses.replace(every, k=dataclasses.replace(every.k, b=None)),
        mlp_norm=declare_norm(d),
        mlp=declare_mlp(d, sizes.ff),
    )
    backbone = Backbone(
        stem=(declare_linear(3 * sizes.mels, d, "- D"), declare_linear(3 * d, d, "- D")),
        positions=Param((sizes.positions, d), (None, "D"), lambda _, shape: 10 * sinusoids(*shape)),
        layers=param.stack(layer, sizes.layers),
        norm=declare_norm(d),
    )
    return layer_mix.declare(backbone, sizes.layers, sizes.layer)


def log_mel(audio: Array, length: Array, sizes: WhisperConfig) -> Array:
    """Waveforms f32[B A] at 16 kHz, i32[B] samples -> f32[B 2*positions mels], as WhisperFeatureExtractor has it.

    A clip's loudness is lost: what is 80 dB below its loudest frame is cut off, silence beyond its end included.

    Raises:
      ValueError: A is more than a window.
    """
    window = sizes.positions * POSITION
    if audio.shape[1] > window:
        raise ValueError(
            f"Whisper reads a window of {window / SAMPLE_RATE:g} s ({window} samples), the audio has "
            f"{audio.shape[1] / SAMPLE_RATE:g} s ({audio.shape[1]} samples); use shorter clips or another encoder"
        )
    audio = jnp.where(jnp.arange(audio.shape[1]) < length[:, None], audio, 0)
    audio = jnp.pad(audio, ((0, 0), (0, window - audio.shape[1])))
    audio = jnp.pad(audio, ((0, 0), (WINDOW // 2, WINDOW // 2)), mode="reflect")
    part = math.gcd(WINDOW, HOP)  # samples; windows are laid together of such parts, a gather of samples is slower
    parts = rearrange(audio, "b (s a) -> b s a", a=part)
    starts = range(WINDOW // part)
    windows = jnp.concatenate([parts[:, i : i + window // part : HOP // part] for i in starts], -1)
    spectrum = clip_by_clip(jnp.fft.rfft, windows * np.hanning(WINDOW + 1)[:-1].astype(np.float32))
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    energy = jnp.einsum("bsf,fm->bsm", power, mel_filters(sizes.mels), precision=jax.lax.Precision.HIGHEST)
    x = jnp.log10(jnp.maximum(energy, 1e-10))
    return (jnp.maximum(x, x.max((1, 2), keepdims=True) - 8) + 4) / 4


def encode(
    p: layer_mix.MixedLayers, audio: Array, length: Array, sizes: WhisperConfig, dtype: jnp.dtype, remat: bool
) -> tuple[Array, Array]:
    """Hidden state `sizes.layer` of every 20 ms of a window, which is always read whole.

    Args:
      audio: f32[B A] at 16 kHz; what lies beyond `length` is never read.
      length: i32[B] samples; 0 where a clip has no audio.
    Returns:
      [B positions width] and bool[B positions], True on positions that begin before a clip's end.
    Raises:
      ValueError: A is more than a window.
    """
    w = p.backbone
    x = log_mel(audio, length, sizes).astype(dtype)
    for stem, stride in zip(w.stem, (1, 2), strict=True):
        x = gelu(conv1d(stem, x, width=3, stride=stride, padding=(1, 1)))
    x = x + w.positions.astype(dtype)

    def block(x: Array, p: Layer) -> Array:
        q, k, v = project(p.attention, layer_norm(p.attention_norm, x), sizes.width // sizes.heads)
        x = x + merge(p.attention, attention(q, k, v, None))
        return x + mlp(p.mlp, layer_norm(p.mlp_norm, x), sizes.activation)

    x = layer_mix.hidden_state(p, sizes.layer, block, lambda x: layer_norm(w.norm, x), x, remat)
    return x, jnp.arange(sizes.positions) * POSITION < length[:, None]


def names(sizes: WhisperConfig) -> Names:
    """Of the backbone."""
    layer = "layers.{l}"
    return Names(
        table=(
            ("conv1.weight", "stem.0.w", "o i w=3 -> (w i) o"),
            ("conv1.bias", "stem.0.b", "o -> o"),
            ("conv2.weight", "stem.1.w", "o i w=3 -> (w i) o"),
            ("conv2.bias", "stem.1.b", "o -> o"),
            ("embed_positions.weight", "positions", "s d -> s d"),
            *norm_names(f"{layer}.self_attn_layer_norm", "layers.attention_norm"),
            *linear_names(f"{layer}.self_attn.q_proj", "layers.attention.q"),
            *linear_names(f"{layer}.self_attn.k_proj", "layers.attention.k"),
            *linear_names(f"{layer}.self_attn.v_proj", "layers.attention.v"),
            *linear_names(f"{layer}.self_attn.out_proj", "layers.attention.o"),
            *norm_names(f"{layer}.final_layer_norm", "layers.mlp_norm"),
            *linear_names(f"{layer}.fc1", "layers.mlp.up"),
            *linear_names(f"{layer}.fc2", "layers.mlp.down"),
            *norm_names("layer_norm", "norm"),
        ),
        # the decoder, and the heads of recognisers and classifiers
        ignore=("model.decoder.*", "decoder.*", "proj_out.*", "layer_weights", "projector.*", "classifier.*"),
        prefix=("model.encoder.", "encoder."),
    )
