"""A trained captioner at work: `load` it, caption files or manifests."""

from emojax.captioning.captioner import Captioner, caption_step, load, lower, restore

__all__ = ["Captioner", "caption_step", "load", "lower", "restore"]
