"""A sentence-transformers directory: which encoder it has, and what is done with the encoder's vectors.

It is a list of modules: a Transformer, a Pooling, then any number of Dense (a linear map and an activation) and
Normalize (to unit length). Both the files that are on the hub and those that version 6 writes are read.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from emojax.config import BertConfig, LlamaConfig, MpnetConfig, TextConfig
from emojax.data.text import with_special
from emojax.decoder import llama
from emojax.encoders import bert, mpnet
from emojax.hub import weights
from emojax.hub.locate import read_json
from emojax.hub.weights import Names
from emojax.nn.layers import Linear, declare_linear
from emojax.types import Tree

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
_POOLING = {  # the settings of older files, in the order in which their vectors are concatenated
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ACTIVATIONS: dict[str, Literal["tanh", "identity"]] = {
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.linear.Identity": "identity",
}
_SETTINGS = tuple(f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "camembert", "xlm-roberta"))
_HEAD = {"use_residual": False, "module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
_DENSE = Names((("linear.weight", "w", "o i -> i o"), ("linear.bias", "b", "o -> o")))


@dataclass(frozen=True)
class Dense:
    inputs: int
    width: int
    bias: bool
    activation: Literal["tanh", "identity"]


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
    """What the directory declares.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: something that is not implemented; says what, and what is.
    """
    found = [(_kind(module["type"]), root / module["path"]) for module in read_json(root / "modules.json")]
    kinds, paths = [kind for kind, _ in found], [path for _, path in found]
    if kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) - {"Dense", "Normalize"}:
        raise ValueError(
            f"{root}/modules.json: modules {kinds}; implemented: Transformer, Pooling, then any of Dense and Normalize"
        )
    prompt = read_json(root / "config_sentence_transformers.json", optional=True).get("default_prompt_name")
    if prompt:
        raise ValueError(f"{root}: default_prompt_name={prompt!r}, a prompt before every text, is not implemented")
    encoder, pooling = _encoder(paths[0]), _pooling(paths[1])
    width, head = encoder.width * len(pooling), []
    for kind, path in found[2:]:
        _only(path, read_json(path / "config.json", optional=True), _HEAD)
        head.append(_dense(path, width) if kind == "Dense" else "normalize")
        width = head[-1].width if kind == "Dense" else width
    settings = _settings(paths[0])
    tokenizer = read_json(paths[0] / "tokenizer_config.json", optional=True)
    limit = settings.get("max_seq_length") or tokenizer.get("model_max_length")
    return Modules(
        encoder=encoder,
        encoder_at=paths[0],
        pooling=pooling,
        head=tuple(head),
        dense_at=tuple(path for kind, path in found if kind == "Dense"),
        lower_case=bool(settings.get("do_lower_case")),
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
    """It neither pads nor cuts, and reads text that spells a special token as text. Raises FileNotFoundError."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE, Unigram

    at = modules.encoder_at
    if not (at / "tokenizer.json").is_file():
        raise FileNotFoundError(
            f'{at}: no tokenizer.json. Make one where the model can be loaded: python -c "from transformers import '
            f"AutoTokenizer; AutoTokenizer.from_pretrained('{at}').save_pretrained('{at}')\""
        )
    tokenizer = Tokenizer.from_file(str(at / "tokenizer.json"))
    if isinstance(tokenizer.model, Unigram):
        tokenizer = _hide_special(tokenizer)
    if isinstance(tokenizer.model, BPE):
        tokenizer = _mark_control(tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    if modules.lower_case:
        _lower(tokenizer)
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


def _kind(path: str) -> str:
    """The class of a module that is the library's own, wherever a version has it."""
    return path.rsplit(".", 1)[-1] if path.startswith("sentence_transformers.") else path


def _encoder(path: Path) -> TextConfig:
    found = read_json(path / "config.json")
    match found.get("model_type", "bert"):
        case kind if kind in bert.TYPES:
            return bert.config(found)
        case "mpnet":
            return mpnet.config(found)
        case "qwen3":
            _only(path, found, {"is_causal": True, "use_bidirectional_attention": False})
            return dataclasses.replace(llama.config(found), tie=True)  # a text needs no head
        case other:
            raise ValueError(
                f"{path}/config.json: model_type={other!r} is not implemented; implemented: {', '.join(bert.TYPES)}, "
                "mpnet, qwen3"
            )


def _settings(path: Path) -> dict[str, Any]:
    """Those of the Transformer module. What they ask for beyond its last hidden state is refused."""
    settings = next((s for name in _SETTINGS if (s := read_json(path / name, optional=True))), {})
    implemented = {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
    implemented |= {"query_length": None, "document_length": None, "query_expansion": None}
    implemented |= {f"{of}_{kind}": {} for of in ("processor", "tokenizer", "config") for kind in ("kwargs", "args")}
    implemented |= {"processing_kwargs": {}}
    _only(path, settings, implemented)
    text = settings.get("modality_config", {}).get("text", {})
    _only(path, text, {"method": "forward", "method_output_name": "last_hidden_state"})
    return settings


def _pooling(path: Path) -> tuple[Pooling, ...]:
    settings = read_json(path / "config.json")
    modes: Any = (
        settings.get("pooling_mode") or [mode for key, mode in _POOLING.items() if settings.get(key)] or ["mean"]
    )
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if unknown := [mode for mode in modes if mode not in get_args(Pooling)]:
        raise ValueError(f"{path}: pooling {unknown} is not implemented; implemented: {', '.join(get_args(Pooling))}")
    return modes


def _dense(path: Path, inputs: int) -> Dense:
    settings = read_json(path / "config.json")
    activation = settings.get("activation_function", "torch.nn.modules.activation.Tanh")
    if activation not in _ACTIVATIONS:
        raise ValueError(
            f"{path}: activation_function={activation!r} is not implemented; implemented: {', '.join(_ACTIVATIONS)}"
        )
    if settings["in_features"] != inputs:
        raise ValueError(f"{path}: in_features={settings['in_features']}, but the module before it gives {inputs}")
    return Dense(inputs, settings["out_features"], settings.get("bias", True), _ACTIVATIONS[activation])


def _only(path: Path, settings: Mapping[str, Any], implemented: Mapping[str, Any]) -> None:
    wrong = [
        f"{name}={settings[name]!r} (implemented: {value!r})"
        for name, value in implemented.items()
        if settings.get(name, value) not in (value, None)
    ]
    if wrong:
        raise ValueError(f"{path}: not implemented: {'; '.join(wrong)}")
