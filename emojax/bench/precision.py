"""`emojax bench precision`: how far a decoder's next-token logits move when its weights are kept in fewer bits.

The decoder of a configuration, pretrained or random, reads random tokens as prefix and as caption. Its own float32
weights are the measure of each `frozen_precision`; everything is computed in float32.
"""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emojax import param
from emojax.config import Config
from emojax.decoder import captioner, lm, pretrained
from emojax.nn import adapter
from emojax.nn.layers import Linear
from emojax.parallel import sharding
from emojax.training import freeze
from emojax.training.program import abstract_weights
from emojax.types import Array, Prefix, Tree

PRECISIONS = ("bfloat16", "int8")


def main(cfg: Config, clips: int, prefix: int, length: int) -> None:
    """Measures the decoder that training with `cfg` would begin with, and prints one JSON line."""
    cfg = pretrained.resolve(cfg, fetch=True)
    mesh = sharding.make_mesh(dataclasses.replace(cfg, mesh=type(cfg.mesh)()), jax.local_devices()[:1])
    like = abstract_weights(captioner.declare(cfg), mesh)
    whole = pretrained.initial(cfg, param.split(like, lambda path: path.startswith("decoder."))[0])
    told = {"config": cfg.name, "decoder": cfg.model.decoder.weights or "random"}
    print(json.dumps(told | measure(cfg, whole.decoder, clips, prefix, length)), flush=True)


def measure(cfg: Config, decoder: Tree, clips: int, prefix: int, length: int) -> dict[str, Any]:
    """By precision: root mean square errors of linear weights and of logits over the exact numbers', the mean KL
    divergence of the next token's distribution from the exact one (nats), how often the likeliest token is the same.

    Args:
      decoder: float32.
      prefix, length: tokens of each clip's prefix and of its one caption.
    """
    exact = _logits(cfg, decoder, clips, prefix, length)
    found: dict[str, Any] = {}
    for precision in PRECISIONS:
        kept = freeze.kept(decoder, dataclasses.replace(cfg, frozen_precision=precision))
        other = _logits(cfg, kept, clips, prefix, length)
        p, q = jax.nn.log_softmax(exact), jax.nn.log_softmax(other)
        found[precision] = {
            "weights_relative_rms": _relative(_dense(kept), _dense(decoder)),
            "logits_relative_rms": _relative([other], [exact]),
            "logits_largest": float(np.abs(other - exact).max()),
            "kl": float((jnp.exp(p) * (p - q)).sum(-1).mean()),
            "same_likeliest": float((exact.argmax(-1) == other.argmax(-1)).mean()),
        }
    return found


def _logits(cfg: Config, decoder: Tree, clips: int, prefix: int, length: int) -> np.ndarray:
    """f32[clips length V]"""
    vocab, sizes = cfg.model.decoder.vocab, cfg.model.decoder

    def run(decoder: Tree, key: Array) -> Array:
        a, b = jax.random.split(key)
        p = captioner.cast(decoder, dataclasses.replace(cfg, precision="float32"))
        words = lm.embed(p, jax.random.randint(a, (clips, prefix), 0, vocab), sizes, jnp.dtype("float32"))
        seen = jnp.ones(words.shape[:2], bool)
        cache = lm.prefill(p, Prefix(words, seen), sizes)
        ids = jax.random.randint(b, (clips, 1, length), 0, vocab)
        hidden = lm.suffix(p, cache, seen, ids, sizes)
        return jnp.einsum("bgtd,vd->bgtv", hidden, lm.head(p).astype(jnp.float32))[:, 0, :, :vocab]

    with jax.default_matmul_precision("float32"):
        return np.asarray(jax.jit(run)(decoder, jax.random.key(0)))


def _dense(tree: Tree) -> list[np.ndarray]:
    """The weights of linear maps."""
    found = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, Linear))
    return [np.asarray(adapter.dense(x.w), np.float32) for x in found if isinstance(x, Linear)]


def _relative(got: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """Root mean square of the errors over that of the numbers."""
    off = sum(float(np.square(g - w, dtype=np.float64).sum()) for g, w in zip(got, wanted, strict=True))
    return float(np.sqrt(off / sum(float(np.square(w, dtype=np.float64).sum()) for w in wanted)))
