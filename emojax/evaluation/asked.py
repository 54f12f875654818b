"""The field's metrics that cost more than those of every table, or need more: computed where they are asked for."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emojax.config import Reward
from emojax.config.concepts import Attribute
from emojax.data.clips import Clip
from emojax.errors import nearest, require
from emojax.evaluation.bert_score import bert_score
from emojax.evaluation.calibration import calibration
from emojax.evaluation.cider import cider
from emojax.evaluation.cues import cue_scores
from emojax.evaluation.emotion_words import emotion_of
from emojax.evaluation.ew import ew
from emojax.evaluation.facts import wrong
from emojax.evaluation.metrics import language_of, tokenize
from emojax.evaluation.modalities import slices
from emojax.rewards.facts import values_of
from emojax.rewards.lexicon import stated
from emojax.rewards.parts import wheel
from emojax.rewards.reader import Reader

METRICS = ("cider", "bertscore", "ew", "cues", "calibration", "slices", "judgement")


@dataclass(frozen=True)
class Asked:
    """Which metrics, and what they are told. Raises ConfigError for one that there is not, or that is not told so."""

    metrics: tuple[str, ...] = ()  # `judgement` is by a captioner, and none of `asked_for`
    wheel: str = "concepts"  # of the EW score: concepts, plutchik8, or a JSON file of wheels (rewards/wheels.py)
    level: Literal[1, 2] = 1  # of its rings

    def __post_init__(self) -> None:
        for name in self.metrics:
            require(name in METRICS, f"no metric {name!r}{nearest(name, METRICS)}; there are {', '.join(METRICS)}")
        plain = (self.wheel, self.level) == ("concepts", 1)
        require("ew" in self.metrics or plain, "wheel and level are of the metric ew; ask for it, or leave them out")


@dataclass(frozen=True)
class Made:
    """Captions by clip id, and of those that a captioner made its confidence: the geometric mean of the probabilities
    of their tokens."""

    captions: Mapping[str, str]
    confidence: Mapping[str, float]


def made_of(records: Sequence[Mapping[str, Any]]) -> Made:
    """Of the records that a captioner makes; those of broken files have no caption."""
    whole = [record for record in records if "caption" in record]
    sure = {r["id"]: math.exp(r["logprob"] / max(r["tokens"], 1)) for r in whole if "logprob" in r and "tokens" in r}
    return Made({record["id"]: record["caption"] for record in whole}, sure)


def asked_for(
    asked: Asked, made: Made, clips: Sequence[Clip], reward: Reward, about: Sequence[Attribute], read: Reader | None
) -> dict[str, Any]:
    """The metrics by their names; None where clips or captions lack what one needs.

    Args:
      clips: with a reference that has a word in it, each (`report.evaluate` demands it).
      reward: whose concepts a wheel may be. about: the facts, the emotion first (`rewards.facts.known_facts`).
      read: with a sentence encoder, where `bertscore` or `cues` is asked for.
    """
    texts, references = [made.captions[clip.id] for clip in clips], [clip.captions for clip in clips]
    languages = [clip.language or language_of(" ".join(clip.captions)) for clip in clips]
    right = [emotion_of(text, about[0].values) == clip.emotion for text, clip in zip(texts, clips, strict=True)]
    out: dict[str, Any] = {}
    for metric in asked.metrics:
        match metric:
            case "cider":
                ours = [tokenize(text, language) for text, language in zip(texts, languages, strict=True)]
                theirs = [
                    [found for text in refs if (found := tokenize(text, language))]
                    for refs, language in zip(references, languages, strict=True)
                ]
                out[metric] = float(np.mean(cider(ours, theirs)))
            case "bertscore":
                assert read, "the caller has an encoder where one is needed"
                out[metric] = _means(bert_score(read, texts, references)) | {"model": Path(reward.model).name}
            case "ew":
                told = wheel.wheel(wheel.Options(table=asked.wheel, level=asked.level), reward)
                scores = ew(texts, references, told)
                out[metric] = scores and scores | _table(asked)
            case "cues":
                assert read, "the caller has an encoder where one is needed"
                out[metric] = _means(cue_scores(texts, references, languages, read.embed))
            case "calibration":
                rows = [n for n, c in enumerate(clips) if c.emotion is not None and c.id in made.confidence]
                out[metric] = calibration([made.confidence[clips[n].id] for n in rows], [right[n] for n in rows])
            case "slices":
                sound = [not wrong(stated(text, about), values_of(c)) for text, c in zip(texts, clips, strict=True)]
                out[metric] = slices(clips, about[0], {"emotion_accuracy": right, "none_wrong": sound}) or None
    return out


def _means(scores: np.ndarray) -> dict[str, Any]:
    return dict(zip(("precision", "recall", "f1"), scores.mean(0).tolist(), strict=True))


def _table(asked: Asked) -> dict[str, Any]:
    """What the wheels were: tables of one name differ from version to version."""
    file = Path(asked.wheel).expanduser()
    own = asked.wheel in ("concepts", "plutchik8")
    told = {"table": asked.wheel, "level": asked.level}
    return told if own else told | {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
