"""The floors are what they say: no training caption is a better constant, no training clip is nearer."""

import itertools

import numpy as np
import pytest
import soundfile

from emojax.config import Data
from emojax.data.clips import Clip
from emojax.evaluation import floors
from emojax.evaluation.floors import Features, best_constant, media_features, nearest, nearest_captions


def overlap(captions, clips):
    """A reward: the mean over references of the share of common words."""

    def one(a, b):
        return len(set(a.split()) & set(b.split())) / len(set(a.split()) | set(b.split()))

    total = np.array(
        [
            np.mean([one(c, r) for r in refs])
            for c, refs in zip(captions, (clip.captions for clip in clips), strict=True)
        ]
    )
    return {"reward": total}


def clips_of(captions):
    return [Clip("", captions=tuple(each)) for each in captions]


@pytest.fixture(scope="module")
def captions():
    rng = np.random.default_rng(0)
    return [[" ".join(rng.choice(list("abcdefgh"), 4, replace=False)) for _ in range(3)] for _ in range(20)]


@pytest.mark.parametrize("pairs", [1, 70, 10_000])
def test_no_training_caption_is_a_better_constant(captions, pairs, monkeypatch):
    monkeypatch.setattr(floors, "_PAIRS", pairs)
    clips = clips_of(captions)
    best, score = best_constant(clips, overlap)
    every = {c: overlap([c] * len(captions), clips)["reward"].mean() for c in itertools.chain(*captions)}
    assert score == pytest.approx(max(every.values()))
    assert every[best] == pytest.approx(score)


def test_the_work_of_best_constant_is_bounded(captions):
    seen = []

    def counting(texts, clips):
        seen.append((set(texts), {clip.captions for clip in clips}))
        return overlap(texts, clips)

    best_constant(clips_of(captions), counting, limit=7)
    assert len(set.union(*(texts for texts, _ in seen))) == 7
    assert len(set.union(*(refs for _, refs in seen))) == 7
    with pytest.raises(ValueError, match="no training clip"):
        best_constant(clips_of([[], []]), overlap)


def tone(hertz, loudness=0.3, seconds=1.0):
    return (loudness * np.sin(2 * np.pi * hertz * np.arange(int(16000 * seconds)) / 16000)).astype(np.float32)


def picture(brightness, moving=0, frames=4):
    """Grey frames with a white square that goes `moving` pixels to the right from each to the next."""
    out = np.full((frames, 48, 48, 3), brightness, np.uint8)
    for i in range(frames):
        out[i, 10:20, 5 + i * moving : 15 + i * moving] = 255
    return out


def test_a_clip_is_nearest_to_itself_and_then_to_its_like():
    train = [
        media_features(tone(hertz, loudness), picture(brightness, moving))
        for hertz, loudness, brightness, moving in itertools.product((150, 900), (0.05, 0.5), (40, 160), (0, 6))
    ]
    assert nearest(train, train) == list(range(16))
    almost = [
        media_features(tone(hertz, loudness), picture(brightness, moving))
        for hertz, loudness, brightness, moving in itertools.product((155, 890), (0.06, 0.45), (50, 150), (1, 5))
    ]
    assert nearest(train, almost) == list(range(16))


def test_a_missing_stream_is_not_compared():
    train = [media_features(tone(200), picture(30)), media_features(tone(2000), picture(200))]
    assert nearest(train, [media_features(tone(2100), None), media_features(None, picture(190))]) == [1, 1]
    silent = [media_features(None, picture(30)), media_features(tone(2000), None)]
    assert nearest(silent, [media_features(tone(200), None), media_features(None, picture(200))]) == [1, 0]
    assert nearest(silent, [media_features(None, None)]) == [0]
    one, both = Features(np.ones(1), None), Features(-np.ones(1), np.ones(1))
    assert nearest([one, both], [Features(np.full(1, 0.1), np.ones(1))]) == [1]  # 0.81 against (1.21 + 0) / 2
    assert media_features(np.zeros(0, np.float32), picture(1)[:0]) == Features(None, None)


def test_streams_and_statistics_weigh_the_same_in_any_unit():
    rng = np.random.default_rng(1)
    train, test = ([Features(rng.normal(size=4), rng.normal(size=30)) for _ in range(n)] for n in (25, 10))

    def scaled(clips):
        return [Features(c.audio * [1, 10, 100, 1000] + 5, c.video * 1e-3) for c in clips]

    assert nearest(train, test) == nearest(scaled(train), scaled(test))
    z = [np.stack([getattr(f, name) for f in train]) for name in Features._fields]
    for clip, found in zip(test, nearest(train, test), strict=True):
        distance = sum((((x - a) / a.std(0)) ** 2).mean(1) for x, a in zip(clip, z, strict=True))
        assert found == distance.argmin()
    with pytest.raises(ValueError, match="no training clips"):
        nearest([], test)


def test_statistics_are_of_the_right_bands_and_frames():
    low, high, shortest = (media_features(x, None).audio for x in (tone(120), tone(7000), tone(120)[:1]))
    bands = len(low) // 2
    assert low[:bands].argmax() < bands // 4 < 3 * bands // 4 < high[:bands].argmax()
    assert np.isfinite(shortest).all()
    still, moving = (media_features(None, picture(60, speed)).video for speed in (0, 6))
    cells = len(still) // 2
    assert (still[cells:] == 0).all()
    assert moving[cells:].max() > 10
    assert still[:cells].min() == 60
    assert (media_features(None, picture(60)[:1]).video[cells:] == 0).all()


def test_captions_are_copied_from_files_and_a_broken_file_stops_nothing(tmp_path):
    rng = np.random.default_rng(2)

    def clip(name, loudness, captions=()):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, loudness * rng.uniform(-1, 1, 16000), 16000)
        return Clip(name, audio=path, captions=captions)

    train = [clip("a", 0.01, ("soft", "quiet")), clip("b", 0.9, ("loud",)), clip("c", 0.1)]
    test = [clip("x", 0.6), clip("y", 0.02), clip("z", 0.1)]
    (tmp_path / "z.wav").write_bytes(b"RIFF")
    assert nearest_captions(train, test, Data()) == {"x": "loud", "y": "soft", "z": "soft"}
