"""Names that saved configurations may still have, and what is now called otherwise.

The one table of them: configurations of runs (`config.json`, `emojax.json`), features that `emojax encode` wrote, and
presets in Python that were written for emojax 0.1 are read through it.
"""

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from emojax import config

FAMILIES = {"AudioEncoder": "MelEncoder", "VideoEncoder": "FrameEncoder", "Decoder": "Llama"}
"""Families by their old names."""

_MODULES = ("emojax.families", "emojax.method", "emojax.concepts")  # where presets imported them from


def family_now(name: str) -> str:
    """The name that a family has now.

    >>> family_now("AudioEncoder"), family_now("Whisper")
    ('MelEncoder', 'Whisper')
    """
    return FAMILIES.get(name, name)


def as_saved(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a configuration's part, with what was fixed where all others were saved, or told elsewhere.

    >>> as_saved(config.Optimizer, dict.fromkeys(("learning_rate", "warmup", "weight_decay", "b1", "b2", "clip"), 0.1))
    {'learning_rate': 0.1, 'warmup': 0.1, 'weight_decay': 0.1, 'b1': 0.1, 'b2': 0.1, 'clip': 0.1, 'epsilon': 1e-06}
    """
    if cls is config.Config and (corpus := _corpus_without_seed(values)) is not None:
        return values | {"data": values["data"] | {"corpus": corpus | {"seed": values["seed"]}}}
    missing = {f.name for f in dataclasses.fields(cls)} - set(values)
    if cls is config.Optimizer and missing == {"epsilon"}:
        return values | {"epsilon": 1e-6}
    if cls is config.Sft and missing == {"attributes_weight"}:  # weights that such a run does not have
        return values | {"attributes_weight": 0.0}
    return values


def _corpus_without_seed(values: dict[str, Any]) -> dict[str, Any] | None:
    """The built-in corpus of a configuration that was saved when the run's seed was the corpus's, too."""
    data = values.get("data")
    corpus = data.get("corpus") if isinstance(data, dict) else None
    return corpus if isinstance(corpus, dict) and "seed" in values and "seed" not in corpus else None


@contextmanager
def old_modules() -> Iterator[None]:
    """Inside it a preset may import families, settings of the method and concepts from where they were."""
    from emojax.config import concepts

    there = vars(concepts) | vars(config)
    there |= {
        name.removesuffix("Config"): found
        for name, found in vars(config).items()
        if name.endswith("Config") and name != "Config"
    }
    there |= {name: there[f"{family_now(name)}Config"] for name in FAMILIES}
    made = {name: ModuleType(name) for name in _MODULES if name not in sys.modules}
    for module in made.values():
        vars(module).update({name: found for name, found in there.items() if not name.startswith("_")})
    made["emojax.presets"] = sys.modules["emojax.config.presets"]
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]
