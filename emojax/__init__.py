"""emojax: train and run multimodal emotion captioners in JAX."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emojax.captioning import Captioner, load
    from emojax.config import Config, Sampling

    __version__: str

__all__ = ["Captioner", "Config", "Sampling", "__version__", "load"]

_HOME = {"Captioner": "captioning", "load": "captioning", "Config": "config", "Sampling": "config"}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are used, so that decoding workers do not pay for them."""
    if name == "__version__":
        from importlib.metadata import version

        return version("emojax")
    if name not in _HOME:
        raise AttributeError(f"module 'emojax' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"emojax.{_HOME[name]}"), name)
