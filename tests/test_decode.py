"""Decoding a token at a time with a cache equals reading the whole caption at once; padding changes nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax import param
from emojax.config import LlamaConfig, Sampling
from emojax.decoder import lm
from emojax.decoder.captioner import shifted
from emojax.decoder.logits import sharpened
from emojax.decoder.sample import Drawing, noise, rollout
from emojax.training.tokens import Read, Rule, token_scores
from emojax.types import Prefix
from support import made_up

SIZES = [
    LlamaConfig(vocab=300, width=40, layers=3, heads=6, kv_heads=2, head_width=8, ff=56),
    LlamaConfig(vocab=97, width=24, layers=1, heads=5, kv_heads=1, head_width=6, ff=31, tie=False, qkv_bias=False),
    LlamaConfig(vocab=513, width=16, layers=2, heads=4, kv_heads=4, head_width=10, ff=20, rope_theta=1e6),
]
CASES = [  # every size, every way to restrict
    (SIZES[0], Sampling(temperature=1.3, top_p=0.8, repetition_penalty=1.4)),
    (SIZES[1], Sampling(temperature=0.7, top_k=20, min_p=0.02)),
    (SIZES[2], Sampling()),
]


def weights(cfg: LlamaConfig, seed: int = 0) -> lm.Lm:
    """Ten times the initial embeddings, so that the distributions are far from flat."""
    p = param.init(lm.declare(cfg), jax.random.key(seed))
    return p.replace(embed=10 * p.embed)


def prefix(cfg: LlamaConfig, clips: int = 3, positions: int = 7, seed: int = 1) -> Prefix:
    r = np.random.default_rng(seed)
    mask = r.random((clips, positions)) < 0.6
    mask[:, 0] = True
    return Prefix(jnp.asarray(r.normal(size=(clips, positions, cfg.width)), jnp.float32), jnp.asarray(mask))


@pytest.mark.parametrize(("cfg", "sampling"), CASES, ids=str)
def test_log_probabilities_of_the_sampler_equal_those_of_the_update(cfg: LlamaConfig, sampling: Sampling) -> None:
    p, pre = weights(cfg), prefix(cfg)
    cache = lm.prefill(p, pre, cfg)
    clip = jnp.arange(3, dtype=jnp.uint32)
    out = rollout(p, cache, pre.mask, noise(jax.random.key(2), clip, 5), length=11, how=Drawing(sampling), sizes=cfg)
    hidden = lm.suffix(p, cache, pre.mask, shifted(out.ids, 1), cfg)
    again = token_scores(Read(hidden, lm.head(p)), out.ids, out.mask, Rule(cfg.vocab, sampling))
    assert out.mask.any(), "nothing was sampled"
    np.testing.assert_allclose(np.where(out.mask, again.logp, 0), out.logp, atol=2e-5)


def test_a_temperature_of_the_program_is_that_of_a_configuration() -> None:
    """Whatever else restricts tokens: captions are the same, and so are their scores."""
    cfg, cold = SIZES[1], CASES[1][1]
    warm, (p, pre) = dataclasses.replace(cold, temperature=1.4), (weights(cfg), prefix(cfg))
    cache, keys = lm.prefill(p, pre, cfg), noise(jax.random.key(2), jnp.arange(3, dtype=jnp.uint32), 5)
    sharpness = jnp.float32(warm.temperature / cold.temperature)
    wanted, found = (
        rollout(p, cache, pre.mask, keys, length=8, how=how, sizes=cfg)
        for how in (Drawing(cold), Drawing(warm, sharpness=sharpness))
    )
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_allclose(found.logp, wanted.logp, atol=2e-5)
    hidden = sharpened(lm.suffix(p, cache, pre.mask, shifted(found.ids, 1), cfg), sharpness)
    again = token_scores(Read(hidden, lm.head(p)), found.ids, found.mask, Rule(cfg.vocab, warm))
    np.testing.assert_allclose(np.where(found.mask, again.logp, 0), wanted.logp, atol=2e-5)


@pytest.mark.parametrize("cfg", SIZES, ids=str)
def test_padding_in_the_prefix_changes_nothing(cfg: LlamaConfig) -> None:
    p, pre = weights(cfg), prefix(cfg)
    ids = jnp.asarray(np.random.default_rng(3).integers(0, cfg.vocab, (3, 2, 6)))
    hidden = lm.suffix(p, lm.prefill(p, pre, cfg), pre.mask, ids, cfg)
    for row in range(2):  # the same clip alone, its padding taken out
        kept = np.flatnonzero(pre.mask[row])
        bare = Prefix(pre.embed[row : row + 1, kept], jnp.ones((1, len(kept)), bool))
        alone = lm.suffix(p, lm.prefill(p, bare, cfg), bare.mask, ids[row : row + 1], cfg)
        np.testing.assert_allclose(alone[0], hidden[row], atol=2e-5)


@pytest.mark.parametrize("cfg", SIZES, ids=str)
def test_a_shared_prefix_equals_one_sequence_per_sample(cfg: LlamaConfig) -> None:
    """G·(P + T) positions with plain causal attention give what the shared prefix gives for P + G·T."""
    p, pre = weights(cfg), prefix(cfg)
    pre = pre.replace(mask=jnp.ones_like(pre.mask))
    ids = jnp.asarray(np.random.default_rng(4).integers(0, cfg.vocab, (3, 2, 6)))
    hidden = lm.suffix(p, lm.prefill(p, pre, cfg), pre.mask, ids, cfg)
    for g in range(2):
        whole = jnp.concatenate([pre.embed, p.embed[ids[:, g]]], 1)
        first = Prefix(whole[:, :1], jnp.ones((3, 1), bool))  # one position as the prefix, the rest read as its suffix
        rest = _suffix_of_embeddings(p, lm.prefill(p, first, cfg), first.mask, whole[:, 1:], cfg)
        np.testing.assert_allclose(rest[:, -6:], hidden[:, g], atol=2e-5)


def _suffix_of_embeddings(p: lm.Lm, cache, mask, embed, cfg: LlamaConfig):
    """`lm.suffix` of given embeddings: a table that holds them, and ids that count through it."""
    b, t, d = embed.shape
    ids = jnp.arange(b * t).reshape(b, 1, t)
    return lm.suffix(p.replace(embed=embed.reshape(-1, d)), cache, mask, ids, cfg)[:, 0]


def test_a_greedy_caption_beside_sampled_ones_is_the_most_probable_tokens_and_changes_no_other() -> None:
    cfg, sampling = SIZES[0], Sampling(top_k=5, repetition_penalty=1.5)
    p, pre = weights(cfg), prefix(cfg)
    cache, clip = lm.prefill(p, pre, cfg), jnp.zeros(3, jnp.uint32)
    alone, out = (
        rollout(p, cache, pre.mask, keys, length=9, how=Drawing(sampling, greedy), sizes=cfg)
        for greedy, keys in ((False, noise(jax.random.key(0), clip, 2)), (True, noise(jax.random.key(0), clip, 3)))
    )
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y[:, :2]), (alone.ids, alone.mask), (out.ids, out.mask))
    ids, mask = out.ids[:, 2:], out.mask[:, 2:]
    logits = lm.suffix(p, cache, pre.mask, shifted(ids, 1), cfg) @ lm.head(p).T
    np.testing.assert_array_equal(np.where(mask, logits.argmax(-1), 0), np.where(mask, ids, 0))


def test_made_up_clips_lack_streams() -> None:
    batch = made_up.batch(made_up.config())
    assert (batch.audio_length == 0).any()
    assert (~batch.video_mask.any(-1)).any()
