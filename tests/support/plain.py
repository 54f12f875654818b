"""The captioner and the two losses once more, as a textbook has them, in float64: no shared prefix, no cache, no masks,
no chunks, no scan, no accumulation, one sequence [prefix, caption] per sample.

A stream that a clip lacks and a transcript's padding are not there at all; what follows the end of a sequence is
padding, which causal attention cannot see. To be called inside `jax.enable_x64(True)`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emojax.config import Config, LlamaConfig
from emojax.encoders.audio import mel_filters

STREAM, TOKEN = 0, 1


def double(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.asarray(x, np.float64) if np.asarray(x).dtype == np.float32 else x, tree)


def layer(stacked: Any, l: int) -> Any:
    return jax.tree.map(lambda w: w[l], stacked)


def affine(p, x):
    return x @ p.w + (0 if p.b is None else p.b)


def layer_norm(p, x):
    y = x - x.mean(-1, keepdims=True)
    return y / jnp.sqrt((y**2).mean(-1, keepdims=True) + 1e-5) * p.scale + p.bias


def rms_norm(p, x, eps):
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + eps) * p.scale


def gelu(x):
    return x * jax.scipy.stats.norm.cdf(x)


def attend(q, k, v, mask):
    """[S heads H] of one sequence; a head of its own for each query."""
    scores = jnp.einsum("tnh,snh->nts", q, k) / math.sqrt(q.shape[-1])
    scores = scores if mask is None else jnp.where(mask, scores, -np.inf)
    return jnp.einsum("nts,snh->tnh", jax.nn.softmax(scores), v)


def heads(p, x, h):
    return (affine(w, x).reshape(x.shape[0], -1, h) for w in (p.q, p.k, p.v))


def sinusoids(positions, d):
    table = np.zeros((positions, d))
    for i in range(d // 2):
        angle = np.arange(positions) * 10_000.0 ** (-i / (d // 2 - 1))
        table[:, i], table[:, d // 2 + i] = np.sin(angle), np.cos(angle)
    return 0.1 * table


def transformer(p, x, n):
    for l in range(p.layers.mlp.up.w.shape[0]):
        w = layer(p.layers, l)
        q, k, v = heads(w.attention, layer_norm(w.attention_norm, x), x.shape[-1] // n)
        x = x + affine(w.attention.o, attend(q, k, v, None).reshape(x.shape[0], -1))
        x = x + affine(w.mlp.down, gelu(affine(w.mlp.up, layer_norm(w.mlp_norm, x))))
    return layer_norm(p.norm, x)


def pool(x, tokens):
    n = x.shape[0]
    return jnp.stack([x[i * n // tokens : -(-(i + 1) * n // tokens)].mean(0) for i in range(tokens)])


def log_mel(audio, mels):
    """Of one whole recording, on the host."""
    padded = np.pad(audio.astype(np.float64), 200)
    rows = []
    for start in range(0, len(audio), 160):
        window = np.pad(padded[start : start + 400], (0, max(0, start + 400 - len(padded))))
        power = np.abs(np.fft.rfft(window * np.hanning(401)[:-1])) ** 2
        rows.append((np.log10(np.maximum(power @ mel_filters(mels).astype(np.float64), 1e-8)) + 4) / 4)
    return np.stack(rows)


def hear(encoders, mel, cfg: Config):
    """[frames mels] -> [audio.tokens D]"""
    x = mel
    for stem, norm in zip(encoders.audio.stem, encoders.audio.stem_norms, strict=True):
        at = np.arange(0, x.shape[0], 2)[:, None] + np.arange(3)
        x = gelu(layer_norm(norm, affine(stem, jnp.pad(x, ((1, 2), (0, 0)))[at].reshape(len(at), -1))))
    x = transformer(encoders.audio.transformer, x + sinusoids(*x.shape), cfg.model.audio.heads)
    projector = encoders.audio_projector
    return affine(projector.linear, layer_norm(projector.norm, pool(x, cfg.model.audio.tokens)))


def see(encoders, video, cfg: Config):
    """u8[frames height width 3] -> [video.tokens D]"""

    def one(frame):
        x = frame / 127.5 - 1
        for stem, norm in zip(encoders.video.stem, encoders.video.stem_norms, strict=True):
            at = np.arange(0, x.shape[0], 2)[:, None] + np.arange(3)
            windows = jnp.pad(x, ((1, 2), (1, 2), (0, 0)))[at[:, None, :, None], at[None, :, None, :]]
            x = gelu(layer_norm(norm, affine(stem, windows.reshape(len(at), len(at), -1))))
        x = x.reshape(-1, x.shape[-1])
        x = transformer(encoders.video.spatial, x + sinusoids(*x.shape), cfg.model.video.heads)
        return affine(encoders.video.frame, x.ravel())

    x = jax.vmap(one)(video)
    x = x + sinusoids(*x.shape)
    x = transformer(encoders.video.temporal, x, cfg.model.video.heads)
    projector = encoders.video_projector
    return affine(projector.linear, layer_norm(projector.norm, pool(x, cfg.model.video.tokens)))


def streams(encoders, mel, video, cfg: Config):
    """All clips' streams, [B audio.tokens + video.tokens D]; those of a stream that a clip lacks are never read."""
    return jax.vmap(lambda m, v: jnp.concatenate([hear(encoders, m, cfg), see(encoders, v, cfg)]))(mel, video)


def name_emotion(encoders, x):
    """Log-probabilities of the emotions, [there D] -> [C]."""
    return jax.nn.log_softmax(affine(encoders.emotion, x.mean(0)))


def name_attributes(encoders, x, counts):
    """Log-probabilities of the values of each attribute, [there D] -> [values] each."""
    logits = affine(encoders.attributes, x.mean(0))
    return [jax.nn.log_softmax(part) for part in jnp.split(logits, np.cumsum(counts)[:-1])]


def words(p, x, cfg: LlamaConfig):
    """Log-probabilities of the words of a caption in any order, [there D] -> [V]."""
    return jax.nn.log_softmax(rms_norm(p.norm, x.mean(0), cfg.norm_eps) @ p.embed.T)


def rotate(x, theta):
    """Position s of [S heads H] turned by s: pair i with i + H/2, at theta^(-2i/H)."""
    s, _, h = x.shape
    angle = np.arange(s)[:, None, None] * theta ** (-2 * np.arange(h // 2) / h)
    a, b = x[..., : h // 2], x[..., h // 2 :]
    turned = (a + 1j * b) * np.exp(1j * angle)
    return jnp.concatenate([turned.real, turned.imag], -1)


def decoder(p, x, cfg: LlamaConfig):
    """Embeddings of one sequence [S D] -> logits [S V]."""
    causal = np.tri(x.shape[0], dtype=bool)
    for l in range(cfg.layers):
        w = layer(p.layers, l)
        q, k, v = heads(w.attention, rms_norm(w.attention_norm, x, cfg.norm_eps), cfg.head_width)
        k, v = (jnp.repeat(y, cfg.heads // cfg.kv_heads, 1) for y in (rotate(k, cfg.rope_theta), v))
        y = attend(rotate(q, cfg.rope_theta), k, v, causal)
        x = x + affine(w.attention.o, y.reshape(x.shape[0], -1))
        y = rms_norm(w.mlp_norm, x, cfg.norm_eps)
        gate = affine(w.mlp.gate, y)
        x = x + affine(w.mlp.down, gate / (1 + jnp.exp(-gate)) * affine(w.mlp.up, y))
    return rms_norm(p.norm, x, cfg.norm_eps) @ (p.embed if p.head is None else p.head).T


def sequence(batch, row: int, ids: np.ndarray, cfg: Config) -> np.ndarray:
    """What one sample's sequence is made of, [S, 2]: (STREAM, which position of the clip's streams) or (TOKEN, id);
    and, in the last row, where the caption's first logit stands."""
    hears, sees = cfg.model.audio.tokens, cfg.model.video.tokens
    items = [(STREAM, i) for i in range(hears) if batch.audio_length[row] > 0]
    items += [(STREAM, hears + i) for i in range(sees) if batch.video_mask[row].any()]
    items += [(TOKEN, i) for i in batch.transcript[row][batch.transcript_mask[row]]]
    first = len(items)
    items += [(TOKEN, cfg.model.decoder.start_token), *((TOKEN, i) for i in ids[:-1])]
    longest = hears + sees + batch.transcript.shape[1] + len(ids)
    return np.array([*items, *[(TOKEN, 0)] * (longest - len(items)), (first, first)])


def logits(p, clip_streams, sequences, length: int, cfg: LlamaConfig):
    """[B ... D], i32[B G S+1 2] from `sequence` -> [B G T V] at the caption's positions."""

    def one(clip, items):
        kind, index = items[:-1, 0], items[:-1, 1]
        read = clip[jnp.where(kind == STREAM, index, 0)]
        x = jnp.where((kind == TOKEN)[:, None], p.embed[jnp.where(kind == TOKEN, index, 0)], read)
        return jax.lax.dynamic_slice_in_dim(decoder(p, x, cfg), items[-1, 0], length)

    return jax.vmap(jax.vmap(one, (None, 0)))(clip_streams, sequences)


def log_probability(p, clip_streams, sequences, ids, cfg: LlamaConfig, temperature=1.0, support=None):
    """[B G T]; `support` bool[B G T V] is what tokens were drawn from."""
    x = logits(p, clip_streams, sequences, ids.shape[-1], cfg) / temperature
    x = x if support is None else jnp.where(support, x, -np.inf)
    return jnp.take_along_axis(jax.nn.log_softmax(x), ids[..., None], -1)[..., 0]


def top_k(x: np.ndarray, k: int) -> np.ndarray:
    return x >= np.sort(x, -1)[..., -k, None]


def advantage(reward: np.ndarray, scale: str) -> np.ndarray:
    """[B G]; arXiv 2402.03300, section 4.1.2, with δ = 1e-4."""
    reward = reward.astype(np.float64)
    centred = reward - reward.mean(1, keepdims=True)
    return centred / (reward.std(1, keepdims=True) + 1e-4) if scale == "group" else centred


def weights(mask: np.ndarray, ended: np.ndarray, loss: str, mask_truncated: bool) -> np.ndarray:
    """What each token's term counts in the objective, [B G T]."""
    w = np.zeros(mask.shape)
    kept = [(b, g) for b, g in np.ndindex(mask.shape[:2]) if ended[b, g] or not mask_truncated]
    tokens = sum(mask[b, g].sum() for b, g in kept)
    for b, g in kept:
        each = {
            "grpo": 1 / (len(kept) * mask[b, g].sum()),
            "dapo": 1 / tokens,
            "dr_grpo": 1 / mask.size,
        }[loss]
        w[b, g] = np.where(mask[b, g], each, 0)
    return w


def objective(logp, old, reference, advantage, beta, low, high):
    """Per token: min(ρA, clip(ρ)A) - β (π_ref/π - log(π_ref/π) - 1); arXiv 2402.03300, equations 3 and 4.

    Where π_ref/π is more than 10, the divergence is on its tangent there (ours).
    """
    a = advantage[..., None]
    ratio = jnp.exp(logp - old)
    gap = reference - logp
    divergence = jnp.where(gap < jnp.log(10), jnp.exp(gap) - gap - 1, 9 * gap + 9 - 10 * jnp.log(10))
    clipped = jnp.where(ratio < 1 - low, 1 - low, jnp.where(ratio > 1 + high, 1 + high, ratio))
    return jnp.minimum(ratio * a, clipped * a) - beta * divergence
