"""A learned reward model: an output of a classifier or regression head of the BERT family, on its own exact tokens.

`path` is a Hugging Face directory or hub id (AutoModelForSequenceClassification); `label` the name of an output: its
probability is the score. A model with one output needs none: the score is its number.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from einops import rearrange
from flax import struct

from emojax.config import ConfigError
from emojax.parallel.sharding import constrain
from emojax.rewards import classifier
from emojax.rewards.classifier import Classifier
from emojax.rewards.inputs import Captions
from emojax.rewards.reader import Reader
from emojax.types import Array, References

NEEDS = ("bytes",)


@dataclass(frozen=True)
class Options:
    path: str
    label: str = ""
    max_tokens: int = 128  # of a caption in the model's tokens, special tokens included


@struct.dataclass
class Model:
    classifier: Classifier
    output: int = struct.field(pytree_node=False)


def arrays(options: Options, reader: Reader) -> Model:
    found, labels = classifier.read(options.path, reader.policy, reader.reward.max_bytes, options.max_tokens)
    if options.label not in labels and (options.label or len(labels) > 1):
        raise ConfigError(
            f"reward.parts: model(path={options.path}): label is one of {', '.join(labels)}, got {options.label!r}"
        )
    return Model(found, labels.index(options.label) if options.label else 0)


def score(options: Options, arrays: Model, captions: Captions, clips: References) -> Array:
    flat = (rearrange(x, "b g y -> (b g) y") for x in (captions.bytes.ids, captions.bytes.mask))
    found = constrain(classifier.outputs(arrays.classifier, *flat))[:, arrays.output]
    return rearrange(found.astype(jnp.float32), "(b g) -> b g", b=captions.bytes.ids.shape[0])
