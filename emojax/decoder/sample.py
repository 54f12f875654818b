"""Group rollout: one `while_loop` that ends when every caption has ended. Greedy decoding is the same loop.

A token is drawn with one uniform number by inverse CDF. The number's key names it (run, step, clip, sample,
position), so a caption does not depend on the mesh, the order of the batch, the micro-batch or a resume.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from emojax.config import DecoderConfig, Sampling
from emojax.decoder import lm
from emojax.decoder.logits import logits, penalty, restrict, sharpened
from emojax.parallel.sharding import constrain, gathered
from emojax.types import Array, KVCache, Rollout

TOKENS = 4  # between two looks at whether every caption has ended, for which all devices wait for each other


@struct.dataclass
class Drawing:
    """How tokens are chosen."""

    # None: the most probable one (logp is then that of the untempered distribution)
    sampling: Sampling | None = struct.field(pytree_node=False)
    # the last caption of each clip takes the most probable tokens, whatever the others do
    greedy: bool = struct.field(pytree_node=False, default=False)
    sharpness: Array | None = None  # f32[] that logits are multiplied by before `sampling.temperature`; None: 1
    given: Array | None = None  # i32[B G T] tokens that are taken in place of drawn ones


@struct.dataclass
class _Carry:
    t: Array
    last: Array  # i32[B G]
    own: KVCache
    ids: Array  # i32[B G T]
    logp: Array  # f32[B G T]
    ended: Array  # bool[B G]


def noise(key: Array, clip_id: Array, group: int) -> Array:
    """Keys [B G] of samples, named by clip (u32[B]) and sample number; `key` is that of the run and the step."""

    def one(clip: Array, sample: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, clip), sample)

    return jax.vmap(lambda c: jax.vmap(lambda g: one(c, g))(jnp.arange(group)))(clip_id)


def rollout(
    p: lm.Lm,
    cache: KVCache,
    prefix_mask: Array,
    keys: Array,
    *,
    length: int,
    how: Drawing,
    sizes: DecoderConfig,
) -> Rollout:
    """Captions of at most `length` tokens, a key each.

    Args:
      cache: of the prefixes, [L B P K H].
      keys: [B G], the names of the samples in the noise (`noise`).
    """
    (b, group), sampling = keys.shape, how.sampling
    p = gathered(lm.declare(sizes), p)
    keys = constrain(keys, "B G")
    cache = lm.heads_first(cache)
    layers, _, heads, _, width = cache.k.shape
    shape = (layers, b, group, heads, length, width)
    own = KVCache(jnp.zeros(shape, cache.k.dtype), jnp.zeros(shape, cache.v.dtype))
    zero = jnp.zeros((b, group, length), jnp.int32)
    first = jnp.full((b, group), sizes.start_token, jnp.int32)
    carry = _laid(_Carry(jnp.int32(0), first, own, zero, zero.astype(jnp.float32), jnp.zeros((b, group), bool)))

    def one_token(c: _Carry) -> _Carry:
        hidden, own = lm.extend(p, cache, c.own, prefix_mask, c.last, c.t, sizes)
        scores = logits(sharpened(hidden, how.sharpness), lm.head(p), sizes.vocab)
        if sampling is None:
            token, logp = likeliest(scores)
        else:
            if how.given is None:
                uniform = jax.vmap(jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, c.t))))(keys)
                choose = partial(draw, uniform=uniform)
            else:
                choose = partial(_told, given=how.given, t=c.t)
            before = jnp.where(jnp.arange(length) < c.t, c.ids, -1)
            token, logp = choose(restrict(scores * penalty(scores, before, sampling), sampling))
        if how.greedy:
            last = jnp.arange(group) == group - 1
            token, logp = jax.tree.map(
                lambda best, drawn: jnp.where(last, best, drawn), likeliest(scores), (token, logp)
            )
        token = jnp.where(c.ended, 0, token)
        logp = jnp.where(c.ended, 0, logp)
        c = _Carry(
            t=c.t + 1,
            last=token,
            own=own,
            ids=jax.lax.dynamic_update_slice_in_dim(c.ids, token[..., None], c.t, 2),
            logp=jax.lax.dynamic_update_slice_in_dim(c.logp, logp[..., None], c.t, 2),
            ended=c.ended | (token == sizes.end_token),
        )
        return _laid(c)

    def some_tokens(c: _Carry) -> _Carry:
        stop = jnp.minimum(c.t + TOKENS, length)
        return jax.lax.while_loop(lambda c: c.t < stop, one_token, c)

    c = jax.lax.while_loop(lambda c: (c.t < length) & ~c.ended.all(), some_tokens, carry)
    is_end = (c.ids == sizes.end_token).astype(jnp.int32)
    mask = jnp.cumsum(is_end, -1) - is_end == 0  # up to and including the first end token
    return Rollout(ids=c.ids, mask=mask, logp=c.logp, ended=c.ended)


def _told(logits: Array, given: Array, t: Array) -> tuple[Array, Array]:
    """The tokens of position `t`, and their log-probabilities under f32[B G V]."""
    token = jax.lax.dynamic_index_in_dim(given, t, 2, keepdims=False)
    chosen = jnp.take_along_axis(logits, token[..., None], -1)[..., 0]
    return token, chosen - jax.nn.logsumexp(logits, -1)


def _laid(c: _Carry) -> _Carry:
    """Cut over clips and samples, the keys and values over heads, too."""
    (last, ids, logp, ended), own = constrain((c.last, c.ids, c.logp, c.ended), "B G"), constrain(c.own, "- B G K")
    return _Carry(c.t, last, own, ids, logp, ended)


def likeliest(logits: Array) -> tuple[Array, Array]:
    """The first of the likeliest tokens, i32[...], and its log-probability, of f32[... V].

    By the maximum and a comparison with it: on a CPU `argmax` takes three times as long. Where there is no number, the
    last token.
    """
    top, last = logits.max(-1, keepdims=True), logits.shape[-1] - 1
    token = jnp.where(logits == top, jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1), last).min(-1)
    return token, top[..., 0] - jax.nn.logsumexp(logits, -1)


def draw(logits: Array, uniform: Array) -> tuple[Array, Array]:
    """The token whose slice of the cumulative distribution holds `uniform`, and its log-probability.

    The sum runs over blocks, then inside one block: short sums keep their float32 digits, and only one block of the
    exponentials is ever held. A token whose probability is zero is never drawn.

    Args:
      logits: f32[... V]
      uniform: f32[...] in [0, 1)

    >>> logits = jnp.log(jnp.array([[0.2, 0.0, 0.5, 0.3]] * 4))
    >>> token, logp = draw(logits, jnp.array([0.1, 0.3, 0.6, 0.9]))
    >>> token.tolist(), [round(p, 2) for p in jnp.exp(logp).tolist()]
    ([0, 2, 2, 3], [0.2, 0.5, 0.5, 0.3])
    """
    v = logits.shape[-1]
    width = 1 << math.ceil(math.log2(math.sqrt(v)))
    top = logits.max(-1, keepdims=True)
    padded = jnp.pad(logits, [(0, 0)] * (logits.ndim - 1) + [(0, -v % width)], constant_values=-jnp.inf)
    blocks = padded.reshape(*logits.shape[:-1], -1, width)
    ends = jnp.cumsum(jnp.exp(blocks - top[..., None]).sum(-1), -1)
    total = ends[..., -1]
    target = uniform * total
    block = _first_above(ends, target)
    before = jnp.where(block > 0, jnp.take_along_axis(ends, jnp.maximum(block - 1, 0)[..., None], -1)[..., 0], 0)
    chosen = jnp.take_along_axis(blocks, block[..., None, None], -2)[..., 0, :]
    inner = _first_above(jnp.cumsum(jnp.exp(chosen - top), -1), target - before)
    token = block * width + inner
    logp = jnp.take_along_axis(chosen, inner[..., None], -1)[..., 0] - top[..., 0] - jnp.log(total)
    return token.astype(jnp.int32), logp


def _first_above(cumulative: Array, target: Array) -> Array:
    """Index of the first sum above `target`; where rounding leaves none, of the last one that grew."""
    size = cumulative.shape[-1]
    above = cumulative > target[..., None]
    grew = jnp.diff(cumulative, axis=-1, prepend=0) > 0
    last = size - 1 - jnp.argmax(grew[..., ::-1], -1)
    return jnp.where(above.any(-1), jnp.argmax(above, -1), last)
