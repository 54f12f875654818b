"""Adapters as the library peft has them: adapter_config.json and adapter_model.safetensors, beside a base model's name.

    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), "decoder")

Their names are made of the base's own name table. A fused map (GPT-2's c_attn) is one map there as here.
"""

import json
from pathlib import Path
from typing import Any

import jax

from emojax import param
from emojax.config import BartConfig, Gpt2Config, LlamaConfig, Lora
from emojax.hub import weights
from emojax.hub.weights import Names
from emojax.training import adapters
from emojax.types import Tree

CONFIG, MODEL = "adapter_config.json", "adapter_model.safetensors"
_STEM = "base_model.model."


def write(folder: Path, part: Tree, cfg: Any, names: Names, lora: Lora) -> None:
    """Saves the adapters of a part of the captioner.

    Args:
      cfg: the part's configuration, whose `weights` are the base model.
      names: of the base model.
    Raises:
      ValueError: an adapter beside a convolution.
    """
    own = adapters.of(part)
    weights.write(folder / MODEL, own, peft_names(names, own))
    lines = [line for line in names.table if f"{line[1]}.a" in _paths(own)]
    alpha = int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha
    settings = {
        "peft_type": "LORA",
        "task_type": _task(cfg),
        "base_model_name_or_path": cfg.weights,
        "r": lora.rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "use_dora": lora.dora,
        "use_rslora": False,
        "fan_in_fan_out": all(pattern.startswith("i o") for _, _, pattern in lines),
        "bias": "none",
        "target_modules": sorted({_shortest(line, lines, names) for line in lines}),
        "modules_to_save": None,
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def read(folder: Path, like: Tree, names: Names) -> Tree:
    """The adapters of a part, None in the place of its own weights.

    Args:
      like: the part, its adapters as `weights.read` wants them.
    Raises:
      FileNotFoundError, ValueError: see `weights.read`.
    """
    own = adapters.of(like)
    return weights.read(folder / MODEL, own, peft_names(names, own))


def peft_names(names: Names, own: Tree) -> Names:
    """The `adapter_config.json` of the adapters `own`, for a base model whose weights have these names; raises
    ValueError as `write`."""
    table, paths = [], _paths(own)
    for theirs, ours, pattern in names.table:
        if f"{ours}.a" not in paths:
            continue
        if set(pattern.split("->")[0].split()) != {"i", "o"}:
            raise ValueError(
                f"{ours}: the adapter of a convolution ({theirs}) is not written for peft; leave it out of "
                "lora.targets, or export the captioner merged"
            )
        module = _STEM + theirs.removesuffix(".weight")
        table += [
            (f"{module}.lora_A.weight", f"{ours}.a", "r i -> i r"),
            (f"{module}.lora_B.weight", f"{ours}.b", "o r -> r o"),
            (f"{module}.lora_magnitude_vector", f"{ours}.magnitude", "o -> o"),
        ]
    return Names(tuple(table))


def _paths(own: Tree) -> set[str]:
    return {param.dotted(at) for at, _ in jax.tree_util.tree_leaves_with_path(own)}


def _shortest(line: tuple[str, str, str], chosen: list[tuple[str, str, str]], names: Names) -> str:
    """The shortest end of a module's name that no module without an adapter has: `q_proj`, or `attn.c_proj`."""
    others = [theirs.rpartition(".")[0] for theirs, *_ in names.table]
    mine = {theirs.rpartition(".")[0] for theirs, *_ in chosen}
    parts = line[0].removesuffix(".weight").split(".")
    for n in range(1, len(parts)):
        end = ".".join(parts[-n:])
        if not any(f".{other}".endswith(f".{end}") and other not in mine for other in others):
            return end
    return ".".join(parts)


def _task(cfg: Any) -> str:
    match cfg:
        case LlamaConfig() | Gpt2Config():
            return "CAUSAL_LM"
        case BartConfig():
            return "SEQ_2_SEQ_LM"
    return "FEATURE_EXTRACTION"
