"""The small files of a sentence-transformers directory: what each of its modules says.

Both the files that are on the hub and those that version 6 writes are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from emojax.errors import shown
from emojax.hub import options
from emojax.hub.locate import read_json
from emojax.hub.options import FLAG, OBJECT, POSITIVE, TEXT, WIDTH, Kind, naming, optional
from emojax.storage import parse_json

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
_LENGTH = options.either(POSITIVE, Kind("a whole number", lambda n: type(n) is int and n > 0))  # 10^30: no limit
_SETTINGS = tuple(f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "camembert", "xlm-roberta"))
_TRANSFORMER: options.Table = {
    "max_seq_length": (None, optional(options.whole(2**24))),
    "do_lower_case": (False, optional(FLAG)),
    "modality_config": (None, optional(OBJECT)),
}
_POOLINGS: options.Table = {
    "pooling_mode": (None, optional(options.either(TEXT, options.each(TEXT, len(_POOLING))))),
    **{key: (False, optional(FLAG)) for key in _POOLING},
}
_LINEAR: options.Table = {
    "in_features": (None, WIDTH),
    "out_features": (None, WIDTH),
    "bias": (True, FLAG),
    "activation_function": ("torch.nn.modules.activation.Tanh", tuple(_ACTIVATIONS)),
}
_HEAD = {"use_residual": False, "module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}


@dataclass(frozen=True)
class Dense:
    inputs: int
    width: int
    bias: bool
    activation: Literal["tanh", "identity"]


def is_plain(root: Path) -> bool:
    """Whether it is the directory of an encoder alone, as `save_pretrained` writes it: no modules.json."""
    return not (root / "modules.json").is_file() and (root / "config.json").is_file()


def entries(root: Path) -> list[tuple[str, Path]]:
    """The class and the directory of each module."""
    path = root / "modules.json"
    if not path.is_file():
        raise FileNotFoundError(f"{root}: neither modules.json nor config.json; wanted a sentence model")
    found = parse_json(path.read_bytes(), path)
    wanted = f'{path}: wanted a list of modules, each with "type" and "path", a directory in this one'
    if not isinstance(found, list):
        raise ValueError(f"{wanted}; got {shown(found)}")
    for entry in found:
        kind, at = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
        if not (isinstance(kind, str) and isinstance(at, str) and _inside(at)):
            raise ValueError(f"{wanted}; got {shown(entry)}")
    return [(_kind(entry["type"]), root / entry["path"]) for entry in found]


def _inside(path: str) -> bool:
    """Whether a path leads to nothing outside the directory that it begins in."""
    return not Path(path).is_absolute() and ".." not in Path(path).parts and "\0" not in path and len(path) < 256


def _kind(path: str) -> str:
    """The class of a module that is the library's own, wherever a version has it."""
    return path.rsplit(".", 1)[-1] if path.startswith("sentence_transformers.") else path


def transformer(path: Path) -> dict[str, Any]:
    """The settings of the Transformer module. What they ask for beyond its last hidden state is refused."""
    settings = next((s for name in _SETTINGS if (s := read_json(path / name, optional=True))), {})
    implemented = {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
    implemented |= {"query_length": None, "document_length": None, "query_expansion": None}
    implemented |= {f"{of}_{kind}": {} for of in ("processor", "tokenizer", "config") for kind in ("kwargs", "args")}
    implemented |= {"processing_kwargs": {}}
    only(path, settings, implemented)
    with naming(path):
        told, _ = options.read(settings, _TRANSFORMER)
        text, _ = options.read(told["modality_config"] or {}, {"text": (None, optional(OBJECT))})
    only(path, text["text"] or {}, {"method": "forward", "method_output_name": "last_hidden_state"})
    return told


def pooling(path: Path) -> tuple[Pooling, ...]:
    """How the vectors of a text's tokens become one."""
    at = path / "config.json"
    with naming(at):
        settings, _ = options.read(read_json(at), _POOLINGS)
    modes: Any = settings["pooling_mode"] or [mode for key, mode in _POOLING.items() if settings[key]] or ["mean"]
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if unknown := [mode for mode in modes if mode not in get_args(Pooling)]:
        raise ValueError(
            f"{path}: pooling {shown(unknown)} is not implemented; implemented: {', '.join(get_args(Pooling))}"
        )
    return modes


def dense(path: Path, inputs: int) -> Dense:
    """A linear map of vectors of `inputs` numbers."""
    at = path / "config.json"
    with naming(at):
        settings, wrong = options.read(read_json(at), _LINEAR)
        options.require_none(wrong, "Dense")
        if settings["out_features"] is None:
            raise ValueError("out_features is missing")
        if settings["in_features"] != inputs:
            raise ValueError(f"in_features={settings['in_features']}, but the module before it gives {inputs}")
    return Dense(inputs, settings["out_features"], settings["bias"], _ACTIVATIONS[settings["activation_function"]])


def plain_head(path: Path) -> None:
    """Raises ValueError where a module reads or writes something else than the sentence's vector."""
    only(path, read_json(path / "config.json", optional=True), _HEAD)


def longest(path: Path) -> float | None:
    """Tokens of the longest text that a tokenizer gives; None: it does not say."""
    at = path / "tokenizer_config.json"
    with naming(at):
        told, _ = options.read(read_json(at, optional=True), {"model_max_length": (None, optional(_LENGTH))})
    return told["model_max_length"]


def only(path: Path, settings: Mapping[str, Any], implemented: Mapping[str, Any]) -> None:
    """Raises ValueError that names each setting which has another value than the one that is implemented."""
    wrong = [
        f"{name}={shown(settings[name])} (implemented: {value!r})"
        for name, value in implemented.items()
        if settings.get(name, value) not in (value, None)
    ]
    if wrong:
        raise ValueError(f"{path}: not implemented: {'; '.join(wrong)}")
