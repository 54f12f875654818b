"""The language models that write captions: one machinery for causal decoders and for those beside an encoder.

A prefix and its captions are computed apart. `prefill` runs the prefix of a clip once and keeps its keys and values;
then `suffix` (all positions at once) or `extend` (one token of each sample) lets the G captions of that clip attend to
them. The suffix starts with the start token, so the head is never applied to the prefix.

A family's file has all that tells families apart: the weights (`Lm`, whose `layers` are scanned here), the `block` of
one layer, what stands before and after all layers (`enter`, `leave`, `head`), the `scale` of embeddings, the keys and
values of a prefix (`encode_prefix`), and how positions are counted: a caption's `first_position`, how far back layers
`reach`, and the `room` that prefix and caption need.
"""

from typing import Any

import jax
import jax.numpy as jnp

from emojax.config import BartConfig, DecoderConfig, Gpt2Config, LlamaConfig
from emojax.decoder import bart, gpt2, llama
from emojax.decoder.causal import near
from emojax.nn.attention import View
from emojax.parallel.sharding import constrain
from emojax.types import Array, KVCache, Prefix, Tree, Weight

Lm = llama.Lm | gpt2.Lm | bart.Lm


def family(of: DecoderConfig | Lm) -> Any:
    """The file of the family that sizes or weights are of, a module: all have the same functions."""
    match of:
        case LlamaConfig() | llama.Lm():
            return llama
        case Gpt2Config() | gpt2.Lm():
            return gpt2
        case BartConfig() | bart.Lm():
            return bart


def declare(sizes: DecoderConfig) -> Lm:
    return family(sizes).declare(sizes)


def head(p: Lm) -> Weight:
    """The head [V D]: logits are hidden states times this table, transposed."""
    return family(p).head(p)


def leave(p: Lm, x: Array, sizes: DecoderConfig) -> Array:
    """Vectors [... D] of the residual stream as the head reads them."""
    return family(sizes).leave(p, x, sizes)


def embed(p: Lm, ids: Array, sizes: DecoderConfig, dtype: jnp.dtype) -> Array:
    """Tokens i32[...] as what stands in a prefix or begins a caption, [... D]; positions come later."""
    return p.embed[ids].astype(dtype) * family(sizes).scale(sizes)


def prefill(p: Lm, prefix: Prefix, sizes: DecoderConfig, remat: bool = False) -> KVCache:
    """Keys and values of a prefix, [L B P K H]. Padding takes no position number, and nothing attends to it.

    Raises:
      ValueError: the prefix is longer than the model's positions.
    """
    require_room(prefix.mask.shape[1], 0, sizes)
    return family(sizes).encode_prefix(p, constrain(prefix.embed), prefix.mask, _numbers(prefix.mask), sizes, remat)


def suffix(p: Lm, cache: KVCache, prefix_mask: Array, ids: Array, sizes: DecoderConfig, remat: bool = False) -> Array:
    """Hidden states [B G T D] of the captions i32[B G T] (start token first), normed, ready for the head.

    Raises:
      ValueError: prefix and caption are longer than the model's positions.
    """
    require_room(prefix_mask.shape[1], ids.shape[-1], sizes)
    t = jnp.arange(ids.shape[-1])
    positions = family(sizes).first_position(prefix_mask)[:, None, None] + t[None, None]
    own, before = t[:, None] - t[None], positions[..., None] - _numbers(prefix_mask)[:, None, None]

    def block(x: Array, xs: tuple[Any, Array | None, KVCache]) -> tuple[Array, None]:
        layer, reach, shared = xs
        visible = near(prefix_mask[:, None, None], before, reach)
        view = View((shared, visible), past=None, mask=near(own >= 0, own, reach))
        x, _ = family(sizes).block(layer, x, positions, view, sizes)
        return constrain(x, "B G"), None

    x = family(sizes).enter(p, constrain(embed(p, ids, sizes, cache.k.dtype), "B G"), positions, sizes)
    x, _ = jax.lax.scan(jax.checkpoint(block) if remat else block, x, (p.layers, family(sizes).reach(sizes), cache))
    return leave(p, x, sizes)


def extend(
    p: Lm, cache: KVCache, own: KVCache, prefix_mask: Array, ids: Array, t: Array, sizes: DecoderConfig
) -> tuple[Array, KVCache]:
    """One more token of each sample.

    Args:
      cache: the prefixes, as `heads_first` has them.
      own: the captions so far, [L B G K T H], filled before position t.
      ids: i32[B G], the tokens at position t (the start token at 0).
    Returns:
      Hidden states [B G D] and `own` filled up to and including t.
    Raises:
      ValueError: prefix and caption are longer than the model's positions.
    """
    length = own.k.shape[4]
    require_room(prefix_mask.shape[1], length, sizes)
    positions = (family(sizes).first_position(prefix_mask) + t)[:, None, None]
    # the new token's own key stands last, apart: the cache is written once, after all layers
    slots = jnp.append(jnp.arange(length), t)
    earlier = jnp.append(jnp.arange(length) < t, True)
    before = positions[..., None] - _numbers(prefix_mask)[:, None, None]

    def block(x: Array, xs: tuple[Any, Array | None, KVCache, KVCache]) -> tuple[Array, tuple[Array, Array]]:
        layer, reach, shared, past = xs
        shared, past = _swapped((shared, past))  # in the program there is nothing to do
        visible = near(prefix_mask[:, None, None], before, reach)
        view = View((shared, visible), past, mask=near(earlier, t - slots, reach))
        x, new = family(sizes).block(layer, x, positions, view, sizes)
        return constrain(x, "B G"), constrain(new, "B G - K")

    x = family(sizes).enter(p, constrain(embed(p, ids, sizes, cache.k.dtype)[:, :, None], "B G"), positions, sizes)
    x, (k, v) = jax.lax.scan(block, x, (p.layers, family(sizes).reach(sizes), cache, own))
    k, v = _swapped((k, v))
    own = KVCache(*(jax.lax.dynamic_update_slice_in_dim(a, b, t, 4) for a, b in ((own.k, k), (own.v, v))))
    return leave(p, x[:, :, 0], sizes), own


def heads_first(cache: KVCache) -> KVCache:
    """Keys and values with positions after heads, [L B K P H], as the products of `extend` want them: in the other
    order all are copied for each token."""
    return constrain(_swapped(cache), "- B K")


def _swapped(tree: Tree) -> Tree:
    """Positions and heads in each other's place, [... positions K H] or [... K positions H]."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, -3, -2), tree)


def _numbers(mask: Array) -> Array:
    """Position numbers i32[B P] of a prefix: padding takes none (what it has here is never used)."""
    return jnp.maximum(jnp.cumsum(mask, -1) - 1, 0)


def require_room(prefix: int, caption: int, sizes: DecoderConfig) -> None:
    """Raises ValueError where a prefix and a caption of so many positions are more than the model has."""
    if (needed := family(sizes).room(prefix, caption)) > sizes.positions:
        raise ValueError(
            f"a prefix of {prefix} positions and a caption of {caption} need {needed} of the decoder's "
            f"{sizes.positions} positions: give the streams fewer tokens, shorten data.transcript_tokens or "
            "caption_tokens, or take another decoder"
        )
