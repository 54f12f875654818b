"""A ranking is the likeliest one, says how sure it is, and recovers an order that was planted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emojax.api import preferences
from emojax.commands.rank import rank as command
from emojax.config import ConfigError
from emojax.data.clips import Clip, write_manifest
from emojax.errors import RunError
from emojax.evaluation.ranking import Preference, bradley_terry, by_score, rank


def drawn(strengths: dict[str, float], clips: int, seed: int = 0) -> list[Preference]:
    """Of each clip every pair, by Bradley and Terry's own odds."""
    r, names = np.random.default_rng(seed), list(strengths)
    return [
        Preference(f"clip {n}", (a, b), a if r.random() < 1 / (1 + np.exp(strengths[b] - strengths[a])) else b)
        for n in range(clips)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    ]


def test_strengths_equal_a_published_implementation() -> None:
    """choix 0.4.1: opt_pairwise(3, ..., alpha=0.01)."""
    wins = np.array([[0, 7, 5], [3, 0, 4], [1, 2, 0]], float)
    found = bradley_terry(wins)
    np.testing.assert_allclose(found, [0.80774889, -0.04926962, -0.75847927], atol=1e-7)
    np.testing.assert_allclose(bradley_terry(np.stack([wins, wins.T])), [found, -found], atol=1e-9)


def test_who_never_lost_has_a_strength_too() -> None:
    found = bradley_terry(np.array([[0, 1e4, 1e4], [0, 0, 1e4], [0, 0, 0]]))
    assert found[0] > found[1] > found[2]
    assert np.isfinite(found).all()


def test_a_planted_order_is_recovered_and_its_intervals_hold_the_truth() -> None:
    truth = {"worst": -1.5, "best": 1.5, "third": -0.3, "second": 0.3}
    found = rank(drawn(truth, 400), resamples=300)
    assert [one.name for one in found] == ["best", "second", "third", "worst"]
    for place, one in enumerate(found, 1):
        low, high = one.interval
        assert low < one.strength < high
        assert low - 0.1 < truth[one.name] < high + 0.1
        assert one.ranks == (place, place)
        assert one.comparisons == 3 * 400


def test_equals_are_told_apart_from_nobody() -> None:
    found = rank(drawn({"a": 0.0, "b": 0.0, "c": -2.0}, 60, seed=1), resamples=300)
    ours = {one.name: one for one in found}
    assert ours["a"].ranks == ours["b"].ranks == (1, 2)
    assert ours["c"].ranks == (3, 3)


def test_clips_are_resampled_with_all_that_was_said_of_them() -> None:
    """A thousand preferences of one clip are no more sure than one."""
    one = [Preference("the clip", ("a", "b"), "a")] * 9 + [Preference("the clip", ("a", "b"), "b")]
    (best, _) = rank(one, resamples=50)
    assert best.interval == pytest.approx((best.strength,) * 2)
    many = [Preference(f"clip {n}", p.pair, p.preferred) for n, p in enumerate(one)]
    low, high = rank(many, resamples=50)[0].interval
    assert high - low > 0.5
    assert best.wins == pytest.approx(0.9)


def test_a_tie_is_half_a_preference_each_way() -> None:
    ties = [Preference("x", ("a", "b"), None)] * 2
    split = [Preference("x", ("a", "b"), "a"), Preference("x", ("a", "b"), "b")]
    assert [one.strength for one in rank(ties, 5)] == pytest.approx([one.strength for one in rank(split, 5)])
    found = by_score({"a": {"x": 0.5, "y": 0.1, "only a": 1.0}, "b": {"x": 0.5, "y": 0.2}})
    assert found == [Preference("x", ("a", "b"), None), Preference("y", ("a", "b"), "b")]


def test_those_who_never_met_are_not_ranked_together() -> None:
    with pytest.raises(ValueError, match="c, d were never compared with a"):
        rank([Preference("x", ("a", "b"), "a"), Preference("x", ("c", "d"), "c")])
    with pytest.raises(ValueError, match="no preferences"):
        rank([])


def test_of_a_clip_the_caption_of_the_higher_reward_is_preferred(tmp_path: Path, capsys: Any) -> None:
    clips = [Clip(f"{n}", transcript="x", captions=("a sad voice",), emotion="sad", split="test") for n in range(20)]
    write_manifest(tmp_path / "clips.jsonl", clips)

    def written(name: str, right: int) -> Path:
        texts = ["a sad voice" if n < right else "a happy voice" for n in range(len(clips))]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"id": f"{n}", "caption": text}) + "\n" for n, text in enumerate(texts)))
        return path

    files = tuple(written(name, right) for name, right in (("poor", 2), ("good", 18), ("fair", 10)))
    out, facts = tmp_path / "out.json", ("reward.parts=facts",)
    command(files, tmp_path / "clips.jsonl", set_=facts, resamples=50, out=out)
    found = {one["name"]: one for one in json.loads(out.read_text())}
    assert list(found) == ["good", "fair", "poor"]
    assert found["good"]["wins"] == (8 + 12 / 2 + 16 + 4 / 2) / 40  # against fair 8 clips, against poor 16; else a tie
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="two are the same"):
        command((files[0], tmp_path / "other" / "poor.jsonl"), tmp_path / "clips.jsonl")
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(ConfigError, match="has no caption of a clip"):
        command((files[0], tmp_path / "none.jsonl"), tmp_path / "clips.jsonl", set_=facts)


def test_the_command_reads_preferences_and_writes_the_ranking(tmp_path: Path, capsys: Any) -> None:
    path, out = tmp_path / "told.jsonl", tmp_path / "ranking.json"
    lines = [{"id": p.id, "pair": p.pair, "preferred": p.preferred} for p in drawn({"a": 1, "b": 0, "c": -1}, 50)]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"pair": ["a", "b"], "preferred": None}]))
    command((path,), resamples=50, out=out)
    ranking = json.loads(out.read_text())
    assert [one["name"] for one in ranking] == ["a", "b", "c"]
    shown = capsys.readouterr().out
    assert "151 preferences of 51 clips" in shown
    for one in ranking:
        assert f"{one['strength']:+.2f}" in shown
    with pytest.raises(RunError, match="--overwrite"):
        command((path,), resamples=50, out=out)
    with pytest.raises(ConfigError, match="got 2 files without --manifest"):
        command((path, path))
    path.write_text('{"pair": ["a", "a"], "preferred": "a"}\n')
    with pytest.raises(ValueError, match=r"line 1: wanted .* two different names, got"):
        preferences.read(path)
