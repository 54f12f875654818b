"""Speech: log-mel spectrogram in the graph, convolutional stem (100 Hz -> 25 Hz), transformer, pooling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax.config import MelEncoderConfig
from emojax.nn.layers import Linear, Norm, conv1d, declare_linear, declare_norm, gelu, layer_norm
from emojax.nn.transformer import Transformer, declare_transformer, sinusoids, transformer
from emojax.parallel.sharding import clip_by_clip
from emojax.types import Array

SAMPLE_RATE, WINDOW, HOP = 16_000, 400, 160


@struct.dataclass
class Audio:
    stem: tuple[Linear, Linear]
    stem_norms: tuple[Norm, Norm]
    transformer: Transformer


def declare(sizes: MelEncoderConfig) -> Audio:
    stem = (declare_linear(3 * sizes.mels, sizes.width, "- D"), declare_linear(3 * sizes.width, sizes.width, "- D"))
    norms = (declare_norm(sizes.width), declare_norm(sizes.width))
    return Audio(stem, norms, declare_transformer(sizes.width, sizes.layers, sizes.heads, sizes.ff))


@functools.cache
def mel_filters(mels: int) -> np.ndarray:
    """Triangular filters [WINDOW // 2 + 1, mels], evenly spaced on Slaney's mel scale, of unit area (as in librosa)."""
    hz = np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1)
    step = np.log(6.4) / 27  # logarithmic above 1 kHz, linear (200/3 Hz a mel) below

    def to_hz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(step * (mel - 15)))

    edges = to_hz(np.linspace(0, 15 + np.log(SAMPLE_RATE / 2 / 1000) / step, mels + 2))
    up = (hz[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    down = (edges[2:] - hz[:, None]) / np.diff(edges)[1:]
    return (np.maximum(0, np.minimum(up, down)) * 2 / (edges[2:] - edges[:-2])).astype(np.float32)


def log_mel(audio: Array, length: Array, mels: int) -> tuple[Array, Array]:
    """Waveforms f32[B A] at 16 kHz -> log10 energies f32[B A/160 mels], about -1..1, and their mask bool[B A/160].

    Frames are centred on multiples of 10 ms; what lies beyond `length` (i32[B], samples) is silence. The scale is
    fixed, not fitted to the clip, because loudness tells emotion.
    """
    frames = audio.shape[1] // HOP
    audio = jnp.where(jnp.arange(audio.shape[1])[None] < length[:, None], audio, 0)
    audio = jnp.pad(audio, ((0, 0), (WINDOW // 2, WINDOW // 2)))
    windows = audio[:, np.arange(frames)[:, None] * HOP + np.arange(WINDOW)]
    spectrum = clip_by_clip(jnp.fft.rfft, windows * np.hanning(WINDOW + 1)[None, None, :-1].astype(np.float32))
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    energy = jnp.einsum("bsf,fm->bsm", power, mel_filters(mels), precision=jax.lax.Precision.HIGHEST)
    mask = jnp.arange(frames)[None] * HOP < length[:, None]
    return jnp.where(mask[..., None], (jnp.log10(jnp.maximum(energy, 1e-8)) + 4) / 4, 0), mask


def encode(
    p: Audio, audio: Array, length: Array, sizes: MelEncoderConfig, dtype: jnp.dtype, remat: bool
) -> tuple[Array, Array]:
    """Waveforms f32[B A], i32[B] samples -> [B S width], bool[B S], 40 ms a position."""
    x, mask = log_mel(audio, length, sizes.mels)
    x = x.astype(dtype)
    for stem, norm in zip(p.stem, p.stem_norms, strict=True):
        mask = mask[:, ::2]
        # normed, or the audio would be small beside the positions that are added to it
        x = jnp.where(mask[..., None], gelu(layer_norm(norm, conv1d(stem, x, width=3, stride=2))), 0)
    x = x + sinusoids(x.shape[1], sizes.width)[None].astype(dtype)
    return transformer(p.transformer, x, mask, sizes.heads, remat), mask
