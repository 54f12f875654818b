"""A learned reward model: a classifier or regression head of the BERT family, from a Hugging Face directory."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from emojax import text
from emojax.config import BertConfig
from emojax.encoders import bert_files
from emojax.errors import shown
from emojax.hub import weights
from emojax.hub.options import read_config
from emojax.hub.weights import Names, linear_names
from emojax.nn.layers import Linear, declare_linear, linear
from emojax.rewards import sentence
from emojax.rewards.sentence import Sentence, SentenceConfig
from emojax.types import Array

Kind = Literal["regression", "one", "several"]  # what the outputs are: a number; labels of which one holds; or several
_HEADS = {  # names of its two maps and the activation between them, by the kind of encoder
    "distilbert": ("pre_classifier", "classifier", "relu"),
    "roberta": ("classifier.dense", "classifier.out_proj", "tanh"),
    "xlm-roberta": ("classifier.dense", "classifier.out_proj", "tanh"),
    "camembert": ("classifier.dense", "classifier.out_proj", "tanh"),
}
_BERT_HEAD = ("pooler.dense", "classifier", "tanh")
_KINDS: dict[str, Kind] = {
    "regression": "regression",
    "single_label_classification": "one",
    "multi_label_classification": "several",
}


@struct.dataclass
class Head:
    dense: Linear
    out: Linear


@struct.dataclass
class Classifier:
    tables: text.Tables  # bytes to its tokens
    encoder: Sentence
    head: Head
    settings: SentenceConfig = struct.field(pytree_node=False)
    activation: str = struct.field(pytree_node=False)
    kind: Kind = struct.field(pytree_node=False)


def read(model: str, policy: Any, max_bytes: int, max_tokens: int) -> tuple[Classifier, tuple[str, ...]]:
    """The model, and the names of its outputs.

    Args:
      model: a directory or a hub id.
      policy: the tokenizer of the captions.
      max_tokens: of a caption in its tokens, special ones included.
    Raises:
      FileNotFoundError, ValueError: see `sentence.load`; or another kind of model than a classifier of the BERT family.
    """
    root = sentence.directory(model)
    settings, tokenizer = sentence.settings(model)
    if not isinstance(settings.encoder, BertConfig):
        raise ValueError(f"{root}: wanted a classifier of the BERT family, got the encoder {settings.encoder}")
    told = read_config(root)
    names = told.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    if not isinstance(names, dict) or sorted(map(str, names)) != sorted(map(str, range(len(names)))):
        raise ValueError(f"{root}/config.json: id2label wants a name for each number from 0, got {shown(names)}")
    labels = tuple(str(names[key]) for key in sorted(names, key=int))
    kind = told.get("problem_type") or ("regression" if len(labels) == 1 else "single_label_classification")
    if kind not in _KINDS:
        raise ValueError(f"{root}/config.json: problem_type wants one of {', '.join(_KINDS)}, got {shown(kind)}")
    first, second, activation = _HEADS.get(settings.encoder.kind, _BERT_HEAD)
    width = settings.encoder.width
    declared = Head(declare_linear(width, width, "- -"), declare_linear(width, len(labels), "- -"))
    table = (*linear_names(first, "dense"), *linear_names(second, "out"))
    head = weights.read(root, declared, Names(table, ignore=("*",), prefix=bert_files.names(settings.encoder).prefix))
    settings = dataclasses.replace(settings, pooling=("cls",), head=(), max_tokens=min(max_tokens, settings.max_tokens))
    tables = text.build(policy, tokenizer, max_bytes=max_bytes, max_tokens=settings.text_tokens)
    tables = dataclasses.replace(tables, policy=None)  # it reads bytes
    encoder = Sentence(sentence.weights(model).encoder, ())
    return Classifier(tables, encoder, head, settings, activation, _KINDS[kind]), labels


def outputs(model: Classifier, byte: Array, filled: Array) -> Array:
    """Of texts by their bytes i32, bool [N Y]: probabilities of the labels, or a regression's numbers, f32[N L]."""
    ids, mask = text.retokenize_bytes(model.tables, byte, filled)
    first = sentence.embed(model.encoder, model.settings, ids, mask)
    hidden = linear(model.head.dense, first)
    logits = linear(model.head.out, jnp.tanh(hidden) if model.activation == "tanh" else jax.nn.relu(hidden))
    match model.kind:
        case "regression":
            return logits
        case "one":
            return jax.nn.softmax(logits)
        case "several":
            return jax.nn.sigmoid(logits)
