"""Published speech encoders give what transformers gives for each clip alone, whatever bucket it lies in."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch", reason="parity with torch")

import torch
import transformers

from emojax import param
from emojax.encoders import layer_mix, wav2vec2, whisper
from support.speech_models import MODELS, SPEECH, clips, family, loaded, made, theirs


def run(name, tree, cfg, audio, length, dtype=jnp.float32):
    p = layer_mix.MixedLayers(tree, None)
    encode = jax.jit(family(name).encode, static_argnums=(3, 4, 5))
    features, mask = encode(p, audio, length, cfg, dtype, False)
    assert features.dtype == dtype
    return np.asarray(features.astype(jnp.float32)), np.asarray(mask)


def same(ours, wanted, tolerance=1e-5):
    assert ours.shape == wanted.shape
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("name", MODELS)
def test_a_padded_batch_equals_transformers_clip_by_clip(name, tmp_path):
    model = made(name, tmp_path)
    cfg, tree = loaded(name, tmp_path)
    audio, length = clips()
    features, mask = run(name, tree, cfg, audio, length)
    for row, n in enumerate(length):
        if n < 65 and name in SPEECH:
            assert not mask[row].any()
            continue
        wanted = theirs(name, model, tmp_path, audio[row, :n])[-1]
        sound = len(wanted) if name in SPEECH else -(-n // 320)
        assert mask[row].tolist() == [True] * sound + [False] * (features.shape[1] - sound)
        same(features[row, : len(wanted)], wanted)
    assert np.isfinite(features).all()


@pytest.mark.parametrize("name", ["wav2vec2-base", "wavlm-large", "whisper"])
def test_every_hidden_state_and_their_weighted_sum(name, tmp_path):
    model = made(name, tmp_path)
    cfg, tree = loaded(name, tmp_path)
    audio, length = clips(lengths=[503], bucket=530)
    states = theirs(name, model, tmp_path, audio[0, :503])
    numbers = np.linspace(-1, 1, len(states)).astype(np.float32)
    share = np.exp(numbers) / np.exp(numbers).sum()
    wanted = dict(enumerate(states)) | {-2: states[-2], -len(states): states[0]}
    wanted[None] = sum(w * h for w, h in zip(share, states, strict=True))

    @jax.jit
    def read(p):
        cfgs = [dataclasses.replace(cfg, layer=layer) for layer in wanted]
        return [family(name).encode(p, audio, length, c, jnp.float32, False)[0][0] for c in cfgs]

    for got, layer in zip(read(layer_mix.MixedLayers(tree, numbers)), wanted, strict=True):
        same(np.asarray(got)[: len(states[0])], wanted[layer])
    mix = param.init(family(name).declare(dataclasses.replace(cfg, layer=None)), jax.random.key(0)).mix
    assert mix.tolist() == [0] * len(states)
    assert family(name).declare(cfg).mix is None
    with pytest.raises(ValueError, match=rf"layer={len(states)}: .*0\.\.{len(states) - 1}"):
        family(name).declare(dataclasses.replace(cfg, layer=len(states)))


@pytest.mark.parametrize("name", ["wav2vec2-base", "data2vec-audio", "whisper"])
def test_a_longer_bucket_changes_nothing(name, tmp_path):
    made(name, tmp_path)
    cfg, tree = loaded(name, tmp_path)
    audio, length = clips()
    short, mask = run(name, tree, cfg, audio, length)
    long, sound = run(name, tree, cfg, np.pad(audio, ((0, 0), (0, 161)), constant_values=np.nan), length)
    assert not sound[:, short.shape[1] :].any()
    same(long[:, : short.shape[1]][mask], short[mask], 1e-6)
    empty, mask = run(name, tree, cfg, np.zeros((2, 0), np.float32), np.array([0, 0]))
    assert empty.shape[1] > 0
    assert np.isfinite(empty).all()
    assert not mask.any()


@pytest.mark.parametrize("name", ["wav2vec2-large", "wavlm-base", "whisper"])
def test_every_weight_learns_beside_clips_without_sound(name, tmp_path):
    made(name, tmp_path)
    cfg, tree = loaded(name, tmp_path)
    cfg = dataclasses.replace(cfg, layer=None)
    audio, length = clips()
    p = layer_mix.MixedLayers(tree, np.linspace(-1, 1, cfg.layers + 1).astype(np.float32))

    def loss(p):
        x, there = family(name).encode(p, audio, length, cfg, jnp.float32, True)
        return (jnp.where(there[..., None], x, 0) ** 2).sum()

    grad = {
        jax.tree_util.keystr(path, simple=True, separator="."): np.abs(g).max()
        for path, g in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(p))
    }
    assert np.isfinite(list(grad.values())).all()
    idle = {path for path, g in grad.items() if g < 1e-6 * max(grad.values())}
    # what shifts all scores of a softmax alike, or a channel that is then normed over time, does nothing
    assert idle <= {"backbone.layers.attention.k.b", "backbone.convs.0.linear.b"}


@pytest.mark.parametrize("name", ["wavlm-base", "whisper"])
def test_types_of_weights_and_activations_are_independent(name, tmp_path):
    made(name, tmp_path)
    cfg, tree = loaded(name, tmp_path)
    audio, length = clips()
    wanted, mask = run(name, tree, cfg, audio, length)
    half = jax.tree.map(lambda w: w.astype(jnp.bfloat16), tree)
    for p, dtype in ((tree, jnp.bfloat16), (half, jnp.float32)):
        got, _ = run(name, p, cfg, audio, length, dtype=dtype)
        assert np.abs(got - wanted)[mask].mean() < 0.05 * np.abs(wanted[mask]).mean()


def test_distances_fall_in_the_same_buckets():
    from transformers.models.wavlm.modeling_wavlm import WavLMAttention

    for buckets, far in ((320, 800), (32, 128), (14, 19)):
        attention = WavLMAttention(4, 1, num_buckets=buckets, max_distance=far)
        with torch.no_grad():
            attention.rel_attn_embed.weight[:, 0] = torch.arange(buckets)
            wanted = attention.compute_bias(1100, 1100).numpy()
        table = jnp.arange(buckets, dtype=jnp.float32)[:, None]
        np.testing.assert_array_equal(wav2vec2.distance_bias(table, 1100, far), wanted)


@pytest.mark.parametrize("mels", [80, 128])
def test_log_mel_is_that_of_whisper(mels):
    """Loud and soft clips, one that fills the window (its end is mirrored), silence, none."""
    extractor = transformers.WhisperFeatureExtractor(feature_size=mels, chunk_length=2)
    cfg = dataclasses.replace(whisper.WhisperConfig(), mels=mels, positions=100)
    lengths = [32_000, 17_123, 1, 9_600, 0]
    audio, length = clips(lengths=lengths, bucket=32_000)
    tone = np.sin(np.arange(32_000) * 0.2) * np.linspace(0, 1, 32_000)
    audio[1] += 0.5 * tone
    audio[3] = np.where(np.isnan(audio[3]), np.nan, 0)
    ours = np.asarray(whisper.log_mel(audio, length, cfg))
    for row, n in enumerate(lengths):
        clip = audio[row, :n] if n else np.zeros(1, np.float32)
        wanted = extractor(clip, sampling_rate=16_000, return_tensors="np").input_features[0].T
        np.testing.assert_allclose(ours[row], wanted, atol=1e-4)
    with pytest.raises(ValueError, match=r"window of 2 s \(32000 samples\), the audio has 2\.5 s"):
        whisper.log_mel(jnp.zeros((1, 40_000)), length[:1], cfg)
