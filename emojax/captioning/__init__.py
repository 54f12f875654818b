"""A trained captioner at work: `load` it, caption files or manifests."""

from emojax.captioning.captioner import Captioner, caption_step
from emojax.captioning.decoding import Decoding
from emojax.captioning.loading import load, lower, restore

__all__ = ["Captioner", "Decoding", "caption_step", "load", "lower", "restore"]
