"""Intervals by the bootstrap are those of clips drawn by hand, cover what they should, and say nothing of one clip."""

import numpy as np
import pytest

from emojax.evaluation import bootstrap
from emojax.evaluation.bootstrap import DRAWS, mean_interval, resampled
from emojax.evaluation.metrics import bleu, bleu_counts, bleu_of


def drawn(n: int, of, seed: int = 0) -> tuple[float, float]:
    """By hand: `n` numbers drawn with replacement, a thousand times."""
    rng = np.random.default_rng(seed)
    found = [of(rng.integers(0, n, n)) for _ in range(DRAWS)]
    return tuple(np.nanpercentile(found, [2.5, 97.5]))


def test_of_a_mean() -> None:
    values = np.random.default_rng(3).normal(size=40)
    values[::7] = np.nan
    assert mean_interval(values) == pytest.approx(drawn(40, lambda index: np.nanmean(values[index])), rel=1e-12)


def test_over_speakers_all_clips_of_a_speaker_are_drawn_as_one() -> None:
    r = np.random.default_rng(4)
    values, speakers = r.normal(size=60), [f"s{n}" for n in r.integers(0, 9, 60)]
    own = [np.flatnonzero(np.array(speakers) == name) for name in dict.fromkeys(speakers)]
    wanted = drawn(len(own), lambda index: values[np.concatenate([own[i] for i in index])].mean())
    assert mean_interval(values, speakers) == pytest.approx(wanted, rel=1e-9)


def test_of_bleu() -> None:
    r = np.random.default_rng(5)
    words = list("abcdef")
    texts = [[list(r.choice(words, r.integers(3, 9))) for _ in range(2)] for _ in range(30)]
    said = [list(r.choice(words, r.integers(3, 9))) for _ in range(30)]
    counts = bleu_counts(said, texts)
    rng, found = np.random.default_rng(0), bleu_of(resampled(counts))
    for ours in found[:20]:
        index = rng.integers(0, 30, 30)
        assert ours == pytest.approx(bleu([said[i] for i in index], [texts[i] for i in index]), rel=1e-9)


@pytest.mark.parametrize("at_once", [1, 7_000])
def test_draws_do_not_depend_on_how_many_are_made_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(7).normal(size=(50, 2))
    whole = resampled(values)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", at_once)
    np.testing.assert_allclose(resampled(values), whole, rtol=1e-12)


def test_nineteen_of_twenty_intervals_hold_the_mean() -> None:
    r = np.random.default_rng(6)
    found = [mean_interval(r.normal(1, 2, 50)) for _ in range(100)]
    held = sum(low < 1 < high for low, high in filter(None, found))
    assert 88 <= held <= 99


def test_one_clip_or_one_speaker_has_none() -> None:
    assert mean_interval(np.array([1.0])) is None
    assert mean_interval(np.array([1.0, np.nan])) is None
    assert mean_interval(np.arange(5.0), ["s"] * 5) is None
