"""The built-in corpus: what it promises of its files, its words and its balance; and two streams tell more than one."""

import itertools
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from emojax.config import ConfigError, Corpus
from emojax.config.concepts import CONCEPTS
from emojax.corpus import voice, wording
from emojax.corpus.synthetic import describe, make_corpus
from emojax.data.clips import check_manifest
from emojax.evaluation.emotion_words import emotion_of

CORPUS = Corpus(clips=280, speakers=24, seconds=1.6, frame_size=48, fps=8)
TINY = Corpus(clips=8, speakers=4, seconds=0.8, frame_size=32, fps=6)
EMOTIONS = [concept.name for concept in CONCEPTS]
Record = dict[str, Any]


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sound(path: Path) -> np.ndarray:
    data, rate = soundfile.read(path, dtype="float32")
    assert rate == voice.RATE
    return data


def film(path: Path) -> np.ndarray:
    """Grey frames [S height width], 0..1."""
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)]) / np.float32(255)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "made", CORPUS).parent


@pytest.fixture(scope="module")
def clips(corpus: Path) -> list[Record]:
    """Manifest records with the facts of each clip under `facts`."""
    facts = {fact["id"]: fact for fact in read(corpus / "facts.jsonl")}
    return [{**clip, "facts": facts[clip["id"]]} for clip in read(corpus / "manifest.jsonl")]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    told = []
    for name, processes in (("one", 1), ("two", 2)):
        make_corpus(tmp_path / name, replace(TINY, seed=3), processes, lambda *progress: told.append(progress))
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert told == [(done, 8) for done in range(1, 9)] * 2
    make_corpus(tmp_path / "other", replace(TINY, seed=4), processes=1)
    one, other = files(tmp_path / "one"), files(tmp_path / "other")
    same = [name for name in one.keys() & other.keys() if one[name] == other[name]]
    assert not same
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other", "two"]  # nothing half-made is left


def test_a_description_is_the_manifest(corpus: Path) -> None:
    assert describe(CORPUS) == read(corpus / "manifest.jsonl")


def test_the_manifest_has_no_fault_and_every_file_decodes(corpus: Path, clips: list[Record]) -> None:
    assert check_manifest(corpus / "manifest.jsonl") == []
    named = {clip[stream] for clip in clips for stream in ("audio", "video") if stream in clip}
    assert named == {f"media/{path.name}" for path in (corpus / "media").iterdir()}
    for clip in clips:
        data = sound(corpus / clip["audio"])
        assert len(data) / voice.RATE == clip["seconds"]
        assert 0.5 * CORPUS.seconds - 0.01 <= clip["seconds"] <= 1.9 * CORPUS.seconds + 0.01
        assert np.sqrt(np.mean(data**2)) > 0.001
        assert np.abs(data).max() < 1
        if "video" in clip:
            frames = film(corpus / clip["video"])
            assert frames.shape == (round(clip["seconds"] * CORPUS.fps), 48, 48)
    assert np.mean([clip["seconds"] for clip in clips]) == pytest.approx(CORPUS.seconds, rel=0.15)


def test_no_speaker_is_in_two_splits(clips: list[Record]) -> None:
    splits: dict[str, set[str]] = {}
    for clip in clips:
        splits.setdefault(clip["speaker"], set()).add(clip["split"])
    assert len(splits) == CORPUS.speakers
    assert Counter(split for (split,) in splits.values()) == {"train": 19, "validation": 2, "test": 3}
    assert sum(clip["split"] == "test" for clip in clips) >= 0.12 * len(clips)
    for split in ("train", "validation", "test"):
        assert {clip["facts"]["gender"] for clip in clips if clip["split"] == split} == {"woman", "man"}


def test_emotions_intensities_and_styles_are_balanced(clips: list[Record]) -> None:
    for split in ("train", "validation", "test"):
        emotions = Counter(clip["emotion"] for clip in clips if clip["split"] == split)
        assert set(emotions) == set(EMOTIONS)
        assert max(emotions.values()) - min(emotions.values()) <= 1
    assert {clip["facts"]["intensity"] for clip in clips if clip["emotion"] == "neutral"} == {"none"}
    felt = [clip for clip in clips if clip["emotion"] != "neutral"]
    for fact, values in (("style", tuple(voice.STYLES)), ("intensity", wording.INTENSITIES)):
        counts = Counter(clip["facts"][fact] for clip in felt)
        assert set(counts) == set(values)
        assert min(counts.values()) >= 0.7 * len(felt) / len(values)


def test_a_quarter_is_told_by_the_voice_alone_and_a_quarter_by_the_face_alone(clips: list[Record]) -> None:
    share = {told: count / len(clips) for told, count in Counter(clip["facts"]["told"] for clip in clips).items()}
    assert share == pytest.approx({"voice": 0.25, "face": 0.25, "both": 0.5}, abs=0.05)
    unseen = [clip for clip in clips if "video" not in clip]
    assert {clip["facts"]["told"] for clip in unseen} == {"voice"}
    assert len(unseen) / len(clips) == pytest.approx(0.125, abs=0.03)


def test_captions_name_their_emotion_and_no_other(clips: list[Record]) -> None:
    for clip in clips:
        captions = clip["captions"]
        assert len(captions) == len(set(captions)) == 5
        others = [word for concept in CONCEPTS if concept.name != clip["emotion"] for word in concept.words]
        others += [noun for emotion, nouns in wording.NOUNS.items() if emotion != clip["emotion"] for noun in nouns]
        wrong = re.compile("|".join(rf"\b{re.escape(word)}\b" for word in others))
        for caption in captions:
            assert emotion_of(caption, CONCEPTS) == clip["emotion"], caption
            assert not wrong.search(caption.lower()), caption
            assert re.fullmatch(r"[A-Z][^{}|]*[^ ,;]\.", caption), caption
            assert "  " not in caption
            assert len(caption.split()) <= 32


def test_words_are_many_and_transcripts_tell_nothing() -> None:
    records = describe(Corpus())
    words = Counter(word for r in records for text in r["captions"] for word in re.findall(r"[\w'-]+", text.lower()))
    assert len(words) >= 350
    lengths = [len(record["transcript"].split()) for record in records]
    assert min(lengths) >= 5
    assert 7 <= np.mean(lengths) <= 9
    assert not any(emotion_of(record["transcript"], CONCEPTS) for record in records)
    assert len({record["transcript"] for record in records}) > 200


def test_a_folder_is_reused_only_for_the_same_corpus(tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    out.mkdir()  # an empty folder is free
    manifest = make_corpus(out, TINY, processes=1)
    before = manifest.stat().st_mtime_ns
    assert make_corpus(out, TINY, processes=1) == manifest
    assert manifest.stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match=r'"seed": 0.*wanted .*"seed": 1.*another folder'):
        make_corpus(out, replace(TINY, seed=1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    for taken in (tmp_path / "other", tmp_path / "other" / "letter.txt"):
        with pytest.raises(FileExistsError, match="no corpus of ours"):
            make_corpus(taken, TINY)
    assert (tmp_path / "other" / "letter.txt").read_text() == "mine"


@pytest.mark.parametrize("wrong", [{"speakers": 2}, {"clips": 2}, {"frame_size": 33}, {"fps": 0}, {"seconds": 0.1}])
def test_an_impossible_corpus_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        describe(Corpus(**{"clips": 12, "speakers": 3, **wrong}))


def heard(data: np.ndarray) -> np.ndarray:
    """Pitch (level, range, movement), loudness, rate, clarity and spectrum of an utterance."""
    windows = np.lib.stride_tricks.sliding_window_view(data, 640)[::160]
    power = np.abs(np.fft.rfft(windows * np.hanning(640), 1024)) ** 2
    loud = np.sqrt(np.mean(windows**2, axis=1))
    active = loud > 0.3 * np.quantile(loud, 0.9)
    frequency = np.fft.rfftfreq(1024, 1 / voice.RATE)
    correlation = np.fft.irfft(power[active] * (frequency < 1500))
    peaks = correlation[:, 27:280]
    clear = peaks.max(axis=1) / correlation[:, 0]
    voiced = clear >= min(0.45, np.quantile(clear, 0.8))
    pitch = 12 * np.log2(voice.RATE / (27 + peaks.argmax(axis=1)[voiced]))
    time = np.flatnonzero(active)[voiced] / len(loud)
    middle = np.median(pitch)
    moved = np.clip(pitch - middle, -12, 12)
    slope = np.polyfit(time, moved, 1)[0]
    final = moved[time >= np.quantile(time, 0.85)].mean()
    edges = (80, 300, 700, 1500, 3000, 5000, 8000)
    sums = [power[active][:, (frequency >= a) & (frequency < b)].sum() for a, b in itertools.pairwise(edges)]
    bands = np.log(np.array(sums))
    steps = np.abs(np.diff(moved)).mean(), np.abs(np.diff(moved, n=2)).mean()
    shape = (slope, final, moved.std(), *steps, np.log(loud.mean()), len(data), active.mean(), clear.mean())
    return np.array([middle, *shape, *(bands - np.mean(bands)), voiced.sum()])


def seen(frames: np.ndarray) -> np.ndarray:
    """The mean face in coarse pixels, and how it differs from the first frame."""
    small = frames.reshape(len(frames), 16, 3, 16, 3).mean(axis=(2, 4))
    face = small[len(small) // 3 :].mean(axis=0)
    return np.concatenate([(face - face.mean()).ravel(), (face - small[0]).ravel() * 3])


def kernel(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """A Gaussian kernel between all clips and those of the training speakers, on standardised features."""
    x = (features - features[train].mean(axis=0)) / (features[train].std(axis=0) + 1e-6)
    square = np.mean(x**2, axis=1)
    return np.exp(-(square[:, None] + square[train] - 2 * x @ x[train].T / x.shape[1]) / 2)


def test_seeing_and_hearing_tells_more_than_either(corpus: Path, clips: list[Record]) -> None:
    """Kernel ridge regression on hand-made features, trained on two speakers of three and tested on the others."""
    train = np.array([int(clip["speaker"].removeprefix("speaker-")) % 3 > 0 for clip in clips])
    label = np.array([EMOTIONS.index(clip["emotion"]) for clip in clips])
    audio = kernel(np.stack([heard(sound(corpus / clip["audio"])) for clip in clips]), train)
    filmed = np.array(["video" in clip for clip in clips])
    faces = np.zeros((len(clips), 512))
    faces[filmed] = [seen(film(corpus / clip["video"])) for clip in clips if "video" in clip]
    video = kernel(faces, train) * (filmed[:, None] & filmed[train])  # no film: nothing is like it

    def accuracy(kernel: np.ndarray) -> float:
        weights = np.linalg.solve(kernel[train] + 0.1 * np.eye(train.sum()), np.eye(7)[label[train]] - 1 / 7)
        return float(np.mean((kernel @ weights).argmax(axis=1)[~train] == label[~train]))

    only_audio, only_video, both = accuracy(audio), accuracy(video), accuracy(audio + video)
    assert min(only_audio, only_video) > 2.5 / 7
    assert both > max(only_audio, only_video) + 0.05
