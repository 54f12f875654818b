"""The whole captioner: encoders and decoder, one tree; what a stage trains is a part of it."""

from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from emojax import param
from emojax.config import Config
from emojax.decoder import lm
from emojax.decoder.sample import Drawing, noise, rollout
from emojax.encoders import media
from emojax.nn.adapter import Adapted, effective, is_weight
from emojax.nn.quantize import Quantized
from emojax.types import Array, Batch, Prefix, Rollout, Tree, Weight


@struct.dataclass
class Params:
    encoders: media.Encoders
    decoder: lm.Lm


def declare(cfg: Config) -> Params:
    return Params(encoders=media.declare(cfg), decoder=lm.declare(cfg.model.decoder))


def over(learnt: Tree, rest: Params) -> Params:
    """The captioner `rest`, and in its place what is learnt: of a captioner, of its decoder alone, or nothing."""
    if isinstance(learnt, Params):
        return param.merge(learnt, rest)
    return rest if learnt is None else Params(rest.encoders, param.merge(learnt, rest.decoder))


def learns_media(learnt: Tree) -> bool:
    """Whether it is more than the decoder, so that media are encoded anew after each update."""
    return isinstance(learnt, Params)


def compute_dtype(cfg: Config) -> jnp.dtype:
    return jnp.dtype(cfg.precision)


def matmul_precision(cfg: Config) -> AbstractContextManager[Any]:
    """Inside it, products of float32 are true float32 on every backend."""
    return jax.default_matmul_precision("float32" if cfg.precision == "float32" else "default")


def cast(tree: Tree, cfg: Config, wide: frozenset[str] = frozenset()) -> Tree:
    """The weights in the type they are computed with; float32 masters stay where they are, what is smaller is not
    widened. Adapters are made ready for products here, once a program and not in each layer of each token.

    Args:
      wide: last names of weights that stay as they are, and whose readers round what they read.
    """

    def one(w: Weight) -> Weight:
        match w:
            case Adapted():
                return effective(w, one(w.base), compute_dtype(cfg))
            case Quantized():
                return w
        return w if w.dtype == jnp.bfloat16 else w.astype(compute_dtype(cfg))

    def named(path: tuple, w: Weight) -> Weight:
        plain = not isinstance(w, Adapted | Quantized)
        return w if plain and param.dotted(path[-1:]) in wide else one(w)

    return jax.tree_util.tree_map_with_path(named, tree, is_leaf=is_weight)


def cast_trained(decoder: lm.Lm, cfg: Config) -> lm.Lm:
    """`cast` of a decoder that gradients are taken of: its tables stay wide.

    A row of a table is read at many places of a batch, and a head at every token: the cotangents of all of them are
    summed in the type of the table, which is therefore float32. What is read is rounded as `cast` rounds.
    """
    return cast(decoder, cfg, frozenset({"embed", "positions", "head"}))


def sample(
    params: Params,
    batch: Batch,
    key: Array,
    cfg: Config,
    *,
    group: int,
    how: Drawing,
) -> tuple[Prefix, Rollout]:
    """The media streams of the clips [B P D], and `group` captions of each; with `how.greedy` one more, the last.

    Args:
      params: as they are kept; they are cast here.
      key: of the run and the step; clip, sample and position are folded in.
    """
    p = cast(params, cfg)
    streams = media.encode(p.encoders, batch, cfg, compute_dtype(cfg))
    prefix = prompt(p.decoder, streams, batch, cfg)
    sizes = cfg.model.decoder
    cache = lm.prefill(p.decoder, prefix, sizes)
    keys = noise(key, batch.clip_id, group + how.greedy)
    return streams, rollout(p.decoder, cache, prefix.mask, keys, length=cfg.caption_tokens, how=how, sizes=sizes)


def prompt(decoder: lm.Lm, streams: Prefix, batch: Batch, cfg: Config) -> Prefix:
    """The media streams, then the transcript in the decoder's own tokens, [B P D]."""
    words = lm.embed(decoder, batch.transcript, cfg.model.decoder, streams.embed.dtype)
    return Prefix(
        jnp.concatenate([streams.embed, words], 1),
        jnp.concatenate([streams.mask, batch.transcript_mask], 1),
    )


def shifted(ids: Array, start: int) -> Array:
    """What the decoder reads to predict `ids` (i32[... T]): the start token, then all but the last."""
    return jnp.concatenate([jnp.full_like(ids[..., :1], start), ids[..., :-1]], -1)


def read(p: lm.Lm, streams: Prefix, batch: Batch, ids: Array, cfg: Config) -> Array:
    """Hidden states [B G T D] of captions i32[B G T], G of each clip, which share its prefix: it is read once."""
    prefix = prompt(p, streams, batch, cfg)
    cache = lm.prefill(p, prefix, cfg.model.decoder, cfg.model.remat)
    return lm.suffix(
        p, cache, prefix.mask, shifted(ids, cfg.model.decoder.start_token), cfg.model.decoder, cfg.model.remat
    )
