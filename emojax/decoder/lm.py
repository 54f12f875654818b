"""What writes the captions: one machinery for all families, causal decoders and those beside an encoder.

A caption is read in two parts. `prefill` runs the prefix of a clip once and keeps its keys and values; then `suffix`
(all positions at once) or `extend` (one token of each sample) lets the G captions of that clip attend to them. The
suffix starts with the start token, so the head is never applied to the prefix.

A family's file has its weights (`Lm`, whose `layers` are scanned here), the `block` of one layer, and what stands
before and after all layers (`enter`, `leave`).
"""

from typing import Any

import jax
import jax.numpy as jnp

from emojax.config import BartConfig, DecoderConfig, Gpt2Config, LlamaConfig
from emojax.decoder import bart, gpt2, llama
from emojax.nn.attention import View
from emojax.parallel.sharding import constrain
from emojax.types import Array, KVCache, Prefix, Weight

Lm = llama.Lm | gpt2.Lm | bart.Lm


def family(sizes: DecoderConfig) -> Any:
    """The file of the family, a module: they all have the same functions."""
    match sizes:
        case LlamaConfig():
            return llama
        case Gpt2Config():
            return gpt2
        case BartConfig():
            return bart


def declare(sizes: DecoderConfig) -> Lm:
    return family(sizes).declare(sizes)


def head(p: Lm) -> Weight:
    """[V D]: logits are hidden states times this table, transposed."""
    return p.head if isinstance(p, llama.Lm) and p.head is not None else p.embed


def embed(p: Lm, ids: Array, sizes: DecoderConfig, dtype: jnp.dtype) -> Array:
    """Tokens i32[...] as what stands in a prefix or begins a caption, [... D]; positions come later."""
    scale = sizes.width**0.5 if isinstance(sizes, BartConfig) and sizes.scale_embedding else 1
    return p.embed[ids].astype(dtype) * scale


def prefill(p: Lm, prefix: Prefix, sizes: DecoderConfig, remat: bool = False) -> KVCache:
    """Keys and values of a prefix, [L B P K H]. Padding takes no position number and is seen by none.

    Raises:
      ValueError: the prefix is longer than the model's positions.
    """
    _require_room(prefix.mask.shape[1], 0, sizes)
    positions = _numbers(prefix.mask)
    x = constrain(prefix.embed)
    if isinstance(p, bart.Lm) and isinstance(sizes, BartConfig):
        return bart.encode(p, x, prefix.mask, positions, sizes, remat)
    visible = jnp.tri(prefix.mask.shape[1], dtype=bool) & prefix.mask[:, None, :]
    distance = positions[:, :, None] - positions[:, None, :]

    def block(x: Array, xs: tuple[Any, Array | None]) -> tuple[Array, tuple[Array, Array]]:
        layer, reach = xs
        view = View(prefix=None, past=None, mask=_near(visible, distance, reach))
        x, own = family(sizes).block(layer, x, positions, view, sizes)
        return constrain(x), constrain(own, "B - K")

    x = family(sizes).enter(p, x, positions, sizes)
    _, (k, v) = jax.lax.scan(jax.checkpoint(block) if remat else block, x, (p.layers, _reach(sizes)))
    return KVCache(k, v)


def suffix(p: Lm, cache: KVCache, prefix_mask: Array, ids: Array, sizes: DecoderConfig, remat: bool = False) -> Array:
    """Hidden states [B G T D] of the captions i32[B G T] (start token first), normed, ready for the head.

    Raises:
      ValueError: prefix and caption are longer than the model's positions.
    """
    _require_room(prefix_mask.shape[1], ids.shape[-1], sizes)
    t = jnp.arange(ids.shape[-1])
    positions = _first(prefix_mask, sizes)[:, None, None] + t
    own, before = t[:, None] - t, positions[..., None] - _numbers(prefix_mask)[:, None, None]

    def block(x: Array, xs: tuple[Any, Array | None, KVCache]) -> tuple[Array, None]:
        layer, reach, shared = xs
        seen = _near(prefix_mask[:, None, None], before, reach)
        view = View((shared, seen), past=None, mask=_near(own >= 0, own, reach))
        x, _ = family(sizes).block(layer, x, positions, view, sizes)
        return constrain(x, "B G"), None

    x = family(sizes).enter(p, constrain(embed(p, ids, sizes, cache.k.dtype), "B G"), positions, sizes)
    x, _ = jax.lax.scan(jax.checkpoint(block) if remat else block, x, (p.layers, _reach(sizes), cache))
    return family(sizes).leave(p, x, sizes)


def extend(
    p: Lm, cache: KVCache, own: KVCache, prefix_mask: Array, ids: Array, t: Array, sizes: DecoderConfig
) -> tuple[Array, KVCache]:
    """One more token of each sample.

    Args:
      cache: the prefixes, [L B P K H].
      own: the captions so far, [L B G T K H], filled before position t.
      ids: i32[B G], the tokens at position t (the start token at 0).
    Returns:
      Hidden states [B G D] and `own` filled up to and including t.
    Raises:
      ValueError: prefix and caption are longer than the model's positions.
    """
    length = own.k.shape[3]
    _require_room(prefix_mask.shape[1], length, sizes)
    positions = (_first(prefix_mask, sizes) + t)[:, None, None]
    # the new token's own key stands last: the cache is written once, after all layers
    slots = jnp.append(jnp.arange(length), t)
    earlier = jnp.append(jnp.arange(length) < t, True)
    before = positions[..., None] - _numbers(prefix_mask)[:, None, None]

    def block(x: Array, xs: tuple[Any, Array | None, KVCache, KVCache]) -> tuple[Array, tuple[Array, Array]]:
        layer, reach, shared, past = xs
        seen = _near(prefix_mask[:, None, None], before, reach)
        view = View((shared, seen), past, mask=_near(earlier, t - slots, reach))
        x, new = family(sizes).block(layer, x, positions, view, sizes)
        return constrain(x, "B G"), constrain(new, "B G - K")

    x = family(sizes).enter(p, constrain(embed(p, ids, sizes, cache.k.dtype)[:, :, None], "B G"), positions, sizes)
    x, (k, v) = jax.lax.scan(block, x, (p.layers, _reach(sizes), cache, own))
    own = KVCache(*(jax.lax.dynamic_update_slice_in_dim(a, b, t, 3) for a, b in ((own.k, k), (own.v, v))))
    return family(sizes).leave(p, x[:, :, 0], sizes), own


def _numbers(mask: Array) -> Array:
    """Position numbers i32[B P] of a prefix: padding takes none (what it has here is never used)."""
    return jnp.maximum(jnp.cumsum(mask, -1) - 1, 0)


def _first(prefix_mask: Array, sizes: DecoderConfig) -> Array:
    """Position number i32[B] of a caption's first token."""
    length = prefix_mask.sum(-1)
    return jnp.zeros_like(length) if isinstance(sizes, BartConfig) else length


def _reach(sizes: DecoderConfig) -> Array | None:
    """Positions that each layer looks back, its own included, i32[L]; None: all layers look at everything."""
    if not isinstance(sizes, LlamaConfig) or sizes.window is None:
        return None
    return jnp.where(jnp.arange(sizes.layers) < sizes.window_from, jnp.iinfo(jnp.int32).max, sizes.window)


def _near(visible: Array, distance: Array, reach: Array | None) -> Array:
    return visible if reach is None else visible & (distance < reach)


def _require_room(prefix: int, caption: int, sizes: DecoderConfig) -> None:
    needed = max(prefix, caption) if isinstance(sizes, BartConfig) else prefix + caption
    if needed > sizes.positions:
        raise ValueError(
            f"a prefix of {prefix} positions and a caption of {caption} do not fit the decoder's {sizes.positions} "
            f"positions{' each' if isinstance(sizes, BartConfig) else ''}: give the streams fewer tokens, shorten "
            f"data.transcript_tokens or caption_tokens, or take another decoder"
        )
