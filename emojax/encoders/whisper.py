"""Whisper's encoder (Radford et al. 2022, arXiv 2212.04356): log-mel frames of 30 s, a pre-norm transformer."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct

from emojax import param
from emojax.config import WhisperConfig
from emojax.encoders import layer_mix
from emojax.encoders.audio import HOP, SAMPLE_RATE, WINDOW, mel_filters
from emojax.encoders.whisper_files import POSITION
from emojax.encoders.whisper_files import config as config
from emojax.encoders.whisper_files import names as names
from emojax.encoders.whisper_files import preprocessor_json as preprocessor_json
from emojax.encoders.whisper_files import to_json as to_json
from emojax.nn.attention import SelfAttention, attention, declare_attention, merge, project
from emojax.nn.layers import (
    Linear,
    Mlp,
    Norm,
    add_rows,
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
    audio = jnp.where(jnp.arange(audio.shape[1])[None] < length[:, None], audio, 0)
    audio = jnp.pad(audio, ((0, 0), (0, window - audio.shape[1])))
    audio = jnp.pad(audio, ((0, 0), (WINDOW // 2, WINDOW // 2)), mode="reflect")
    part = math.gcd(WINDOW, HOP)  # samples; windows are laid together of such parts, a gather of samples is slower
    parts = rearrange(audio, "b (s a) -> b s a", a=part)
    starts = range(WINDOW // part)
    windows = jnp.concatenate([parts[:, i : i + window // part : HOP // part] for i in starts], -1)
    spectrum = clip_by_clip(jnp.fft.rfft, windows * np.hanning(WINDOW + 1)[None, None, :-1].astype(np.float32))
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    energy = jnp.einsum("bsf,fm->bsm", power, mel_filters(sizes.mels), precision=jax.lax.Precision.HIGHEST)
    x = jnp.log10(jnp.maximum(energy, 1e-10))
    return (jnp.maximum(x, x.max((1, 2), keepdims=True) - 8) + 4) / 4


def encode(
    p: layer_mix.MixedLayers, audio: Array, length: Array, sizes: WhisperConfig, dtype: jnp.dtype, remat: bool
) -> tuple[Array, Array]:
    """Hidden state `sizes.layer` of every 20 ms of a window, always of a full window.

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
    x = add_rows(x, w.positions)

    def block(x: Array, p: Layer) -> Array:
        q, k, v = project(p.attention, layer_norm(p.attention_norm, x), sizes.width // sizes.heads)
        x = x + merge(p.attention, attention(q, k, v, None))
        return x + mlp(p.mlp, layer_norm(p.mlp_norm, x), sizes.activation)

    x = layer_mix.hidden_state(p, sizes.layer, block, lambda x: layer_norm(w.norm, x), x, remat)
    return x, jnp.arange(sizes.positions)[None] * POSITION < length[:, None]
