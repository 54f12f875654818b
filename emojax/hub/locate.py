"""Where a model's files are: a directory, the cache of the Hugging Face hub, or the hub itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emojax.hub.pickles import conversion
from emojax.storage import read_object

FILES = (
    *("*.json", "model.safetensors", "model-*.safetensors", "*/model.safetensors"),  # a star matches slashes, too
    *("vocab.txt", "merges.txt", "tokenizer.model"),  # of tokenizers without a tokenizer.json
)


def locate(
    model: str, files: Sequence[str] = FILES, wanted: str = "model", needs: Sequence[str] = ("config.json",)
) -> Path:
    """The directory of a model.

    Args:
      model: a directory, which is returned as it is, or a hub id. That is looked for in the hub's cache, then on the
        hub, unless HF_HUB_OFFLINE is set.
      files: patterns of the files that are fetched from the hub.
      wanted: what the model is to the caller, for messages.
      needs: files that the model must have, besides its weights as safetensors.
    Raises:
      FileNotFoundError: there is no such directory, the hub does not give the model, or the model lacks files; says
        which, and how to get them.
    """
    if Path(model).is_dir():
        return Path(model)
    if is_path(model):
        raise FileNotFoundError(f"{wanted} {model!r}: no such directory")
    if cached := local(model, needs):
        return cached
    from huggingface_hub import snapshot_download

    try:
        path = Path(snapshot_download(model, allow_patterns=list(files)))
    except Exception as error:  # its own types, and those of the HTTP library that it stands on
        raise FileNotFoundError(
            f"{wanted} {model!r}: no such directory, not in the hub's cache, and the hub did not give it "
            f"({type(error).__name__}). To get it, where the hub can be reached: hf download {model}"
        ) from error
    if lacking := _lacking(path, needs):
        name = Path(model).name
        raise FileNotFoundError(
            f"{wanted} {model!r}: {path} has no {', '.join(lacking)}. Where files were left out: hf download {model}. "
            "Where the weights are published as a pickle only, which can run code when it is read, make safetensors of "
            f"it where torch is installed, and give that directory: hf download {model} --local-dir {name} && "
            f"{conversion(path / 'config.json', name)}"
        )
    return path


def local(model: str, needs: Sequence[str] = ("config.json",)) -> Path | None:
    """The directory, or the whole model in the hub's cache; None: neither. The network is not asked."""
    if Path(model).is_dir():
        return Path(model)
    if is_path(model):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:  # without patterns: what may be lacking is looked at here, the same for every version of that library
        path = Path(snapshot_download(model, allow_patterns=[], local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return None if _lacking(path, needs) else path


def read_json(path: Path, optional: bool = False) -> dict[str, Any]:
    """The object that a JSON file holds; {} where an optional one is not there.

    Raises FileNotFoundError, and ValueError for a file that is no JSON object; both name it.
    """
    if not path.is_file():
        if optional:
            return {}
        raise FileNotFoundError(f"{path}: no such file; a directory that `save_pretrained` wrote has it")
    return read_object(path)


def shards(index: Path) -> list[str]:
    """The names of the files that an index of safetensors tells, beside it; ValueError where it tells anything else."""
    table = read_object(index).get("weight_map")
    names = list(table.values()) if isinstance(table, dict) else []
    if not names or not all(isinstance(name, str) and _is_plain(name) for name in names):
        raise ValueError(f'{index}: wanted "weight_map", an object of file names; cut off in a copy? Get it again')
    return sorted(set(names))


def _is_plain(name: str) -> bool:
    """Whether it is the name of a file, with no folder in it."""
    return bool(name) and Path(name).name == name and len(name) < 256 and "\0" not in name


def is_path(model: str) -> bool:
    """Whether a name cannot be a hub id (owner/model, or model): whoever mistypes a path shall not ask the hub."""
    return model[0] in "./~\\" or model[-1] in "/\\" or model.count("/") > 1 or Path(model).exists()


def _lacking(path: Path, needs: Sequence[str]) -> list[str]:
    """Files that a snapshot should have; an interrupted download leaves some of several shards."""
    lacking = [name for name in needs if not (path / name).is_file()]
    if (index := path / "model.safetensors.index.json").is_file():
        return lacking + [name for name in shards(index) if not (path / name).is_file()]
    return lacking if any(path.rglob("*.safetensors")) else [*lacking, "model.safetensors"]
