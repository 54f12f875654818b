"""Wav2Vec2, HuBERT, WavLM, Data2Vec: convolutions over the waveform to 20 ms frames, then a transformer.

Baevski et al. 2020, arXiv 2006.11477; Hsu et al. 2021, arXiv 2106.07447; Chen et al. 2021, arXiv 2110.13900; Baevski et
al. 2022, arXiv 2202.03555.

The law: a clip's features are those that transformers gives for the clip alone, unpadded, whatever the bucket. The base
models' group norm therefore counts valid frames only. (Batches of transformers let it count the padding, too.)
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct

from emojax import param
from emojax.config import Wav2Vec2Config
from emojax.encoders import layer_mix
from emojax.encoders.wav2vec2_files import TYPES as TYPES
from emojax.encoders.wav2vec2_files import config as config
from emojax.encoders.wav2vec2_files import names as names
from emojax.encoders.wav2vec2_files import preprocessor_json as preprocessor_json
from emojax.encoders.wav2vec2_files import to_json as to_json
from emojax.nn.attention import SelfAttention, attention, declare_attention, merge, project
from emojax.nn.layers import (
    ACTIVATIONS,
    Linear,
    Mlp,
    Norm,
    beside,
    conv1d,
    declare_linear,
    declare_mlp,
    declare_norm,
    layer_norm,
    linear,
    mlp,
)
from emojax.param import Param, normal, ones, zeros
from emojax.types import Array, Weight

_CONV_EPS = 1e-5  # of the norms after convolutions, whatever layer_norm_eps says
_WAVE_EPS = 1e-7  # of the waveform's variance
_UNSCALED = Norm(np.ones((), np.float32), None)


@struct.dataclass
class Conv:
    linear: Linear
    norm: Norm | None


@struct.dataclass
class Position:
    """A convolution whose kernel has its length apart from its direction (Salimans, Kingma 2016, arXiv 1602.07868)."""

    direction: Weight  # [kernel * D/groups, D]
    length: Weight  # [kernel]
    bias: Weight  # [D]


@struct.dataclass
class Gate:
    linear: Linear  # H -> 8
    scale: Weight  # [N]


@struct.dataclass
class Layer:
    attention: SelfAttention
    gate: Gate | None  # of the relative positions (WavLM)
    attention_norm: Norm
    mlp: Mlp
    mlp_norm: Norm


@struct.dataclass
class Backbone:
    convs: tuple[Conv, ...]
    project_norm: Norm | None
    project: Linear
    position: Position | tuple[Linear, ...]  # the latter Data2Vec's, one after the other
    norm: Norm  # before the first layer; in norm-first models after the last
    layers: Layer  # stacked on L
    distances: Weight | None  # [buckets N] (WavLM), shared by all layers


def declare(sizes: Wav2Vec2Config) -> layer_mix.MixedLayers:
    """Raises ValueError where there is no hidden state `sizes.layer`."""
    d, h, wavlm = sizes.width, sizes.width // sizes.heads, sizes.kind == "wavlm"
    channels = (1, *sizes.conv_width)
    convs = tuple(
        Conv(
            declare_linear(width * channels[i], channels[i + 1], "- D", sizes.conv_bias),
            declare_norm(channels[i + 1]) if sizes.conv_norm == "layer" or i == 0 else None,
        )
        for i, width in enumerate(sizes.conv_kernel)
    )
    fan_in = sizes.position_kernel * d // sizes.position_groups
    # so long that the deviation of its weights is 2 / sqrt(kernel * D), as it is published
    length = 2 * math.sqrt(d / sizes.position_kernel / sizes.position_groups)
    several = (declare_linear(fan_in, d, "- D"),) * sizes.position_layers
    position = Position(
        direction=Param((fan_in, d), (None, "D"), normal(1)),
        length=Param((sizes.position_kernel,), (None,), lambda _, shape: jnp.full(shape, length, jnp.float32)),
        bias=Param((d,), ("D",), zeros),
    )
    layer = Layer(
        attention=declare_attention(d, sizes.heads, sizes.heads, h, qkv_bias=True, o_bias=True),
        gate=Gate(declare_linear(h, 8), Param((sizes.heads,), (None,), ones)) if wavlm else None,
        attention_norm=declare_norm(d),
        mlp=declare_mlp(d, sizes.ff),
        mlp_norm=declare_norm(d),
    )
    backbone = Backbone(
        convs=convs,
        project_norm=declare_norm(sizes.conv_width[-1]) if sizes.project_norm else None,
        project=declare_linear(sizes.conv_width[-1], d, "- D"),
        position=several if sizes.kind == "data2vec-audio" else position,
        norm=declare_norm(d),
        layers=param.stack(layer, sizes.layers),
        distances=Param((sizes.buckets, sizes.heads), (None, None), normal(0.02)) if wavlm else None,
    )
    return layer_mix.declare(backbone, sizes.layers, sizes.layer)


def encode(
    p: layer_mix.MixedLayers, audio: Array, length: Array, sizes: Wav2Vec2Config, dtype: jnp.dtype, remat: bool
) -> tuple[Array, Array]:
    """Hidden state `sizes.layer` of each frame: 20 ms apart and 25 ms long where the convolutions are the published.

    Args:
      audio: f32[B A] at 16 kHz; what lies beyond `length` is never read.
      length: i32[B] samples; 0 where a clip has no audio. Shorter than a frame is the same.
    Returns:
      [B S width] and bool[B S], True on frames that lie within `length`; the others are finite and mean nothing.
    """
    w = p.backbone
    x, mask = _frames(w, audio, length, sizes, dtype, remat)
    if w.project_norm is not None:
        x = layer_norm(w.project_norm, x, sizes.norm_eps)
    x = jnp.where(mask[..., None], linear(w.project, x), 0)  # the convolution reaches beyond a clip's end
    x = x + _position(w.position, x, mask, sizes)
    x = x if sizes.norm_first else layer_norm(w.norm, x, sizes.norm_eps)
    distances = None if w.distances is None else distance_bias(w.distances, x.shape[1], sizes.max_distance)

    def attend(p: Layer, x: Array) -> Array:
        q, k, v = project(p.attention, x, sizes.width // sizes.heads)
        bias = _gate(p.gate, x)[..., None] * distances[None] if p.gate and distances is not None else None
        return merge(p.attention, attention(q, k, v, mask[:, None], bias))

    def block(x: Array, p: Layer) -> Array:
        if sizes.norm_first:
            x = x + attend(p, layer_norm(p.attention_norm, x, sizes.norm_eps))
            return x + mlp(p.mlp, layer_norm(p.mlp_norm, x, sizes.norm_eps), sizes.activation)
        x = layer_norm(p.attention_norm, x + attend(p, x), sizes.norm_eps)
        return layer_norm(p.mlp_norm, x + mlp(p.mlp, x, sizes.activation), sizes.norm_eps)

    def last(x: Array) -> Array:
        return layer_norm(w.norm, x, sizes.norm_eps) if sizes.norm_first else x

    return layer_mix.hidden_state(p, sizes.layer, block, last, x, remat), mask


def _frames(
    p: Backbone, audio: Array, length: Array, sizes: Wav2Vec2Config, dtype: jnp.dtype, remat: bool
) -> tuple[Array, Array]:
    """Convolutions of the waveform, without padding: f32[B A], i32[B] -> [B S conv_width], bool[B S]."""
    strides = np.cumprod((1, *sizes.conv_stride))
    one = 1 + sum((k - 1) * int(s) for k, s in zip(sizes.conv_kernel, strides, strict=False))  # samples of a frame
    audio = jnp.pad(audio, ((0, 0), (0, max(0, one - audio.shape[1]))))
    mask = jnp.arange(audio.shape[1])[None] < length[:, None]
    x = jnp.where(mask, audio, 0)
    x = (_standard(x[..., None], mask, _WAVE_EPS) if sizes.normalize else x[..., None]).astype(dtype)

    def convolve(p: Conv, x: Array, mask: Array, width: int, stride: int) -> Array:
        x = conv1d(p.linear, x, width, stride, padding=(0, 0))
        if p.norm is not None and sizes.conv_norm == "layer":
            x = layer_norm(p.norm, x, _CONV_EPS)
        elif p.norm is not None and p.norm.bias is not None:  # group norm, a group a channel
            x = _standard(x, mask, _CONV_EPS)
            x = (x * beside(x, p.norm.scale) + beside(x, p.norm.bias)).astype(dtype)
        return ACTIVATIONS[sizes.conv_activation](x)

    step = jax.checkpoint(convolve, static_argnums=(3, 4)) if remat else convolve
    for conv, width, stride in zip(p.convs, sizes.conv_kernel, sizes.conv_stride, strict=True):
        length = jnp.maximum((length - width) // stride + 1, 0)
        mask = jnp.arange((x.shape[1] - width) // stride + 1)[None] < length[:, None]
        x = step(conv, x, mask, width, stride)
    return x, mask


def _standard(x: Array, mask: Array, eps: float) -> Array:
    """Each channel of [B S C] to mean 0, variance 1 over the positions on `mask`, f32; others are 0."""
    count = jnp.maximum(mask.sum(-1), 1).astype(jnp.float32)[:, None, None]
    x = jnp.where(mask[..., None], x.astype(jnp.float32), 0)
    x = jnp.where(mask[..., None], x - x.sum(1, keepdims=True) / count, 0)
    return x * jax.lax.rsqrt(jnp.square(x).sum(1, keepdims=True) / count + eps)


def _position(p: Position | tuple[Linear, ...], x: Array, mask: Array, sizes: Wav2Vec2Config) -> Array:
    """Convolutions over the frames around each frame, [B S D] -> [B S D]."""
    k, activation = sizes.position_kernel, ACTIVATIONS[sizes.conv_activation]

    def convolve(p: Linear, x: Array) -> Array:
        return conv1d(p, x, k, padding=(k // 2, (k - 1) // 2), groups=sizes.position_groups)

    if isinstance(p, Position):
        direction = rearrange(p.direction.astype(jnp.float32), "(w i) o -> w i o", w=k)
        norm = jnp.sqrt(jnp.square(direction).sum((1, 2)))
        kernel = rearrange(direction * (p.length.astype(jnp.float32) / norm)[:, None, None], "w i o -> (w i) o")
        return activation(convolve(Linear(kernel, p.bias), x))
    for each in p:
        x = activation(layer_norm(_UNSCALED, convolve(each, x), _CONV_EPS))
        x = jnp.where(mask[..., None], x, 0)
    return x


def distance_bias(table: Array, frames: int, max_distance: int) -> Array:
    """Bias of the attention by the distance from the query to the key, [buckets N] -> f32[N S S].

    Buckets are exact near the query and coarse far from it.
    """
    half = table.shape[0] // 2  # of them for keys that come later
    exact = half // 2
    far = np.arange(1 - frames, frames)
    away = np.abs(far)
    # in float32 as transformers has it: where a border falls on a whole distance, rounding decides
    octaves = np.log(np.maximum(away, 1).astype(np.float32) / np.float32(exact))
    steps = octaves / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)
    coarse = np.minimum((exact + steps).astype(np.int32), half - 1)
    bucket = np.where(away < exact, away, coarse) + half * (far > 0)
    between = jnp.arange(frames)[None] - jnp.arange(frames)[:, None] + frames - 1
    return rearrange(table.astype(jnp.float32)[bucket][between], "q k n -> n q k")


def _gate(p: Gate, x: Array) -> Array:
    """Factor of the attention's bias for each query, [B S D] -> f32[B N S]."""
    y = linear(p.linear, rearrange(x, "b s (n h) -> b s n h", n=p.scale.shape[0])).astype(jnp.float32)
    a, b = jax.nn.sigmoid(rearrange(y, "b s n (two four) -> two b n s four", two=2).sum(-1))
    return a * (b * p.scale.astype(jnp.float32)[None, :, None] - 1) + 2
