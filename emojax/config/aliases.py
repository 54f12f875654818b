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
    """The fields of a configuration's part by the names that they have now, with what was fixed where all others were
    saved, or told elsewhere.

    >>> as_saved(config.Optimizer, dict.fromkeys(("learning_rate", "warmup", "weight_decay", "b1", "b2", "clip"), 0.1))
    {'learning_rate': 0.1, 'warmup': 0.1, 'weight_decay': 0.1, 'b1': 0.1, 'b2': 0.1, 'clip': 0.1, 'epsilon': 1e-06}
    >>> as_saved(config.Reward, {"kind": "emotion", "emotion_weight": 0.75, "facts_weight": 0.5, "max_bytes": 96})
    {'max_bytes': 96, 'parts': ['emotion*0.75', 'sentence*0.25', 'facts*0.5']}
    """
    if cls is config.Reward and "parts" not in values and not _MIX.isdisjoint(values):
        return {name: value for name, value in values.items() if name not in _MIX} | {"parts": _parts(values)}
    if cls is config.Config and (corpus := _corpus_without_seed(values)) is not None:
        return values | {"data": values["data"] | {"corpus": corpus | {"seed": values["seed"]}}}
    if cls is config.Optimizer and set(values) == {"learning_rate", "warmup", "weight_decay", "b1", "b2", "clip"}:
        return values | {"epsilon": 1e-6}
    missing = {f.name for f in dataclasses.fields(cls)} - set(values)
    if cls is config.Sft and missing == {"attributes_weight"}:  # weights that such a run does not have
        return values | {"attributes_weight": 0.0}
    return values


def _corpus_without_seed(values: dict[str, Any]) -> dict[str, Any] | None:
    """The built-in corpus of a configuration that was saved when the run's seed was the corpus's, too."""
    data = values.get("data")
    corpus = data.get("corpus") if isinstance(data, dict) else None
    return corpus if isinstance(corpus, dict) and "seed" in values and "seed" not in corpus else None


_MIX = {"kind", "emotion_weight", "facts_weight", "pool"}  # what a reward was before it had parts


def _parts(values: dict[str, Any]) -> list[str]:
    share, facts = values.get("emotion_weight", 0.5), values.get("facts_weight", 0.0)
    pool = "(pool=max)" if values.get("pool") == "max" else ""
    if values.get("kind") == "rouge_l":
        return ["rouge_l(tokens=reward)*1", f"facts*{_number(facts)}"]
    rest = _number(round(1 - share, 12))
    return [f"emotion{pool}*{_number(share)}", f"sentence{pool}*{rest}", f"facts*{_number(facts)}"]


def _number(x: float) -> str:
    """As one would write it: 0.5, 1, 0."""
    return f"{x:g}" if float(f"{x:g}") == x else repr(x)


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
