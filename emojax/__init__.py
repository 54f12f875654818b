"""emojax: train and run multimodal emotion captioners in JAX."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emojax.captioning import Captioner, load
    from emojax.config import Config, Sampling

__all__ = ["Captioner", "Config", "Sampling", "load"]
__version__ = "0.1.0"

_HOME = {"Captioner": "captioning", "load": "captioning", "Config": "config", "Sampling": "config"}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are used, so that decoding workers do not pay for them."""
    if name not in _HOME:
        raise AttributeError(f"module 'emojax' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"emojax.{_HOME[name]}"), name)
