"""A sentence-transformers directory: which encoder it has, and what is done with the encoder's vectors.

It is a list of modules: a Transformer, a Pooling, then any number of Dense (a linear map and an activation) and
Normalize (to unit length). What their files say is read in `module_files.py`.
"""

import dataclasses
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emojax.config import BertConfig, LlamaConfig, MpnetConfig, TextConfig
from emojax.data.text import with_special
from emojax.decoder import llama
from emojax.encoders import bert, mpnet
from emojax.errors import shown
from emojax.hub import tokenizer_files, weights
from emojax.hub.locate import read_json
from emojax.hub.options import naming, read_config
from emojax.hub.weights import Names
from emojax.nn.layers import Linear, declare_linear
from emojax.rewards import module_files
from emojax.rewards.module_files import Dense, Pooling
from emojax.types import Tree

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)
_DENSE = Names((("linear.weight", "w", "o i -> i o"), ("linear.bias", "b", "o -> o")))


@dataclass(frozen=True)
class Modules:
    encoder: TextConfig
    encoder_at: Path  # the directory of its weights and its tokenizer
    pooling: tuple[Pooling, ...]  # several are concatenated
    head: tuple[Dense | Literal["normalize"], ...]  # what comes after that, in this order
    dense_at: tuple[Path, ...]  # directories of the weights of each Dense
    lower_case: bool  # texts are put into lower case before the tokenizer has them
    max_tokens: int  # longest input, special tokens included


def read(root: Path) -> Modules:
    """What the directory declares; without a modules.json it is the mean of the encoder's vectors, which is logged.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: something that is not implemented, or of a wrong type; says what, and what is wanted.
    """
    plain = module_files.is_plain(root)
    if plain:
        log.warning(
            "%s has no modules.json: the mean of a text's vectors is taken, as sentence-transformers does", root
        )
    found = [("Transformer", root), ("Pooling", root)] if plain else module_files.entries(root)
    kinds, paths = [kind for kind, _ in found], [path for _, path in found]
    if kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) - {"Dense", "Normalize"}:
        raise ValueError(
            f"{root}/modules.json: modules {shown(kinds)}; implemented: Transformer, Pooling, then any of Dense"
            " and Normalize"
        )
    prompt = read_json(root / "config_sentence_transformers.json", optional=True).get("default_prompt_name")
    if prompt:
        raise ValueError(f"{root}: default_prompt_name={shown(prompt)}, a prompt before every text, is not implemented")
    encoder = _encoder(paths[0])
    pooling: tuple[Pooling, ...] = ("mean",) if plain else module_files.pooling(paths[1])
    width, head = encoder.width * len(pooling), []
    for kind, path in found[2:]:
        module_files.plain_head(path)
        head.append(module_files.dense(path, width) if kind == "Dense" else "normalize")
        width = head[-1].width if kind == "Dense" else width
    settings, told = module_files.transformer(paths[0]), module_files.longest(paths[0])
    limit = settings["max_seq_length"] or told
    return Modules(
        encoder=encoder,
        encoder_at=paths[0],
        pooling=pooling,
        head=tuple(head),
        dense_at=tuple(path for kind, path in found if kind == "Dense"),
        lower_case=bool(settings["do_lower_case"]),
        max_tokens=int(min(limit or longest(encoder), longest(encoder))),
    )


def family(sizes: TextConfig) -> Any:
    """The file of an encoder's family, a module: all have `declare`, `encode` and `names`."""
    match sizes:
        case BertConfig():
            return bert
        case MpnetConfig():
            return mpnet
        case LlamaConfig():
            return llama


def longest(sizes: TextConfig) -> int:
    """Tokens that an encoder reads, special ones included."""
    return sizes.positions if isinstance(sizes, LlamaConfig) else sizes.positions - sizes.first_position


def declare_dense(head: tuple[Dense | Literal["normalize"], ...]) -> tuple[Linear, ...]:
    return tuple(declare_linear(d.inputs, d.width, "- -", d.bias) for d in head if isinstance(d, Dense))


def read_weights(modules: Modules) -> tuple[Tree, tuple[Linear, ...]]:
    """Weights of the encoder and of each Dense, float32 on the host. Raises as `weights.read` does."""
    encoder, dense = family(modules.encoder), []
    for path, declared in zip(modules.dense_at, declare_dense(modules.head), strict=True):
        if not (path / "model.safetensors").is_file():
            raise FileNotFoundError(
                f"{path}: no model.safetensors; a pickle (pytorch_model.bin) is not read, for it can run code. Get the "
                'file from the hub, or convert it where torch is installed: python -c "from sentence_transformers '
                f"import SentenceTransformer as S; S('{path.parent}').save('{path.parent}-safetensors')\""
            )
        dense.append(weights.read(path, declared, _DENSE))
    declared, names = encoder.declare(modules.encoder), encoder.names(modules.encoder)
    return weights.read(modules.encoder_at, declared, names), tuple(dense)


def read_tokenizer(modules: Modules) -> "Tokenizer":
    """It neither pads nor cuts, and reads text that spells a special token as text.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is no tokenizer, or has tokens that the encoder has no vectors for.
    """
    at = modules.encoder_at
    path = at / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(
            f'{at}: no tokenizer.json. Make one where the model can be loaded: python -c "from transformers import '
            f"AutoTokenizer; AutoTokenizer.from_pretrained('{at}').save_pretrained('{at}')\""
        )
    tokenizer = as_text(tokenizer_files.read(path))
    largest = max(tokenizer.get_vocab(with_added_tokens=False).values(), default=0)
    if largest >= modules.encoder.vocab:
        raise ValueError(
            f"{path}: a token has the id {largest}, the encoder has {modules.encoder.vocab} (vocab_size of config.json)"
        )
    if modules.lower_case:
        _lower(tokenizer)
    return tokenizer


def as_text(tokenizer: "Tokenizer") -> "Tokenizer":
    """The tokenizer without padding and cuts, to which text that spells a special token is text."""
    from tokenizers.models import BPE, Unigram

    if isinstance(tokenizer.model, Unigram):
        tokenizer = _hide_special(tokenizer)
    if isinstance(tokenizer.model, BPE):
        tokenizer = _mark_control(tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _hide_special(tokenizer: "Tokenizer") -> "Tokenizer":
    """A Unigram model without special tokens to be found in a text.

    They are pieces like any other to it, of the best score even, whatever `encode_special_tokens` says. Renamed with a
    space at the end, which no text has by then, they keep their numbers.
    """
    from tokenizers import Tokenizer

    content = json.loads(tokenizer.to_str())
    special = {token["id"] for token in content["added_tokens"] if token["special"]}
    content["added_tokens"] = [token for token in content["added_tokens"] if not token["special"]]
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = [[p + " " * (i in special), score] for i, (p, score) in enumerate(vocabulary)]
    return Tokenizer.from_str(json.dumps(content))


def _mark_control(tokenizer: "Tokenizer") -> "Tokenizer":
    """Makes special what only looks so: <think> and <tool_call> are no special tokens to Qwen's tokenizers, and would
    be cut out of a text that spells them.
    """
    told = tokenizer.get_added_tokens_decoder().values()
    return with_special(
        tokenizer, [t.content for t in told if not t.special and re.fullmatch(r"<[^<>\s]+>", t.content)]
    )


def _lower(tokenizer: "Tokenizer") -> None:
    """`do_lower_case` of sentence-transformers: lower case first, whatever the tokenizer does after it."""
    from tokenizers import normalizers

    then = tokenizer.normalizer
    if not (isinstance(then, normalizers.BertNormalizer) and then.lowercase):  # else it is done already
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([then] if then else [])])


def _encoder(path: Path) -> TextConfig:
    found = read_config(path)
    with naming(path / "config.json"):
        match found.get("model_type", "bert"):
            case kind if kind in bert.TYPES:
                return bert.config(found)
            case "mpnet":
                return mpnet.config(found)
            case "qwen3":
                module_files.only(path, found, {"is_causal": True, "use_bidirectional_attention": False})
                return dataclasses.replace(llama.config(found), tie=True)  # a text needs no head
            case other:
                raise ValueError(
                    f"model_type={shown(other)} is not implemented; implemented: {', '.join(bert.TYPES)}, mpnet, qwen3"
                )
