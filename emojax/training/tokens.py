"""Log-probabilities and entropies of captions' tokens, and a loss of them with its gradient, from hidden states.

There is no array over positions and vocabulary: tokens are taken some hundred at a time. Loss and gradient of a token
are known as soon as its logits are, so logits are computed once: where a gradient is asked for, the forward pass makes
it, and the backward pass hands it on. What is off the mask is put last, and chunks that hold nothing else are skipped.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct

from emojax.config import Sampling
from emojax.decoder.logits import NEVER, earlier, logits, penalty, restrict
from emojax.nn.layers import beside
from emojax.parallel.sharding import constrain, cuts
from emojax.types import Array, Tree

CHUNK = 1 << 24  # logits of the tokens that a device scores at once, of each policy
LEAST = 128  # tokens at once, however large the vocabulary: products of fewer rows wait for the table to be read


@struct.dataclass
class Read:
    """What a policy made of captions, and its head."""

    hidden: Array  # [B G T D]
    head: Array  # [V D], rounded to the type of `hidden` where it is read; its gradient is summed in its own type


@struct.dataclass
class TokenScores:
    """Scores of each token under the distribution that it was drawn from; 0 off the mask. Without gradient."""

    logp: Array  # f32[B G T]
    entropy: Array  # f32[B G T] of that distribution, nats
    reference: Array | None  # f32[B G T] log-probability under the reference policy on the same support
    divergence: Array | None = None  # f32[B G T] KL(policy ‖ reference) over the vocabulary, where a Rule asks for it


Objective = Callable[[TokenScores, Tree], Array]
"""(scores f32[N], what is given of the same tokens) -> losses f32[N], of which a Rule says what they depend on."""


def surprise(scores: TokenScores, given: Tree) -> Array:
    """The objective of maximum likelihood."""
    return -scores.logp


@dataclass(frozen=True)
class Rule:
    """How a token was drawn, and what is asked of it."""

    vocab: int  # rows of a head that are tokens; those after them are padding
    sampling: Sampling
    entropy: bool = False  # an objective depends on the entropy
    divergence: bool = False  # the divergence is wanted, and an objective depends on it


@struct.dataclass
class _Captions:
    """All that is known of tokens, [B G T ...]."""

    hidden: Array
    ids: Array
    reference: Array | None  # hidden states of the reference policy
    drawn_by: Array | None  # and of the policy that drew the tokens, whose support they are scored on; None: it is this
    before: Array | None  # i32[B G T T] tokens of the caption before each; -1: none. None: no matter
    given: Tree


@struct.dataclass
class _Heads:
    own: Array
    reference: Array | None
    drawn_by: Array | None


def token_scores(
    read: Read, ids: Array, mask: Array, rule: Rule, reference: Read | None = None, drawn_by: Read | None = None
) -> TokenScores:
    """Scores of `ids` (i32[B G T]) where `mask` is True. It has no gradient: see `token_loss`.

    Args:
      reference: of the reference policy.
      drawn_by: of the policy that drew `ids`, whose support the tokens are scored on; None: it is this one.
    """
    captions, heads = _gathered(rule, read, ids, (), reference, drawn_by)
    return _chunks(rule, None, captions, heads, mask, (False, False))[1]


def token_loss(
    read: Read,
    ids: Array,
    mask: Array,
    rule: Rule,
    objective: Objective,
    given: Tree,
    reference: Read | None = None,
    drawn_by: Read | None = None,
) -> tuple[Array, TokenScores]:
    """The sum of losses where `mask` is True, f32[], and `token_scores`. It has a gradient for `read` alone.

    Args:
      objective: the loss of each token; it closes over no array.
      given: a tree of arrays [B G T] that it is given.
    """
    captions, heads = _gathered(rule, read, ids, given, reference, drawn_by)
    return _loss(rule, objective, captions, heads, mask)


def _gathered(
    rule: Rule, read: Read, ids: Array, given: Tree, reference: Read | None, drawn_by: Read | None
) -> tuple[_Captions, _Heads]:
    before = earlier(ids) if rule.sampling.repetition_penalty != 1 else None
    captions = _Captions(read.hidden, ids, reference and reference.hidden, drawn_by and drawn_by.hidden, before, given)
    return captions, _Heads(read.head, reference and reference.head, drawn_by and drawn_by.head)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _loss(
    rule: Rule, objective: Objective, captions: _Captions, heads: _Heads, mask: Array
) -> tuple[Array, TokenScores]:
    return _chunks(rule, objective, captions, heads, mask, (False, False))[:2]


def _forward(rule: Rule, objective: Objective, captions: Any, heads: Any, mask: Any) -> tuple[Any, Any]:
    asked = captions.hidden.perturbed, heads.own.perturbed
    captions, heads, mask = jax.tree.map(lambda x: x.value, (captions, heads, mask))
    *out, gradient = _chunks(rule, objective, captions, heads, mask, asked)
    return tuple(out), gradient


def _backward(rule: Rule, objective: Objective, gradient: Any, cotangents: Any) -> tuple[Any, Any, None]:
    total, (hidden, head) = cotangents[0], gradient
    if isinstance(total, jax.custom_derivatives.SymbolicZero):
        hidden = head = None

    def times(x: Array) -> Array:
        return x * total.astype(x.dtype)

    nothing: Any = None  # of what has no gradient
    return (
        _Captions(times(hidden) if hidden is not None else nothing, nothing, None, None, None, None),
        _Heads(times(head) if head is not None else nothing, None, None),
        None,
    )


_loss.defvjp(_forward, _backward, symbolic_zeros=True)


def _chunks(
    rule: Rule,
    objective: Objective | None,
    captions: _Captions,
    heads: _Heads,
    mask: Array,
    asked: tuple[bool, bool],
) -> tuple[Array, TokenScores, tuple[Array | None, Array | None]]:
    """Sum of losses, scores, and the gradient of the sum for hidden states and head, where it is asked for.

    Every device has its own tokens first, padding last, and sums a gradient of its own: they are added after the loop.
    """
    (x, y), (b, g, t) = cuts("B G", mask.shape), mask.shape
    kind, heads = heads.own.dtype, replace(heads, own=heads.own.astype(captions.hidden.dtype))
    size = b // x * (g // y) * t
    count = -(-size // max(CHUNK // heads.own.shape[0], LEAST))
    width = -(-size // count)

    def own(a: Array) -> Array:
        return constrain(rearrange(a, "(x b) (y g) t ... -> x y (b g t) ...", x=x, y=y), "B G")

    order = jnp.argsort(~own(mask), -1, stable=True)
    tokens = own(mask).sum(-1)

    def cut(a: Array) -> Array:
        a = _take(own(a), order)
        a = jnp.pad(a, [(0, 0), (0, 0), (0, count * width - size), *[(0, 0)] * (a.ndim - 3)])
        return constrain(rearrange(a, "x y (n c) ... -> n x y c ...", n=count), "- B G")

    def together(a: Array) -> Array:
        a = rearrange(a, "n x y c ... -> x y (n c) ...")[:, :, :size]
        a = rearrange(_take(a, jnp.argsort(order, -1)), "x y (b g t) ... -> (x b) (y g) t ...", b=b // x, g=g // y)
        return constrain(a, "B G")

    first = width * jnp.arange(count)
    start = jnp.zeros((x, y, *heads.own.shape), jnp.float32) if asked[1] else None

    def some(summed: Array | None, xs: tuple[Array, _Captions]) -> tuple[Array | None, Tree]:
        at, rows = xs
        valid = beside(tokens[..., None], at + jnp.arange(width)) < tokens[..., None]

        def do() -> Tree:
            loss, scores, (hidden, head) = _one(rule, objective, rows, heads, valid, asked)
            return None if summed is None or head is None else constrain(summed + head, "B G V"), (loss, scores, hidden)

        def skip() -> Tree:
            return summed, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(do)[1])

        return jax.lax.cond(at < tokens.max(), do, skip)

    start = constrain(start, "B G V")
    head, (loss, scores, hidden) = jax.lax.scan(some, start, (first, jax.tree.map(cut, captions)))
    scores, hidden = jax.tree.map(together, (scores, hidden))
    return loss.sum(), scores, (hidden, head if head is None else head.sum((0, 1)).astype(kind))


def _take(a: Array, order: Array) -> Array:
    """Rows of [x y N ...] in the order [x y N]."""
    return jnp.take_along_axis(a, order.reshape(*order.shape, *[1] * (a.ndim - 3)), 2)


def _one(
    rule: Rule, objective: Objective | None, rows: _Captions, heads: _Heads, valid: Array, asked: tuple[bool, bool]
) -> tuple[Array, TokenScores, tuple[Array | None, Array | None]]:
    """Of one chunk [x y c ...]: losses f32[x y], scores, and the gradient of their sum."""
    table, sampling = heads.own, rule.sampling
    plain = logits(rows.hidden, table, rule.vocab)
    factor = penalty(plain, rows.before, sampling)
    support = plain * factor
    if rows.drawn_by is None or heads.drawn_by is None:
        support = restrict(support, sampling, rows.ids)
    else:
        drew = logits(rows.drawn_by, heads.drawn_by, rule.vocab)
        drew = restrict(drew * penalty(drew, rows.before, sampling), sampling, rows.ids)
        support = jnp.where(drew > NEVER, support / sampling.temperature, NEVER)
    log_p = support - jax.nn.logsumexp(support, -1, keepdims=True)
    p = jnp.exp(log_p)
    log_p = jnp.maximum(log_p, NEVER)
    entropy = -(p * log_p).sum(-1)
    reference = divergence = beyond = None
    if rows.reference is not None and heads.reference is not None:
        other = logits(rows.reference, heads.reference, rule.vocab)
        other = other * penalty(other, rows.before, sampling) / sampling.temperature
        other = jnp.where(support > NEVER, other, NEVER)
        log_q = other - jax.nn.logsumexp(other, -1, keepdims=True)
        reference = _at(log_q, rows.ids)
        if rule.divergence:
            beyond = log_p - jnp.maximum(log_q, NEVER)
            divergence = (p * beyond).sum(-1)
    scores = TokenScores(_at(log_p, rows.ids), entropy, reference, divergence)
    kept = jax.tree.map(lambda a: jnp.where(valid, a, 0), scores)
    if objective is None:
        return jnp.zeros(valid.shape[:2]), kept, (None, None)
    varied = {"logp": scores.logp} | ({"entropy": entropy} if rule.entropy else {})
    varied |= {} if divergence is None else {"divergence": divergence}
    loss, pull = jax.vjp(lambda varied: objective(replace(scores, **varied), rows.given), varied)
    slope = {name: jnp.where(valid, x, 0)[..., None] for name, x in pull(jnp.ones_like(loss))[0].items()}
    # of the logits: (token - p) of a log-probability, -p (log p + H) of an entropy, p (log p - log q - KL) of a
    # divergence. Outside the support a token's is 0, as its probability is
    lean = -slope["logp"]
    if rule.entropy:
        lean = lean - slope["entropy"] * (log_p + entropy[..., None])
    if beyond is not None and divergence is not None:
        lean = lean + slope["divergence"] * (beyond - divergence[..., None])
    drawn = rows.ids[..., None]
    drawn = beside(drawn, jnp.arange(p.shape[-1])) == drawn
    pulled = jnp.where(drawn, slope["logp"] + lean * p, lean * p) * factor / sampling.temperature
    pulled = pulled.astype(table.dtype)
    hidden = head = None
    if asked[0]:
        hidden = jnp.einsum("xycv,vd->xycd", pulled, table, preferred_element_type=jnp.float32).astype(table.dtype)
    if asked[1]:
        head = jnp.einsum("xycv,xycd->xyvd", pulled, rows.hidden, preferred_element_type=jnp.float32)
    return jnp.where(valid, loss, 0).sum(-1), kept, (hidden, head)


def _at(x: Array, ids: Array) -> Array:
    return jnp.take_along_axis(x, ids[..., None], -1)[..., 0]
