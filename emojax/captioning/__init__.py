"""A trained captioner at work: `load` it, caption files or manifests."""

from emojax.captioning.captioner import Captioner, caption_step, load, lower, restore
from emojax.captioning.decoding import Decoding

__all__ = ["Captioner", "Decoding", "caption_step", "load", "lower", "restore"]
