"""What a captioner finds likely is what it would draw; a judgement is of that."""

import dataclasses

import jax
import numpy as np
import pytest

from emojax.api import scoring
from emojax.captioning import Decoding
from emojax.captioning.likelihood import _mean_logp, log_likelihoods
from emojax.config import ConfigError, Reward
from emojax.data.bulk import bulk_batches
from emojax.data.clips import Clip
from emojax.evaluation.asked import Asked
from emojax.parallel import sharding
from test_caption_file import CFG, model

CLIPS = [Clip(str(i), transcript=f"number {i}") for i in range(4)]


def test_the_likelihood_of_a_caption_is_what_it_was_written_with() -> None:
    ((_, batch, _),) = bulk_batches(CLIPS, model().tokenizer, CFG.data, caption_tokens=CFG.caption_tokens, batch=4)
    assert batch is not None
    with jax.set_mesh(model().mesh):
        here = sharding.to_devices(batch, model().mesh)
        wrote = model().program(Decoding(batch_size=4))(batch=here)
        found = _mean_logp(model().params, here.replace(caption=wrote.ids, caption_mask=wrote.mask), cfg=CFG)
    np.testing.assert_allclose(found, np.asarray(wrote.logp) / np.asarray(wrote.tokens), rtol=1e-4)


def test_a_likelihood_depends_on_the_clip_and_the_text_alone() -> None:
    texts = {clip.id: ("a calm voice", "loud") for clip in CLIPS[:3]}
    found = log_likelihoods(model(), CLIPS, texts, batch_size=4)
    assert found.keys() == {"0", "1", "2"}
    turned = log_likelihoods(model(), CLIPS[::-1], {name: pair[::-1] for name, pair in texts.items()}, batch_size=4)
    for name, pair in found.items():
        assert turned[name][::-1] == pytest.approx(pair, rel=1e-4)
    assert abs(found["0"][0] - found["1"][0]) > 1e-3
    assert log_likelihoods(model(), CLIPS, {}) == {}


def test_a_judgement_is_asked_of_a_captioner() -> None:
    cfg = dataclasses.replace(CFG, reward=Reward(parts=("facts",)))
    emotions = ("sad", "happy", "sad", "angry")
    clips = [
        dataclasses.replace(clip, emotion=emotion, captions=(f"a {emotion} voice",))
        for clip, emotion in zip(CLIPS, emotions, strict=True)
    ]
    captions, asked = {clip.id: "a sad voice" for clip in clips}, Asked(("judgement", "cider"))
    row = scoring.evaluate(captions, clips, cfg=cfg, asked=asked, judge=model())["captions"]
    assert row["judgement"]["clips"] == 4
    assert row["judgement"]["accuracy"] in (0, 0.25, 0.5, 0.75, 1)
    assert row["cider"] > 0
    with pytest.raises(ConfigError, match="give the captioner"):
        scoring.evaluate(captions, clips, cfg=cfg, asked=asked)
