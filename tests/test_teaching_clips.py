"""Clips without captions teach the cold start by their labels, and are counted."""

import logging

import numpy as np
import pytest

from emojax.config import ConfigError, presets
from emojax.data.clips import Clip
from emojax.training.job import teaching

SOUND = np.zeros(8, np.float32)
CLIPS = [
    Clip("captions", SOUND, captions=("low",)),
    Clip("label", SOUND, emotion="sad"),
    Clip("votes", SOUND, labels=("sad", "angry")),
    Clip("shares", SOUND, soft_labels={"sad": 1.0}),
    Clip("facts", SOUND, attributes={"gender": "man"}),
    Clip("words alone", transcript="hm", emotion="sad"),
    Clip("nothing", SOUND),
]


def ids(stage: str, *settings: str) -> list[str]:
    return [clip.id for clip in teaching(CLIPS, presets.load("demo", settings), stage)]  # pyright: ignore[reportArgumentType] a stage


def test_what_a_loss_of_the_cold_start_can_name_teaches_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert ids("sft") == ["captions", "label", "votes", "shares", "facts"]
    assert caplog.messages == ["training clips: 1 with captions, 4 with labels alone, 2 with neither left out"]
    assert ids("sft", "sft.attributes_weight=0") == ["captions", "label", "votes", "shares"]
    assert ids("sft", "sft.emotion_weight=0") == ["captions", "facts"]
    assert ids("grpo") == ["captions"]


def test_a_captioner_learns_from_a_caption_at_least() -> None:
    with pytest.raises(ConfigError, match="no training clip has a caption"):
        teaching(CLIPS[1:], presets.load("demo"), "sft")
