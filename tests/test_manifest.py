"""A manifest says what is wrong with it, all of it, line by line; what is written is what is read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emojax.config import ConfigError
from emojax.config.concepts import CONCEPTS
from emojax.data.clips import (
    Clip,
    ManifestError,
    check_manifest,
    label_shares,
    read_manifest,
    shared_speakers,
    write_manifest,
)


def sound(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.sin(np.arange(8000) / 9), 16_000)
    return path


def lines(folder: Path, *records: object) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records) + "\n", encoding="utf-8")
    return path


def test_every_fault_is_listed_with_its_line(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    path = lines(
        tmp_path,
        {"id": "good", "audio": "a.wav", "caption": "calm", "speaker": "s1", "split": "train"},
        "{not json",
        {"id": "lost", "audio": "wav/lost.wav"},
        {"id": "good", "audio": "a.wav"},
        {"id": "typo", "audio": "a.wav", "transcrpt": "hm"},
        {"id": "blank", "audio": "a.wav", "captions": ["fine", "  "]},
        {"id": "type", "audio": 3, "captions": "one", "seconds": "2"},
        {"id": "span", "audio": "a.wav", "start": 2, "end": 1.5, "labels": ["sad", 3], "soft_labels": {"sad": -1}},
        {"id": "bare", "captions": ["nothing to hear"]},
        {"audio": "a.wav"},
        "",
        "[1, 2]",
        '{"id": "x", "id": "y", "audio": "a.wav"}',
        {"id": "both", "audio": "a.wav", "caption": "a", "captions": ["b"], "seconds": -1},
        {"id": "none", "audio": "a.wav", "transcript": "", "captions": []},
        {"id": "numbers", "transcript": "hm", "captions": ["a", 7]},
    )
    found = [(fault.line, fault.what) for fault in check_manifest(path)]
    expected = [
        (2, "not JSON"),
        (3, "wav/lost.wav"),
        (4, 'id "good" is taken by line 1'),
        (5, 'unknown field "transcrpt"; did you mean "transcript"?'),
        (6, "empty caption"),
        (7, '"audio" must be a string, got a number'),
        (7, '"captions" must be a list of strings, got a string'),
        (7, '"seconds" must be a number above 0, got "2"'),
        (8, '"labels" must be a list of labels'),
        (8, '"soft_labels" must be numbers from 0 up'),
        (8, '"start" and "end" must be seconds, 0 <= start < end, got 2 and 1.5'),
        (9, "no stream"),
        (10, '"id" is missing'),
        (12, "a clip is a JSON object, got a list"),
        (13, "the key 'id' is there twice"),
        (14, '"seconds" must be a number above 0, got -1'),
        (14, '"caption" and "captions" are both given'),
        (15, '"transcript" is empty'),
        (15, '"captions" is an empty list'),
        (16, '"captions" must be a list of strings, got a number'),
    ]
    assert [line for line, _ in found] == [line for line, _ in expected]
    assert all(part in what for (_, what), (_, part) in zip(found, expected, strict=True)), found
    with pytest.raises(ManifestError) as error:
        read_manifest(path)
    assert len(error.value.faults) == len(expected)
    assert all(f"line {line}: " in str(error.value) for line, _ in expected)


def test_a_long_list_of_faults_is_counted(tmp_path: Path) -> None:
    path = lines(tmp_path, *({"id": str(i), "audio": f"{i}.wav"} for i in range(50)))
    assert len(check_manifest(path)) == 50
    with pytest.raises(ManifestError, match=r"50 faults(.|\n)*and 30 more") as error:
        read_manifest(path)
    assert len(str(error.value).splitlines()) == 22


def test_a_manifest_without_clips_and_a_split_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read" in str(check_manifest(tmp_path / "gone.jsonl")[0])
    assert "holds no clip" in str(check_manifest(lines(tmp_path, ""))[0])
    path = lines(tmp_path, {"id": "a", "transcript": "hm", "split": "train"})
    with pytest.raises(ManifestError, match='no clip in split "tset"; there are: train'):
        read_manifest(path, "tset")
    path.write_bytes(b'{"id": "\xff"}\n')
    assert "not UTF-8" in str(check_manifest(path)[0])


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    clips = [
        Clip("full", sound(tmp_path / "wav/a.wav"), sound(tmp_path / "mp4/a.mp4.wav"), "走开。", ("愤怒", "angry"),
             "angry", "s1", "train", "zh", 1.25),
        Clip("text", transcript="only words"),
        Clip("sound", audio=sound(tmp_path / "elsewhere/b.wav"), split="test"),
    ]  # fmt: skip
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists/manifest.jsonl"
    write_manifest(path, clips)
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0])["audio"] == "../wav/a.wav"
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[1]) == {"id": "text", "transcript": "only words"}
    again = read_manifest(path)
    resolved = [replace(c, audio=c.audio and c.audio.resolve(), video=c.video and c.video.resolve()) for c in again]
    assert resolved == clips
    assert [c.id for c in read_manifest(path, "test")] == ["sound"]


def test_absent_is_absent_and_caption_is_short_for_captions(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": "a", "transcript": "hm", "audio": None, "caption": "low", "speaker": None})
    assert read_manifest(path) == [Clip("a", transcript="hm", captions=("low",))]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))  # as Windows writes it
    assert read_manifest(path) == [Clip("a", transcript="hm", captions=("low",))]
    separator = lines(tmp_path, json.dumps({"id": "a\u2028b", "transcript": "one\u2028line"}, ensure_ascii=False))
    assert read_manifest(separator)[0].transcript == "one\u2028line"


def test_what_is_extra_is_the_users_own_and_unknown_fields_stay_errors(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": "a", "transcript": "hm", "extra": {"site": 3, "nested": [1, {"x": None}]}})
    (clip,) = read_manifest(path)
    assert clip.extra == {"site": 3, "nested": [1, {"x": None}]}
    write_manifest(path, [clip])
    assert read_manifest(path) == [clip]
    for wrong, message in (
        ({"site": 3}, 'unknown field "site"'),
        ({"extra": [1]}, '"extra" must be an object, got a list'),
        ({"extra": {"x": float("nan")}}, '"extra" holds a number that is not finite'),
    ):
        (fault,) = check_manifest(lines(tmp_path, {"id": "a", "transcript": "hm", **wrong}))
        assert message in fault.what


def test_speakers_of_official_splits_that_overlap_are_counted_and_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By source and name: Anna of one dataset is not Anna of another."""
    said = [("MELD", "Anna", "train"), ("MELD", "Anna", "test"), ("MELD", "Bo", "train"), ("ESD", "Bo", "test")]
    records = [
        {"id": f"{n}", "transcript": "hm", "source": a, "speaker": b, "split": c} for n, (a, b, c) in enumerate(said)
    ]
    path = lines(tmp_path, *records)
    clips = read_manifest(path)
    assert shared_speakers(clips) == {("MELD", "Anna"): ("train", "test")}
    assert read_manifest(path, "test") == [clips[1], clips[3]]
    (told,) = caplog.messages  # once, though it was read twice
    assert "1 speakers are in more than one split (of test, train)" in told


def test_the_finest_label_is_the_one_that_teaches(tmp_path: Path) -> None:
    facts = {"valence": -1.5, "arousal": 2, "dominance": 0.0, "source": "IEMOCAP"}
    facts |= {"captions_in": {"zh": ["低沉"], "en": ["low"]}}
    soft = {"soft_labels": {"sad": 3, "angry": 1}, "labels": ["sad", "fearful"], "emotion": "sad"}
    path = lines(
        tmp_path,
        {"id": "soft", "transcript": "hm", **soft, **facts},
        {"id": "votes", "transcript": "hm", "labels": ["sad", "angry", "sad"], "emotion": "sad"},
        {"id": "hard", "transcript": "hm", "emotion": "angry"},
        {"id": "none", "transcript": "hm"},
    )
    clips = read_manifest(path)
    assert [dict(clip.votes) for clip in clips] == [{"sad": 3, "angry": 1}, {"sad": 2, "angry": 1}, {"angry": 1}, {}]
    assert clips[0].captions_in == {"zh": ("低沉",), "en": ("low",)}
    assert (clips[0].valence, clips[0].arousal, clips[0].dominance) == (-1.5, 2, 0.0)
    write_manifest(path, clips)
    assert read_manifest(path) == clips
    shares = label_shares(clips, CONCEPTS)
    np.testing.assert_allclose(shares[:, [2, 3]], [[0.75, 0.25], [2 / 3, 1 / 3], [0, 1], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(shares.sum(1), [1, 1, 1, 0], rtol=1e-6)
    with pytest.raises(ConfigError, match=r"\['sad'\] are not among the concepts"):
        label_shares(clips, CONCEPTS[3:])


def test_the_recordings_have_no_faults() -> None:
    path = Path(__file__).resolve().parents[2] / "shared/data/secap/manifest.jsonl"
    if not path.is_file():
        pytest.skip("the recordings are not here")
    assert check_manifest(path) == []
    assert (len(read_manifest(path, "train")), len(read_manifest(path, "test"))) == (260, 60)
