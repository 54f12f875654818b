"""A captioner as one directory that other tools read, too: written from a run. `training/exported.py` reads it, and
says what is in it.

A part that was trained by adapters is merged into one model; or, where that is asked for, its directory has only the
adapters, as peft reads them, and the name of the published model that they belong to.
"""

import contextlib
import dataclasses
import fnmatch
import functools
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from emojax import storage
from emojax.config import Config, FeatureFilesConfig, Lora, Mesh, presets
from emojax.decoder import captioner, pretrained
from emojax.errors import RunError
from emojax.hub import weights
from emojax.hub.locate import locate
from emojax.training import adapters, exported, lock, peft_files
from emojax.training.exported import CONFIG, OWN

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PARTS = ("audio", "video", "decoder")
OURS = (
    *(CONFIG, OWN, "README.md", "config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json"),
    *("tokenizer_config.json", "model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
    *(peft_files.CONFIG, peft_files.MODEL, "plot-*.svg"),
)
"""What an export writes into its directory and its folders; all else in them is the user's."""


def write(
    cfg: Config,
    params: captioner.Params,
    tokenizer: "Tokenizer",
    card: str,
    out: Path,
    *,
    pictures: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes the directory; it is there whole or not at all.

    Args:
      params: merged; or with their adapters, which are then written instead of the parts that have them.
      card: the text of README.md, of `card.model_card`. pictures: that it shows, SVG by the name of the file.
      overwrite: replace an export that is there.
    Raises:
      RunError: `out` holds something, and it is no export or `overwrite` is not asked for; another process exports to
        it; adapters that do not belong to a published model.
    """
    adapted = [path for path in pretrained.backbones(cfg) if jax.tree.leaves(adapters.of(exported.part(params, path)))]
    for path in adapted:
        _require_published(cfg, params, path)
    out = out.resolve()
    with lock.held(out.with_name(out.name + ".lock"), out):  # beside it: the directory itself is another one in the end
        if out.exists() and any(out.iterdir()):
            if not (out / CONFIG).is_file():
                raise RunError(f"{out} holds something that is no exported captioner; name a new directory by --out")
            if not overwrite:
                raise RunError(f"{out} already holds an exported captioner; replace it by --overwrite")
        with storage.writing(out), _new_folder(out) as new:
            _fill(new, cfg, params, tokenizer, {"README.md": card, **(pictures or {})}, adapted)
            if out.exists():
                shutil.copytree(
                    out,
                    new,
                    ignore=functools.partial(_ours, out),
                    copy_function=_link,
                    dirs_exist_ok=True,
                    symlinks=True,
                )
                for part in PARTS:
                    with contextlib.suppress(OSError):  # it is a part of this one, or holds what is the user's
                        (new / part).rmdir()
                shutil.rmtree(out)
            new.rename(out)


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` under a name that nobody has; removed unless it was renamed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    new = storage.beside(out)
    new.mkdir()
    try:
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _ours(out: Path, folder: str, names: Sequence[str]) -> set[str]:
    """What an export writes, in the directory or in the folder of one of its parts; all else is kept."""
    if Path(folder) not in (out, *(out / part for part in PARTS)):
        return set()
    return {name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in OURS)}


def _link(there: str, here: str) -> None:
    """A second name of a file: nothing is copied."""
    try:
        os.link(there, here, follow_symlinks=False)
    except OSError:  # of a file system that has one name a file
        shutil.copy2(there, here)


def _fill(
    new: Path,
    cfg: Config,
    params: captioner.Params,
    tokenizer: "Tokenizer",
    told: Mapping[str, str],
    adapted: Sequence[str],
) -> None:
    for path, part in pretrained.backbones(cfg).items():
        folder, files = new / exported.folder(path), pretrained.files(part)
        folder.mkdir()
        if path in adapted:
            peft_files.write(folder, exported.part(params, path), part, files.names(part), cfg.lora)
            continue
        weights.write(folder, exported.part(params, path), files.names(part))
        _write_json(folder / "config.json", files.to_json(part))
        match path:
            case "decoder":
                _write_json(folder / "generation_config.json", files.generation_json(part))
            case "encoders.video":
                _write_json(folder / "preprocessor_config.json", files.preprocessor_json(part, cfg.data))
            case _:
                _write_json(folder / "preprocessor_config.json", files.preprocessor_json(part))
    own = exported.own(cfg, adapters.merged(params))
    weights.write(new / OWN, own, exported.identity(own))
    _write_tokenizer(tokenizer, cfg, new / "decoder")
    (new / CONFIG).write_text(presets.dumps(_portable(cfg, adapted)) + "\n", encoding="utf-8")
    for name, text in told.items():
        (new / name).write_text(text, encoding="utf-8")


def _require_published(cfg: Config, params: captioner.Params, path: str) -> None:
    """Raises RunError where an adapted part's own weights are not those of the model that the configuration names."""
    part = pretrained.backbones(cfg)[path]
    if not part.weights:
        raise RunError(f"{path} was made from nothing: its adapters belong to no published model; export it merged")
    names, base = pretrained.files(part).names(part), adapters.plain(exported.part(params, path))
    published = weights.read(locate(part.weights), exported.part(captioner.declare(cfg), path), names)
    rounded = "bfloat16" if cfg.frozen_precision == "bfloat16" else "float32"

    def differ(ours: jax.Array, theirs: Any) -> bool:
        return not np.array_equal(np.asarray(ours.astype(rounded)), np.asarray(theirs.astype(rounded)))

    if any(jax.tree.leaves(jax.tree.map(differ, base, published))):
        raise RunError(
            f"{path}: weights beside the adapters differ from those of {part.weights}; was it trained before it had "
            "these adapters? Export it merged"
        )


def _portable(cfg: Config, adapted: Sequence[str]) -> Config:
    """Without paths of the machine that trained it; the weights stand beside it, but for those under adapters."""
    kept = {exported.folder(path) for path in adapted}

    def here(name: str) -> Any:
        part = getattr(cfg.model, name)
        if isinstance(part, FeatureFilesConfig):
            return dataclasses.replace(part, path="")
        return dataclasses.replace(part, weights=part.weights if name in kept else "") if part else None

    return dataclasses.replace(
        cfg,
        model=dataclasses.replace(cfg.model, **{name: here(name) for name in ("audio", "video", "decoder")}),
        mesh=Mesh(),
        data=dataclasses.replace(cfg.data, manifest="", features=""),
        lora=cfg.lora if adapted else Lora(),
    )


def _write_tokenizer(tokenizer: "Tokenizer", cfg: Config, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    tokens = {"bos_token": cfg.model.decoder.start_token, "eos_token": cfg.model.decoder.end_token}
    words = {name: tokenizer.id_to_token(token) for name, token in tokens.items()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **words, "pad_token": words["eos_token"]}
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(path: Path, text: dict[str, Any]) -> None:
    path.write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")
