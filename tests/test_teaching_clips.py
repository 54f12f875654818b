"""Clips without captions teach the cold start by their labels, and are counted."""

import logging
import zlib
from contextlib import closing
from itertools import islice

import numpy as np
import pytest

from emojax.config import ConfigError, Data, presets
from emojax.config.concepts import CONCEPTS
from emojax.data.batches import Batching, training_batches
from emojax.data.clips import Clip, label_shares
from emojax.data.text import train_tokenizer
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


def test_in_a_batch_its_captions_are_masked_and_its_labels_are_shares() -> None:
    said = (("low",), ())
    clips = [Clip(f"c{n}", SOUND + 0.1, captions=said[n % 2], labels=("sad", "sad", "angry")) for n in range(8)]
    mute = {zlib.crc32(clip.id.encode()) for clip in clips if not clip.captions}
    data = Data(audio_seconds=(0.1,), frames=1, frame_size=8, workers=0)
    tokenizer = train_tokenizer(["low"], 300)
    made = training_batches(clips, tokenizer, data, Batching(4, 0, 6), emotions=label_shares(clips, CONCEPTS))
    with closing(made):
        for batch in islice(made, 4):
            for name, mask in zip(batch.clip_id.tolist(), batch.caption_mask, strict=True):
                assert mask.any() == (name not in mute)
            np.testing.assert_allclose(batch.emotion[:, 2:4], [[2 / 3, 1 / 3]] * 4, rtol=1e-6)
    with pytest.raises(ValueError, match="1 of 1 clips have neither, the first: bare"):
        training_batches([Clip("bare", SOUND)], tokenizer, data, Batching(1, 0, 6))


def test_a_captioner_learns_from_a_caption_at_least() -> None:
    with pytest.raises(ConfigError, match="no training clip has a caption"):
        teaching(CLIPS[1:], presets.load("demo"), "sft")
