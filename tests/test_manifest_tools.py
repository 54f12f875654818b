"""Manifests joined, split from a seed, and counted."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emojax import cli
from emojax.data.clips import Clip, read_manifest, shared_speakers, write_manifest
from emojax.datasets import captions_file, merging, splitting, stats
from emojax.datasets.tree import DatasetError

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def many(count: int = 600, speakers: int = 30) -> list[Clip]:
    """Of speakers who speak more the higher their number, and labels of which some are rare."""
    r = np.random.default_rng(0)
    who = np.sort(np.minimum(r.geometric(0.08, count), speakers))
    feel = r.choice(["neutral", "happy", "sad", "fearful"], count, p=[0.6, 0.25, 0.13, 0.02])
    pairs = zip(who.tolist(), feel.tolist(), strict=True)
    return [Clip(f"c{n}", transcript="hm", speaker=f"s{s}", emotion=e, source="x") for n, (s, e) in enumerate(pairs)]


@pytest.mark.parametrize("seed", range(3))
def test_splits_by_speaker_share_none_and_are_about_as_large_as_asked(seed: int) -> None:
    clips = splitting.deal(many(), SHARES, seed, "speaker")
    assert shared_speakers(clips) == {}
    found = Counter(clip.split for clip in clips)
    assert all(abs(found[name] / len(clips) - share) < 0.04 for name, share in SHARES.items()), found
    assert [clip.id for clip in clips] == [clip.id for clip in many()]
    shuffled = splitting.deal(many()[::-1], SHARES, seed, "speaker")
    assert {c.id: c.split for c in shuffled} == {c.id: c.split for c in clips}, "it depends on the order"
    assert splitting.deal(many(), SHARES, seed + 1, "speaker") != clips


def test_splits_by_label_have_the_same_mix() -> None:
    clips = splitting.deal(many(), SHARES, 0, "label")
    for name, share in SHARES.items():
        for emotion, count in Counter(clip.emotion for clip in clips).items():
            there = sum(clip.split == name and clip.emotion == emotion for clip in clips)
            assert abs(there - share * count) <= 1


def test_what_cannot_be_split_is_told() -> None:
    with pytest.raises(DatasetError, match="2 speakers cannot be dealt to 3 splits; use --by label"):
        splitting.deal([Clip("a", speaker="x"), Clip("b", speaker="y")], SHARES, 0, "speaker")
    with pytest.raises(DatasetError, match="1 of 2 clips have no speaker, the first: b; use --by label"):
        splitting.deal([Clip("a", speaker="x"), Clip("b")], SHARES, 0, "speaker")
    with pytest.raises(DatasetError, match="sum to 1"):
        splitting.deal(many(), {"train": 0.9, "test": 0.3}, 0, "label")
    few = splitting.deal([Clip("a", speaker="x"), Clip("b", speaker="y")], {"train": 0.9, "test": 0.1}, 0, "speaker")
    assert {clip.split for clip in few} == {"train", "test"}, "a split is empty"


def test_merged_manifests_have_every_clip_under_its_own_id(tmp_path: Path) -> None:
    write_manifest(tmp_path / "a.jsonl", [Clip("1", transcript="hm", source="meld"), Clip("2", transcript="hm")])
    write_manifest(tmp_path / "b.jsonl", [Clip("1", transcript="ah", source="esd")])
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    with pytest.raises(DatasetError, match=r"b.jsonl: id '1' is taken by .*a.jsonl; --prefix"):
        merging.merge(paths)
    assert [clip.id for clip in merging.merge(paths, prefix=True)] == ["meld-1", "a-2", "esd-1"]
    with pytest.raises(DatasetError, match="is named twice"):
        merging.merge([paths[0], paths[0]])


def test_captions_in_another_language_and_back() -> None:
    clips = [Clip("a", transcript="hm", captions=("sad",), language="en", captions_in={"zh": ("伤心",)}), Clip("b")]
    (chinese, bare) = merging.in_language(clips, "zh")
    assert (chinese.captions, chinese.language, bare.captions) == (("伤心",), "zh", ())
    assert merging.in_language([chinese], "en")[0].captions == ("sad",)
    with pytest.raises(DatasetError, match="--language fr: no caption is in it; there are en, zh"):
        merging.in_language(clips, "fr")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv", "\ufeffid,caption\r\na,sad\r\na,low\r\n"),
        ("c.jsonl", '{"id": "a", "captions": ["sad", "low"], "score": 1}\n'),
        ("c.json", '{"a": ["sad", "low"]}'),
    ],
)
def test_captions_are_read_from_three_kinds_of_file(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert captions_file.read_captions(tmp_path / name) == {"a": ("sad", "low")}


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("c.csv", "id,text\na,sad\n", "no column 'caption'; its columns are id, text"),
        ("c.jsonl", '{"id": "a", "caption": 3}\n', "wanted captions, strings or lists of them, by id"),
        ("c.jsonl", "[1]\n", "wanted captions, strings or lists of them, by id"),
        ("c.jsonl", '{"id": "a"\n', "line 1: not JSON"),
        ("c.json", '{"a": "  "}', "holds no caption"),
    ],
)
def test_a_file_of_no_captions_is_told(name: str, text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=fault):
        captions_file.read_captions(tmp_path / name)


def sounds(folder: Path) -> list[Clip]:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        soundfile.write(folder / f"{name}.wav", np.random.default_rng(seed).normal(0, 0.1, 16_000), 16_000)
    facts = {"captions": ("low voice", "he is sad"), "language": "en", "emotion": "sad", "source": "x"}
    return [
        Clip("a", folder / "a.wav", split="train", speaker="s", valence=-1.0, **facts),
        Clip("b", folder / "b.wav", split="test", speaker="s", labels=("sad", "angry")),
        Clip("c", folder / "c.wav", split="test", seconds=1.0),
        Clip("part", folder / "c.wav", split="test", start=0.5),
        Clip("part2", folder / "c.wav", split="test", start=0.5),
    ]


def test_statistics_count_what_is_there_and_find_sound_that_is_in_two_splits(tmp_path: Path) -> None:
    clips = sounds(tmp_path)
    found = stats.statistics_of(clips)
    assert found["duplicates"] == [["a", "b"], ["part", "part2"]]
    assert found["shared_speakers"] == {}  # of x, and of none: another
    train, test = found["splits"]["train"], found["splits"]["test"]
    assert (train["clips"], train["hours"] * 3600, test["hours"] * 3600) == (1, 1.0, pytest.approx(3.0))
    assert train["caption_words"] == {"least": 2, "mean": 2.5, "most": 3}
    assert train["caption_characters"]["mean"] == 9
    assert train["emotions"] == {"sad": 1}
    assert (test["annotated_by_several"], test["captions"]) == (1, 0)
    assert train["scales"]["valence"] == {"least": -1, "mean": -1, "most": -1}
    text = "\n".join(stats.lines(found, {clip.id: clip.split for clip in clips}))
    assert "warning: 1 sounds are in more than one split: a, b" in text
    assert "sounds that are there twice within a split: 1" in text


def run(*argv: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["emojax", *argv])
    monkeypatch.setattr("emojax.parallel.hosts.end", sys.exit)
    try:
        cli.main()
    except SystemExit as e:
        return int(e.code or 0)
    return 0


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(tmp_path / "m.jsonl", many(60))
    (tmp_path / "c.csv").write_text("id,caption\nc1,low\nnone,low\n")
    m, out = str(tmp_path / "m.jsonl"), str(tmp_path / "out.jsonl")
    asked = ["manifest", "merge", m, "--out", out, "--captions", str(tmp_path / "c.csv")]
    assert run(*asked, monkeypatch=monkeypatch) == 0
    assert "1 ids are of no clip" in capsys.readouterr().err
    assert read_manifest(Path(out))[1].captions == ("low",)
    assert run("manifest", "split", out, "--out", out, "--test", "0.2", monkeypatch=monkeypatch) == 0
    dealt = read_manifest(Path(out))
    assert {clip.split for clip in dealt} == {"train", "validation", "test"}
    assert run("manifest", "split", out, "--out", m, "--of", "train", "--test", "0", monkeypatch=monkeypatch) == 0
    assert [c.id for c in read_manifest(Path(m), "test")] == [c.id for c in dealt if c.split == "test"]
    assert run("manifest", "check", out, monkeypatch=monkeypatch) == 0
    assert "60 clips, no fault" in capsys.readouterr().out
    assert run("manifest", "stats", out, "--json", monkeypatch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["captions"] in (0, 1)
    Path(out).write_text('{"id": "a"}\n')
    assert run("manifest", "check", out, monkeypatch=monkeypatch) == 2
    assert "line 1: no stream" in capsys.readouterr().out
    assert run("import", "--list", monkeypatch=monkeypatch) == 0
    assert "crema-d" in capsys.readouterr().out
    assert run("import", "meld", "--root", str(tmp_path), "--out", out, monkeypatch=monkeypatch) == 2
    assert "emojax: " in capsys.readouterr().err
