"""emojax: train and run multimodal emotion captioners in JAX.

    import emojax

    captioner = emojax.load("emojax-demo")             # a run, an exported captioner, a hub id
    captioner.caption("recordings/")                   # files, folders, arrays, clips
    cfg = emojax.preset("demo", "data.manifest=clips.jsonl", "steps=200")
    emojax.sft(cfg, "runs/sft")                        # the cold start
    emojax.grpo(cfg, "runs/grpo", init="runs/sft")     # Emo-GRPO from it; emojax.dpo: from pairs of captions
    emojax.evaluate("captions.jsonl", "clips.jsonl")   # scores beside their floors

The names of `__all__` are the public ones: they follow semantic versioning, and nothing else does. They are imported
when they are used, so that `import emojax` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emojax.api.runs import clips, dpo, grpo, sft, train
    from emojax.api.scoring import evaluate, score
    from emojax.api.step import Seen, Step
    from emojax.captioning import Captioner, Decoding, load
    from emojax.config import Config, ConfigError, Sampling
    from emojax.config.presets import preset
    from emojax.data.clips import Clip, ManifestError, check_manifest, read_manifest, write_manifest
    from emojax.errors import RunError, Stopped
    from emojax.evaluation import table
    from emojax.planning.report import plan

    __version__: str

__all__ = [
    "Captioner",
    "Clip",
    "Config",
    "ConfigError",
    "Decoding",
    "ManifestError",
    "RunError",
    "Sampling",
    "Seen",
    "Step",
    "Stopped",
    "__version__",
    "check_manifest",
    "clips",
    "dpo",
    "evaluate",
    "grpo",
    "load",
    "plan",
    "preset",
    "read_manifest",
    "score",
    "sft",
    "table",
    "train",
    "write_manifest",
]

_HOME = {
    **dict.fromkeys(("clips", "dpo", "grpo", "sft", "train"), "api.runs"),
    **dict.fromkeys(("evaluate", "score"), "api.scoring"),
    **dict.fromkeys(("Seen", "Step"), "api.step"),
    **dict.fromkeys(("Captioner", "Decoding", "load"), "captioning"),
    **dict.fromkeys(("Config", "ConfigError", "Sampling"), "config"),
    "preset": "config.presets",
    **dict.fromkeys(("Clip", "ManifestError", "check_manifest", "read_manifest", "write_manifest"), "data.clips"),
    **dict.fromkeys(("RunError", "Stopped"), "errors"),
    "table": "evaluation",
    "plan": "planning.report",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are used, so that decoding workers do not pay for them."""
    if name == "__version__":
        from importlib.metadata import version

        return version("emojax")
    if name not in _HOME:
        raise AttributeError(f"module 'emojax' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"emojax.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
