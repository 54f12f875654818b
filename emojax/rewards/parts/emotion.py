"""Emotion coordinates (method.md, ours): the cosine of where a caption and its references lie among the emotions."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from emojax.rewards import emotion
from emojax.rewards.emotion import Coordinates
from emojax.rewards.inputs import Captions
from emojax.rewards.part import compared, pooled
from emojax.rewards.reader import Reader
from emojax.types import Array, References

NEEDS = ("tokens", "embedding")


@dataclass(frozen=True)
class Options:
    pool: Literal["mean", "max"] = "mean"  # over the references of a clip


def arrays(options: Options, reader: Reader) -> Coordinates:
    reward = reader.reward
    phrases = emotion.phrases(reward.concepts, reward.templates)
    embedded = reader.phrases([phrase for concept in phrases for phrase in concept])
    ends = np.cumsum([len(concept) for concept in phrases])[:-1]
    return emotion.build_space(np.split(embedded, ends), reward.coordinates, reward.center)


def shapes(options: Options, reader: Reader) -> Coordinates:
    assert reader.sentence, "a part that reads embeddings has a sentence model"
    anchors = np.random.default_rng(0).normal(size=(len(reader.reward.concepts), 1, reader.sentence.width))
    return emotion.build_space(list(anchors), reader.reward.coordinates, reader.reward.center)


def score(options: Options, arrays: Coordinates, captions: Captions, clips: References) -> Array:
    here, there = emotion.project(arrays, captions.embedding), emotion.project(arrays, clips.embedding)
    cosine = emotion.cosine(here[:, :, None], there[:, None])  # [B G R]
    return compared(pooled(cosine, clips.present, options.pool), ~captions.tokens.mask.any(-1), clips.present)
