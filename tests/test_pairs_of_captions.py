"""Pairs that DPO learns from: the manifest's, a file's, or made of a run's scored samples; a bad file is one clear line
before anything compiles."""

import json
from pathlib import Path
from typing import Any

import pytest

from emojax.config import ConfigError, Dpo, presets
from emojax.data.clips import Clip, ManifestError, read_manifest, write_manifest
from emojax.data.pairs import paired
from emojax.training import stages

CLIPS = [Clip(name, transcript="so", captions=("calm",), split="train") for name in ("a", "b", "c")]


def written(path: Path, *lines: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(path)


def pair(name: str, chosen: Any, rejected: Any) -> dict[str, Any]:
    return {"id": name, "chosen": chosen, "rejected": rejected}


def group(step: int, name: str, *scored: tuple[str, float | None]) -> dict[str, Any]:
    return {"step": step, "captions": [{"id": name, "caption": text, "reward": reward} for text, reward in scored]}


def captions(dpo: Dpo, clips: list[Clip] = CLIPS) -> list[tuple[str, tuple[str, ...]]]:
    return [(clip.id, clip.captions) for clip in paired(clips, dpo)]


def test_of_a_file_a_line_a_pair(tmp_path: Path) -> None:
    """A clip may have several; a pair that is there twice teaches once, those of other clips not at all."""
    lines = [pair("b", "sad", "happy"), pair("a", "calm", ["loud", "angry"]), pair("b", "sad", "loud")]
    path = written(tmp_path / "pairs.jsonl", *lines, "", lines[0], pair("of the test split", "x", "y"))
    wanted = [("b", ("sad", "happy")), ("a", ("calm", "loud", "angry")), ("b", ("sad", "loud"))]
    assert captions(Dpo(pairs=path, rejected=2)) == wanted


def test_of_the_manifest(tmp_path: Path) -> None:
    lines = [
        {"id": "a", "transcript": "so", "chosen": "sad", "rejected": "happy"},
        {"id": "b", "transcript": "so", "chosen": "calm", "rejected": ["loud", "angry"]},
        {"id": "c", "transcript": "so", "caption": "calm"},
    ]
    clips = read_manifest(Path(written(tmp_path / "clips.jsonl", *lines)))
    assert captions(Dpo(rejected=2), clips) == [("a", ("sad", "happy")), ("b", ("calm", "loud", "angry"))]
    write_manifest(tmp_path / "again.jsonl", clips)
    assert read_manifest(tmp_path / "again.jsonl") == clips
    wrong = {"id": "d", "transcript": "so", "chosen": ["x"], "rejected": [" "]}
    with pytest.raises(ManifestError, match=r'"chosen" must be a string, got a list\n.*empty caption'):
        read_manifest(Path(written(tmp_path / "wrong.jsonl", wrong)))
    with pytest.raises(ConfigError, match='clip \'d\' of the manifest has "rejected" and no "chosen"; a pair is both'):
        captions(Dpo(), [Clip("d", transcript="so", rejected=("x",))])
    with pytest.raises(ConfigError, match="DPO wants pairs, and the manifest has no pairs; give clips"):
        captions(Dpo())


@pytest.mark.parametrize("of", [".", "grpo"])
def test_of_a_run_the_best_sample_of_a_group_against_its_worst(of: str, tmp_path: Path) -> None:
    lines = [
        group(5, "a", ("low", 0.1), ("high", 0.9), ("unscored", None), ("middle", 0.5)),
        group(10, "b", ("one", 0.50), ("other", 0.52)),
        group(15, "c", ("same", 0.1), ("same", 0.2)),  # nothing to prefer
        group(20, "c", ("like", 0.1), ("alike", 0.1)),
        group(25, "c", ("only", 0.1), ("unscored", None)),
        group(30, "c", ("none", None), ("neither", None)),
    ]
    written(tmp_path / of / "samples.jsonl", *lines)
    run = str(tmp_path)
    assert captions(Dpo(pairs=run)) == [("a", ("high", "low")), ("b", ("other", "one"))]
    assert captions(Dpo(pairs=run, margin=0.1)) == [("a", ("high", "low"))]
    assert captions(Dpo(pairs=str(tmp_path / of / "samples.jsonl"), margin=0.8)) == [("a", ("high", "low"))]
    with pytest.raises(ConfigError, match="has no pairs"):
        captions(Dpo(pairs=run, margin=0.81))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 1: not JSON"),
        ("[1]", r"line 1: wanted \{.*got \[1\]"),
        ({"id": "a", "chosen": "x"}, "line 1: wanted"),
        ({"chosen": "x", "rejected": "y"}, '"id" must be a text, got None'),
        (pair("a", [{"role": "assistant", "content": "x"}], "y"), '"chosen" must be a text, got'),
        (pair("a", "x", ["y", 3]), '"rejected" must be a text, got 3'),
        (pair("a", " ", "y"), '"chosen" must be a text'),
        (pair("a", "x", []), r"wanted 1 to dpo.rejected=1 captions, got 0$"),
        (pair("a", "x", ["y", "z"]), "got 2; set dpo.rejected=2"),
        (pair("a", "x", "x"), "the chosen caption is rejected, too: 'x'"),
        (pair("z", "x", "y"), "1 pairs, none of a training clip: the first is of 'z'"),
        ("", "has no pairs"),
        ({"captions": [{"caption": "x", "reward": 1}]}, "wanted samples of a run"),
        ({"captions": 3}, "wanted samples of a run"),
        ({"captions": [{"id": "a", "caption": "x", "reward": "1"}]}, "wanted samples of a run"),
    ],
)
def test_a_bad_file_is_one_clear_line_before_anything_is_begun(line: Any, says: str, tmp_path: Path) -> None:
    write_manifest(tmp_path / "clips.jsonl", CLIPS)
    path = written(tmp_path / "pairs.jsonl", line)
    cfg = presets.load("tiny", [f"data.manifest={tmp_path / 'clips.jsonl'}", f"dpo.pairs={path}"])
    with pytest.raises(ConfigError, match=says) as told:
        stages.dpo(cfg, tmp_path / "run", init=None)
    assert "\n" not in str(told.value)
    assert path in str(told.value)
    assert not (tmp_path / "run" / "run.json").exists()


def test_what_names_no_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wanted a file of pairs, or a run; there is none"):
        captions(Dpo(pairs=str(tmp_path / "nowhere.jsonl")))
    with pytest.raises(ConfigError, match=r"wanted a run with samples.jsonl"):
        captions(Dpo(pairs=str(tmp_path)))
    path = written(tmp_path / "pairs.jsonl", pair("a", "x", "y"))
    with pytest.raises(ConfigError, match=r"dpo.margin=0.5 does nothing with .*: its pairs have no rewards"):
        captions(Dpo(pairs=path, margin=0.5))
